//! OTLP severities as Cloud Logging's.

/// Cloud Logging's severities with their numbers, in order
/// (<https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#LogSeverity>).
const SEVERITIES: [(&str, i64); 9] = [
    ("DEFAULT", 0),
    ("DEBUG", 100),
    ("INFO", 200),
    ("NOTICE", 300),
    ("WARNING", 400),
    ("ERROR", 500),
    ("CRITICAL", 600),
    ("ALERT", 700),
    ("EMERGENCY", 800),
];

/// A severity's number by its name in any case.
pub(crate) fn severity_rank(name: &str) -> Option<i64> {
    SEVERITIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, rank)| rank)
}

/// The name for an OTLP severity: by number, split as Google's own OpenTelemetry exporter splits
/// (<https://github.com/GoogleCloudPlatform/opentelemetry-operations-go>), else by a text that is a
/// severity's name; `None` when neither says anything.
pub(super) fn severity_name(number: u32, text: &[u8]) -> Option<&'static str> {
    match number {
        1..=8 => Some("DEBUG"),
        9..=10 => Some("INFO"),
        11..=12 => Some("NOTICE"),
        13..=16 => Some("WARNING"),
        17..=20 => Some("ERROR"),
        21..=22 => Some("CRITICAL"),
        23 => Some("ALERT"),
        24 => Some("EMERGENCY"),
        _ => {
            let text = std::str::from_utf8(text).ok()?;
            let text = match text {
                _ if text.eq_ignore_ascii_case("TRACE") => "DEBUG",
                _ if text.eq_ignore_ascii_case("WARN") => "WARNING",
                _ if text.eq_ignore_ascii_case("FATAL") => "CRITICAL",
                _ => text,
            };
            let known = SEVERITIES.iter().skip(1).find(|(name, _)| name.eq_ignore_ascii_case(text));
            known.map(|&(name, _)| name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_before_texts() {
        for (number, text, expected) in [
            (0, "", None),
            (0, "whatever", None),
            (0, "default", None),
            (0, "warn", Some("WARNING")),
            (9, "ERROR", Some("INFO")),
            (12, "", Some("NOTICE")),
            (24, "", Some("EMERGENCY")),
            (25, "Alert", Some("ALERT")),
        ] {
            assert_eq!(severity_name(number, text.as_bytes()), expected, "{number} {text}");
        }
    }
}
