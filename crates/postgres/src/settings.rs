//! What a client may set for its session, and what it reads when it asks. Postgres' names; what has no
//! meaning here is kept and shown, as most of it has little in Postgres either. Nothing raises a limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_sql::SessionControl;
use pgwire::error::ErrorInfo;

use crate::errors::{error, hinted, state};

/// The release of Postgres whose catalogue is imitated.
pub(crate) const POSTGRES_VERSION: &str = "16.6";
const POSTGRES_VERSION_NUMBER: &str = "160006";

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Any text.
    Text,
    /// On or off.
    Switch,
    /// One of the values.
    One(&'static [&'static str]),
    /// Nothing but what it is.
    Fixed,
    /// A duration: the number's unit is milliseconds unless it says another.
    Duration,
    /// `statement_timeout`: a duration up to the engine's.
    Timeout,
    /// `search_path`: a dataset comes first.
    Path,
    /// `TimeZone`: UTC, by any of its names.
    Zone,
}

/// A setting.
struct Known {
    name: &'static str,
    default: &'static str,
    takes: Takes,
    /// Whether the protocol says that clients are told at the start and whenever it changes.
    reported: bool,
}

const fn known(name: &'static str, default: &'static str, takes: Takes) -> Known {
    Known { name, default, takes, reported: false }
}

const fn reported(name: &'static str, default: &'static str, takes: Takes) -> Known {
    Known { name, default, takes, reported: true }
}

const ISOLATION: &[&str] = &["read committed", "read uncommitted", "repeatable read", "serializable"];
const ENCODINGS: &[&str] = &["UTF8", "UTF-8", "UNICODE", "SQL_ASCII"];

/// All settings, in the order of their names.
const KNOWN: &[Known] = &[
    reported("application_name", "", Takes::Text),
    known("bytea_output", "hex", Takes::One(&["hex", "escape"])),
    reported("client_encoding", "UTF8", Takes::One(ENCODINGS)),
    known("client_min_messages", "notice", Takes::Text),
    reported("DateStyle", "ISO, MDY", Takes::Text),
    known("default_transaction_deferrable", "off", Takes::Switch),
    known("default_transaction_isolation", "read committed", Takes::One(ISOLATION)),
    reported("default_transaction_read_only", "on", Takes::Fixed),
    known("escape_string_warning", "on", Takes::Switch),
    known("extra_float_digits", "1", Takes::Text),
    known("idle_in_transaction_session_timeout", "0", Takes::Duration),
    known("idle_session_timeout", "0", Takes::Duration),
    reported("in_hot_standby", "off", Takes::Fixed),
    reported("integer_datetimes", "on", Takes::Fixed),
    reported("IntervalStyle", "postgres", Takes::Text),
    reported("is_superuser", "off", Takes::Fixed),
    known("jit", "off", Takes::Switch),
    known("lock_timeout", "0", Takes::Duration),
    known("max_identifier_length", "63", Takes::Fixed),
    known("row_security", "on", Takes::Switch),
    reported("scram_iterations", "4096", Takes::Fixed),
    reported("search_path", "", Takes::Path),
    reported("server_encoding", "UTF8", Takes::Fixed),
    reported("server_version", "", Takes::Fixed),
    known("server_version_num", POSTGRES_VERSION_NUMBER, Takes::Fixed),
    reported("session_authorization", "", Takes::Fixed),
    reported("standard_conforming_strings", "on", Takes::Fixed),
    known("statement_timeout", "0", Takes::Timeout),
    reported("TimeZone", "UTC", Takes::Zone),
    known("transaction_deferrable", "off", Takes::Switch),
    known("transaction_isolation", "read committed", Takes::One(ISOLATION)),
    known("transaction_read_only", "on", Takes::Fixed),
    known("xmloption", "content", Takes::Text),
];

/// What a change of a setting asks the connection to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The setting as it is reported to the client, when it is.
    pub(crate) report: Option<(String, String)>,
    /// What the client should know about the change.
    pub(crate) notice: Option<String>,
}

/// One session's settings.
#[derive(Debug)]
pub(crate) struct Settings {
    values: Mutex<Values>,
    control: Arc<SessionControl>,
    datasets: Vec<String>,
    timeout_max: Duration,
}

#[derive(Debug)]
struct Values {
    /// Settings that are not the default, by lower-case name.
    set: BTreeMap<String, String>,
    /// What each was at the session's start.
    start: BTreeMap<String, String>,
    /// What `SET LOCAL` covers until the transaction ends.
    covered: BTreeMap<String, Option<String>>,
}

impl Settings {
    /// Settings of a session that begins in `dataset`; `timeout_max` is the engine's time limit.
    pub(crate) fn new(
        version: &str,
        dataset: &str,
        datasets: Vec<String>,
        timeout_max: Duration,
        control: Arc<SessionControl>,
    ) -> Self {
        let server = format!("{POSTGRES_VERSION} (Millrace {version})");
        let start = BTreeMap::from([
            ("server_version".to_owned(), server),
            ("search_path".to_owned(), dataset.to_owned()),
        ]);
        let values = Values { set: start.clone(), start, covered: BTreeMap::new() };
        Self { values: Mutex::new(values), control, datasets, timeout_max }
    }

    /// Takes what the first message of a connection sets. Drivers send some settings that matter to them
    /// only; those that are no settings here are let pass.
    ///
    /// # Errors
    /// A setting that is one and does not take the value.
    pub(crate) fn begin(&self, user: &str, parameters: &BTreeMap<String, String>) -> Result<(), ErrorInfo> {
        let options = parameters.get("options").map_or("", String::as_str);
        let given = parameters.iter().map(|(name, value)| (name.clone(), value.clone()));
        for (name, value) in given.chain(command_line(options)) {
            match find(&name) {
                // Drivers send the zone of their machine; they are told in which zone times are.
                Some(known) if known.takes == Takes::Zone => {}
                Some(_) => self.set(&name, &value, false).map(|_| ())?,
                None => {}
            }
        }
        let mut values = self.lock();
        values.set.insert("session_authorization".to_owned(), user.to_owned());
        values.start = values.set.clone();
        Ok(())
    }

    /// Changes a setting, until the end of the session, or of the transaction when `local`.
    ///
    /// # Errors
    /// Names that are no setting, values that it does not take.
    pub(crate) fn set(&self, name: &str, value: &str, local: bool) -> Result<Changed, ErrorInfo> {
        let known = find(name).ok_or_else(|| unknown(name))?;
        let (value, mut changed) = self.accepted(known, value.trim())?;
        let key = known.name.to_lowercase();
        let mut values = self.lock();
        if local {
            let before = values.set.get(&key).cloned();
            values.covered.entry(key.clone()).or_insert(before);
        }
        changed.report = known.reported.then(|| (known.name.to_owned(), value.clone()));
        values.set.insert(key, value);
        Ok(changed)
    }

    /// Back to what it was at the session's start: one setting, or all.
    ///
    /// # Errors
    /// A name that is no setting.
    pub(crate) fn reset(&self, name: Option<&str>) -> Result<Vec<Changed>, ErrorInfo> {
        let names: Vec<&Known> = match name {
            Some(name) => vec![find(name).ok_or_else(|| unknown(name))?],
            None => KNOWN.iter().filter(|known| known.takes != Takes::Fixed).collect(),
        };
        let start = self.lock().start.clone();
        let start_of = |known: &Known| start.get(&known.name.to_lowercase()).cloned();
        let reset = names.into_iter().filter(|known| known.takes != Takes::Fixed);
        reset
            .map(|known| self.set(known.name, &start_of(known).unwrap_or(known.default.to_owned()), false))
            .collect()
    }

    /// The transaction has ended: what `SET LOCAL` covered is back.
    pub(crate) fn end_transaction(&self) -> Vec<Changed> {
        let covered = std::mem::take(&mut self.lock().covered);
        let back = covered.into_iter().filter_map(|(name, before)| {
            let known = find(&name)?;
            self.set(known.name, &before.unwrap_or(known.default.to_owned()), false).ok()
        });
        back.collect()
    }

    /// A setting's value.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let known = find(name)?;
        if known.takes == Takes::Timeout {
            // What holds, not what was said last.
            let timeout = self.control.statement_timeout(self.timeout_max);
            return Some(format!("{}ms", timeout.as_millis()));
        }
        let set = self.lock().set.get(&known.name.to_lowercase()).cloned();
        Some(set.unwrap_or_else(|| known.default.to_owned()))
    }

    /// A setting's name as it is spelt, and its value.
    ///
    /// # Errors
    /// A name that is no setting.
    pub(crate) fn show(&self, name: &str) -> Result<(&'static str, String), ErrorInfo> {
        let known = find(name).ok_or_else(|| unknown(name))?;
        Ok((known.name, self.get(name).unwrap_or_default()))
    }

    /// All settings.
    pub(crate) fn all(&self) -> Vec<(&'static str, String)> {
        KNOWN.iter().map(|known| (known.name, self.get(known.name).unwrap_or_default())).collect()
    }

    /// The settings that a client is told.
    pub(crate) fn reported(&self) -> impl Iterator<Item = (String, String)> {
        let reported = KNOWN.iter().filter(|known| known.reported);
        reported.map(|known| (known.name.to_owned(), self.get(known.name).unwrap_or_default()))
    }

    /// A value as it is kept, and what follows from it.
    fn accepted(&self, known: &Known, value: &str) -> Result<(String, Changed), ErrorInfo> {
        let changed = Changed::default();
        let refused = || {
            let message = format!("invalid value for parameter \"{}\": \"{value}\"", known.name);
            error(state::INVALID_PARAMETER_VALUE, message)
        };
        let kept = match known.takes {
            Takes::Text => value.to_owned(),
            Takes::Switch => switch(value).ok_or_else(refused)?.to_owned(),
            Takes::One(values) => {
                let found = values.iter().find(|known| known.eq_ignore_ascii_case(value));
                let found =
                    *found.ok_or_else(|| hinted(refused(), format!("it is one of {}", values.join(", "))))?;
                // Whatever a client calls it, it gets UTF-8.
                if known.name == "client_encoding" { "UTF8".to_owned() } else { found.to_owned() }
            }
            Takes::Fixed => self.fixed(known, value)?,
            Takes::Duration => {
                duration(value).ok_or_else(refused)?;
                value.to_owned()
            }
            Takes::Timeout => {
                let timeout = duration(value).ok_or_else(refused)?;
                self.set_timeout(timeout)?;
                value.to_owned()
            }
            Takes::Path => {
                self.dataset_in(value).ok_or_else(|| {
                    let info = error("3F000", format!("no schema of the search path \"{value}\" exists"));
                    hinted(info, format!("there is {}", self.datasets.join(", ")))
                })?;
                value.to_owned()
            }
            Takes::Zone => return Ok(("UTC".to_owned(), zone(value))),
        };
        Ok((kept, changed))
    }

    fn fixed(&self, known: &Known, value: &str) -> Result<String, ErrorInfo> {
        let now = self.get(known.name).unwrap_or_default();
        if now.eq_ignore_ascii_case(value) || switch(value).is_some_and(|switch| switch == now) {
            return Ok(now);
        }
        let message = format!("parameter \"{}\" cannot be changed", known.name);
        match known.name.ends_with("read_only") {
            true => Err(hinted(error(state::READ_ONLY, message), "this port only reads")),
            false => Err(error("55P02", message)),
        }
    }

    fn set_timeout(&self, timeout: Duration) -> Result<(), ErrorInfo> {
        if timeout > self.timeout_max {
            let message = format!(
                "statement_timeout may not exceed the server's time limit of {} ms",
                self.timeout_max.as_millis()
            );
            return Err(error(state::LIMIT_EXCEEDED, message));
        }
        self.control.set_statement_timeout((!timeout.is_zero()).then_some(timeout));
        Ok(())
    }

    /// The dataset of names without one.
    pub(crate) fn dataset(&self) -> String {
        let path = self.get("search_path").unwrap_or_default();
        self.dataset_in(&path).unwrap_or(&path).to_owned()
    }

    /// The first name in a path that is a dataset.
    fn dataset_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut names = path.split(',').map(|name| name.trim().trim_matches(['"', '\'']));
        names.find(|name| self.datasets.iter().any(|known| known == name))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> ErrorInfo {
    let info = error(state::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""));
    match name.starts_with("datafusion.") {
        true => hinted(info, "settings of the query engine are the server's: see [sql] in its configuration"),
        false => hinted(info, "SHOW ALL lists those that there are"),
    }
}

fn switch(value: &str) -> Option<&'static str> {
    match value.to_lowercase().as_str() {
        "on" | "true" | "yes" | "1" | "t" => Some("on"),
        "off" | "false" | "no" | "0" | "f" => Some("off"),
        _ => None,
    }
}

/// Times are in UTC here; who asks for another zone is told.
fn zone(value: &str) -> Changed {
    const UTC: [&str; 9] = ["utc", "etc/utc", "gmt", "etc/gmt", "z", "zulu", "+00:00", "0", "default"];
    let asked = value.trim_matches(['"', '\'']).to_lowercase();
    let notice = (!UTC.contains(&asked.as_str()))
        .then(|| "times stay in UTC: use AT TIME ZONE in the query".to_owned());
    Changed { notice, ..Changed::default() }
}

/// `5000`, `5000ms`, `5s`, `2min`, `1h`, `1d`.
fn duration(value: &str) -> Option<Duration> {
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis: u64 = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

/// The settings in a startup message's `options`: `-c name=value`, `--name=value`.
fn command_line(options: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next(),
            setting => setting,
        };
        if let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) {
            settings.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let datasets = vec!["other".to_owned(), "telemetry".to_owned()];
        Settings::new("1.2.3", "telemetry", datasets, Duration::from_secs(60), SessionControl::new())
    }

    #[test]
    fn the_first_message_sets_and_reset_goes_back_to_it() {
        let settings = settings();
        let parameters = BTreeMap::from(
            [
                ("user", "ann"),
                ("application_name", "psql"),
                ("TimeZone", "Europe/Berlin"),
                ("somebodys_own", "x"),
                ("options", "-c statement_timeout=5s --search-path=other"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        settings.begin("ann", &parameters).unwrap();
        let value = |name: &str| settings.get(name).unwrap();
        assert_eq!(value("Application_Name"), "psql");
        assert_eq!(value("statement_timeout"), "5000ms");
        assert_eq!((value("search_path"), value("timezone")), ("other".to_owned(), "UTC".to_owned()));
        settings.set("application_name", "else", false).unwrap();
        settings.reset(None).unwrap();
        assert_eq!(value("application_name"), "psql");
        assert_eq!(value("session_authorization"), "ann");
        let wrong = BTreeMap::from([("client_encoding".to_owned(), "LATIN1".to_owned())]);
        assert_eq!(settings.begin("ann", &wrong).unwrap_err().code, "22023");
    }

    #[test]
    fn limits_are_lowered_only() {
        let settings = settings();
        settings.set("statement_timeout", "2min", false).unwrap_err();
        assert_eq!(settings.set("statement_timeout", "61s", false).unwrap_err().code, "53400");
        settings.set("statement_timeout", "1500", false).unwrap();
        assert_eq!(settings.get("statement_timeout").unwrap(), "1500ms");
        settings.set("statement_timeout", "0", false).unwrap();
        assert_eq!(settings.get("statement_timeout").unwrap(), "60000ms");
        assert_eq!(settings.set("statement_timeout", "soon", false).unwrap_err().code, "22023");
        assert_eq!(settings.set("datafusion.execution.batch_size", "1", false).unwrap_err().code, "42704");
        let read_only = settings.set("default_transaction_read_only", "off", false).unwrap_err();
        assert_eq!(read_only.code, "25006");
        settings.set("default_transaction_read_only", "true", false).unwrap();
    }

    #[test]
    fn what_is_set_locally_ends_with_the_transaction() {
        let settings = settings();
        settings.set("statement_timeout", "10s", false).unwrap();
        settings.set("statement_timeout", "1s", true).unwrap();
        settings.set("statement_timeout", "2s", true).unwrap();
        settings.set("application_name", "now", true).unwrap();
        settings.end_transaction();
        assert_eq!(settings.get("statement_timeout").unwrap(), "10000ms");
        assert_eq!(settings.get("application_name").unwrap(), "");
    }

    #[test]
    fn paths_lead_to_a_dataset_and_zones_to_utc() {
        let settings = settings();
        let changed = settings.set("search_path", "\"$user\", other", false).unwrap();
        assert_eq!(settings.dataset(), "other");
        assert_eq!(changed.report, Some(("search_path".to_owned(), "\"$user\", other".to_owned())));
        assert_eq!(settings.set("search_path", "public", false).unwrap_err().code, "3F000");
        assert_eq!(settings.set("timezone", "UTC", false).unwrap().notice, None);
        assert!(settings.set("timezone", "'Europe/Berlin'", false).unwrap().notice.is_some());
        assert_eq!(settings.get("TimeZone").unwrap(), "UTC");
    }
}
