//! Which version of a UDF runs and why: a history, and the decisions taken from it. Where it is kept is
//! not known here.

use millrace_model::Micros;
use serde::{Deserialize, Serialize};

use crate::trial::cut;

/// Most events of a history; older ones are forgotten and counted.
const EVENTS_MAX: usize = 1000;

/// Longest reason of an event, in bytes: a script chooses the text of its own error.
const REASON_BYTES_MAX: usize = 2000;

/// Fewest digits by which a version can be named.
const PREFIX_DIGITS_MIN: usize = 4;

/// What happened to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VersionAct {
    /// A server began to run it.
    Start,
    /// It was found in the script's file while the server ran.
    Reload,
    /// It had run in the shadow and was put in the place of the running one.
    Promote,
    /// An operator went back to it.
    Rollback,
    /// The configuration was read anew.
    Update,
    /// It was not allowed to run.
    Refused,
    /// Its text was removed, for there were too many.
    Forgotten,
}

impl VersionAct {
    /// The word used in histories, in metrics and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Update => "update",
            Self::Refused => "refused",
            Self::Forgotten => "forgotten",
        }
    }
}

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionEvent {
    /// When, in microseconds since 1970 UTC.
    pub at_micros: i64,
    /// What.
    pub act: VersionAct,
    /// The version.
    pub udf_hash: String,
    /// The version that ran until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The versions of one pipeline's UDF over time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionHistory {
    /// The version that runs, or that ran last.
    pub running: Option<String>,
    /// The content of the script's file that must not be taken up again until it changes: it was
    /// refused, or an operator chose another version while it lay there.
    pub passed_over: Option<String>,
    /// What happened, oldest first.
    pub events: Vec<VersionEvent>,
    /// Older events that are kept no more.
    pub events_forgotten: u64,
}

/// Why a version cannot be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// None ran before.
    #[error("no other version ran before the running one: name one with --to")]
    NoPrevious,
    /// The name is too short to be one.
    #[error("version {0:?} has fewer than {PREFIX_DIGITS_MIN} digits")]
    TooShort(String),
    /// There is none of that name.
    #[error("no version {0} is kept: `millrace udf history` names them")]
    Unknown(String),
    /// There are several.
    #[error("several versions begin with {0}: give more digits")]
    Ambiguous(String),
}

impl VersionHistory {
    /// Whether the content of the script's file is to be tried: it is neither what runs nor what was
    /// passed over.
    #[must_use]
    pub fn is_news(&self, on_disk: &str) -> bool {
        self.running.as_deref() != Some(on_disk) && self.passed_over.as_deref() != Some(on_disk)
    }

    /// The kept version to start with instead of the content of the script's file; `None` when it is
    /// the file's turn.
    #[must_use]
    pub fn start_instead(&self, on_disk: &str) -> Option<&str> {
        let running = self.running.as_deref()?;
        (self.passed_over.as_deref() == Some(on_disk) && running != on_disk).then_some(running)
    }

    /// A version runs from now on. `on_disk` is the content of the script's file at that time, as far as it
    /// can be read: when it is another version, it is passed over until it changes.
    pub fn adopt(
        &mut self,
        act: VersionAct,
        udf_hash: &str,
        on_disk: Option<&str>,
        reason: Option<String>,
        now: Micros,
    ) {
        let previous = self.running.replace(udf_hash.to_owned()).filter(|before| before != udf_hash);
        // A file that cannot be read now is no news when it comes back as it was.
        let known = self.passed_over.clone().or_else(|| previous.clone());
        self.found_on_disk(on_disk.or(known.as_deref()));
        self.note(VersionEvent { at_micros: now.0, act, udf_hash: udf_hash.to_owned(), previous, reason });
    }

    /// The script's file has this content, as far as it can be read, while another version may run: it is
    /// passed over until it changes.
    pub fn found_on_disk(&mut self, on_disk: Option<&str>) {
        if let Some(on_disk) = on_disk {
            let runs = self.running.as_deref() == Some(on_disk);
            self.passed_over = (!runs).then(|| on_disk.to_owned());
        }
    }

    /// The content of the script's file was not allowed to run; it is not tried again until it changes.
    pub fn refuse(&mut self, udf_hash: &str, reason: String, now: Micros) {
        self.passed_over = Some(udf_hash.to_owned());
        self.note_refused(udf_hash, reason, now);
    }

    /// A version that does not lie in the script's file was not allowed to run.
    pub fn note_refused(&mut self, udf_hash: &str, reason: String, now: Micros) {
        let (act, reason) = (VersionAct::Refused, Some(reason));
        self.note(VersionEvent {
            at_micros: now.0,
            act,
            udf_hash: udf_hash.to_owned(),
            previous: None,
            reason,
        });
    }

    /// A version's text was removed.
    pub fn note_forgotten(&mut self, udf_hash: &str, reason: String, now: Micros) {
        let (act, reason) = (VersionAct::Forgotten, Some(reason));
        self.note(VersionEvent {
            at_micros: now.0,
            act,
            udf_hash: udf_hash.to_owned(),
            previous: None,
            reason,
        });
    }

    /// The version to go back to: the one named by its first digits, else the one that ran before the
    /// running one. Doing it twice is back where one was.
    ///
    /// # Errors
    /// See [`VersionError`].
    pub fn rollback_target(&self, to: Option<&str>, kept: &[String]) -> Result<String, VersionError> {
        let Some(prefix) = to else {
            let running = self.running.as_deref();
            let adopted = self
                .events
                .iter()
                .rev()
                .find(|event| event.previous.is_some() && Some(event.udf_hash.as_str()) == running);
            let previous =
                adopted.and_then(|event| event.previous.clone()).ok_or(VersionError::NoPrevious)?;
            return match kept.contains(&previous) {
                true => Ok(previous),
                false => Err(VersionError::Unknown(previous)),
            };
        };
        let prefix = prefix.to_ascii_lowercase();
        if prefix.len() < PREFIX_DIGITS_MIN {
            return Err(VersionError::TooShort(prefix));
        }
        let mut found = kept.iter().filter(|hash| hash.starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(hash), None) => Ok(hash.clone()),
            (None, _) => Err(VersionError::Unknown(prefix)),
            (Some(_), Some(_)) => Err(VersionError::Ambiguous(prefix)),
        }
    }

    /// Which of the kept versions have to go so that `versions_max` remain: those that were last heard of
    /// longest ago, never the running one or the one before it.
    #[must_use]
    pub fn to_forget(&self, kept: &[String], versions_max: usize) -> Vec<String> {
        let excess = kept.len().saturating_sub(versions_max);
        if excess == 0 {
            return Vec::new();
        }
        let last_heard = |hash: &String| self.events.iter().rposition(|event| event.udf_hash == *hash);
        let previous = self.rollback_target(None, kept).ok();
        let mut candidates: Vec<_> = kept
            .iter()
            .filter(|hash| self.running.as_ref() != Some(*hash) && previous.as_ref() != Some(*hash))
            .map(|hash| (last_heard(hash), hash.clone()))
            .collect();
        candidates.sort();
        candidates.into_iter().take(excess).map(|(_, hash)| hash).collect()
    }

    fn note(&mut self, mut event: VersionEvent) {
        event.reason = event.reason.map(|reason| cut(&reason, REASON_BYTES_MAX));
        self.events.push(event);
        let excess = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..excess);
        self.events_forgotten += excess as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1);

    fn adopt(history: &mut VersionHistory, act: VersionAct, hash: &str, disk: &str) {
        history.adopt(act, hash, Some(disk), None, NOW);
    }

    #[test]
    fn a_file_is_tried_once_for_each_change_of_its_content() {
        let mut history = VersionHistory::default();
        assert!(history.is_news("aaaa"));
        adopt(&mut history, VersionAct::Start, "aaaa", "aaaa");
        assert!(!history.is_news("aaaa"));
        history.refuse("bbbb", "worse".to_owned(), NOW);
        assert!(!history.is_news("bbbb") && history.is_news("cccc"));
        adopt(&mut history, VersionAct::Reload, "cccc", "cccc");
        assert!(history.is_news("bbbb"), "it lay there before, and something else since");
    }

    #[test]
    fn after_a_rollback_or_a_promotion_the_file_waits_for_its_next_change_also_over_a_restart() {
        let mut history = VersionHistory::default();
        adopt(&mut history, VersionAct::Start, "aaaa", "aaaa");
        adopt(&mut history, VersionAct::Reload, "bbbb", "bbbb");
        let kept = ["aaaa".to_owned(), "bbbb".to_owned()];
        assert_eq!(history.rollback_target(None, &kept), Ok("aaaa".to_owned()));
        adopt(&mut history, VersionAct::Rollback, "aaaa", "bbbb");
        let restarted: VersionHistory =
            serde_json::from_str(&serde_json::to_string(&history).unwrap()).unwrap();
        assert_eq!(restarted.start_instead("bbbb"), Some("aaaa"));
        assert_eq!(restarted.start_instead("cccc"), None);
        assert!(!restarted.is_news("bbbb") && restarted.is_news("cccc"));
        assert_eq!(restarted.rollback_target(None, &kept), Ok("bbbb".to_owned()), "and back again");
        adopt(&mut history, VersionAct::Start, "aaaa", "bbbb");
        assert_eq!(history.start_instead("bbbb"), Some("aaaa"), "also over the next restart");
    }

    #[test]
    fn versions_are_named_by_their_first_digits() {
        let history = VersionHistory::default();
        let kept = ["abcd11".to_owned(), "abcd22".to_owned(), "ffff00".to_owned()];
        let target = |to| history.rollback_target(to, &kept);
        assert_eq!(target(Some("FFFF")), Ok("ffff00".to_owned()));
        assert_eq!(target(Some("abcd")), Err(VersionError::Ambiguous("abcd".to_owned())));
        assert_eq!(target(Some("0000")), Err(VersionError::Unknown("0000".to_owned())));
        assert_eq!(target(Some("f")), Err(VersionError::TooShort("f".to_owned())));
        assert_eq!(target(None), Err(VersionError::NoPrevious));
    }

    #[test]
    fn the_longest_unheard_of_go_first_and_what_is_needed_stays() {
        let mut history = VersionHistory::default();
        for hash in ["aaaa", "bbbb", "cccc", "dddd"] {
            adopt(&mut history, VersionAct::Reload, hash, hash);
        }
        adopt(&mut history, VersionAct::Rollback, "aaaa", "dddd");
        let kept: Vec<String> = ["aaaa", "bbbb", "cccc", "dddd"].map(ToOwned::to_owned).into();
        assert_eq!(history.to_forget(&kept, 4), Vec::<String>::new());
        assert_eq!(history.to_forget(&kept, 3), ["bbbb"]);
        assert_eq!(history.to_forget(&kept, 0), ["bbbb", "cccc"], "not the running one and the one before");
    }

    #[test]
    fn a_history_is_bounded() {
        let mut history = VersionHistory::default();
        for _ in 0..EVENTS_MAX + 5 {
            adopt(&mut history, VersionAct::Start, "aaaa", "aaaa");
        }
        assert_eq!((history.events.len(), history.events_forgotten), (EVENTS_MAX, 5));
        history.refuse("bbbb", "é".repeat(1 << 20), NOW);
        let reason = history.events.last().and_then(|event| event.reason.clone()).unwrap();
        assert!(reason.len() < REASON_BYTES_MAX + 100, "{} bytes", reason.len());
    }
}
