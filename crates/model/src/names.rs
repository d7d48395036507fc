//! Default names, after the pipeline that Millrace replaces, and the rules that names follow.

/// The project id of everything local.
pub const PROJECT: &str = "local";
/// The topic that log entries go to.
pub const TOPIC_LOGS: &str = "gemini-telemetry-logs";
/// The topic of log entries that no sink matched.
pub const TOPIC_UNROUTED: &str = "unrouted";
/// The topic of OTLP metric data points.
pub const TOPIC_METRICS: &str = "otlp-metrics";
/// The topic of OTLP spans.
pub const TOPIC_TRACES: &str = "otlp-traces";
/// The subscription that the default pipeline reads through.
pub const SUBSCRIPTION_LOGS: &str = "gemini-logs-sub";
/// The dataset that tables and views live in.
pub const DATASET: &str = "telemetry";
/// The table of raw log rows.
pub const TABLE_LOGS: &str = "gemini_raw_logs";
/// What a table's name is followed by in the name of its dead-letter table.
pub const DEAD_LETTER_SUFFIX: &str = "_error_records";

/// Hidden column: the id of the topic that a row's message came from.
pub const COLUMN_TOPIC: &str = "_topic";
/// Hidden column: the row's message's offset in that topic.
pub const COLUMN_OFFSET: &str = "_offset";
/// Hidden column: the day (UTC) that a row is filed under; the partition column.
pub const COLUMN_EVENT_DAY: &str = "_event_day";

/// Hidden column: by which list of JSON paths a row's hidden columns of JSON values were filled.
pub const COLUMN_TYPED: &str = "_typed";
/// Hidden column: the JSON values of a row under rare spellings of their paths.
pub const COLUMN_ALTERNATES: &str = "_alternates";

/// The columns that `SELECT *` does not show, beside those that hold the values of JSON paths.
pub const HIDDEN_COLUMNS: [&str; 5] =
    [COLUMN_TOPIC, COLUMN_OFFSET, COLUMN_EVENT_DAY, COLUMN_TYPED, COLUMN_ALTERNATES];

/// The rule a topic, subscription or pipeline name breaks, or `None` when it is a good name: 3 to 255
/// characters, a letter first, then letters, digits and `-._~+%`, and not beginning with `goog`
/// (<https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>).
#[must_use]
pub fn resource_name_violation(name: &str) -> Option<&'static str> {
    if !(3..=255).contains(&name.len()) {
        return Some("a name has 3 to 255 characters");
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Some("a name begins with a letter");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte)) {
        return Some("a name holds letters, digits and - . _ ~ + % only");
    }
    if name.starts_with("goog") {
        return Some("a name does not begin with goog");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in [TOPIC_LOGS, TOPIC_UNROUTED, SUBSCRIPTION_LOGS, "a.b~c+d%20"] {
            assert_eq!(resource_name_violation(good), None, "{good}");
        }
        for bad in ["", "ab", "1abc", "goog-topic", "a/../b", "with space", "naïve"] {
            assert!(resource_name_violation(bad).is_some(), "{bad}");
        }
    }
}
