//! What an operator can set, and whether it makes sense.

use std::time::Duration;

use millrace_model::names::resource_name_violation;

use crate::error::SourceError;

/// Most messages that may be outstanding.
const OUTSTANDING_MESSAGES_LIMIT: usize = 1_000_000;
/// What Pub/Sub takes as an ack deadline, in seconds.
const ACK_DEADLINE_SECONDS: std::ops::RangeInclusive<u64> = 10..=600;

/// The settings of a source. [`SourceConfig::new`] gives the defaults, which are those of Google's client.
#[derive(Clone)]
pub struct SourceConfig {
    /// Its name, in the status and as label of its metrics.
    pub name: String,
    /// What it reads.
    pub input: Input,
    /// The project that a temporary subscription is made in; `None` is the topic's.
    pub subscription_project: Option<String>,
    /// Where the service is.
    pub endpoint: Endpoint,
    /// The service account to act as, by its e-mail; `None` is the account of the default credentials.
    pub impersonate: Option<String>,
    /// Key of the hashes that a message is recognised by. Must stay the same over restarts, else what comes
    /// again across one is stored twice.
    pub dedup_secret: [u8; 32],
    /// Whether the log's disk keeps what is synced. If it does not, a message is acknowledged only when
    /// [`Source::committed`](crate::Source::committed) says that its row is in a table; what was appended and
    /// is lost with the disk comes again, and may then be stored twice (at least once).
    pub durable: bool,
    /// Messages received and not yet acknowledged, at most; then the service sends no more.
    pub outstanding_messages_max: usize,
    /// Their bytes, at most. One message larger than that is taken alone.
    pub outstanding_bytes_max: usize,
    /// How long the service waits for a sign of life before it gives messages to somebody else. The client
    /// extends it while messages wait here.
    pub ack_deadline: Duration,
    /// For how long it does. A message that waits longer (the log is full, say) comes again and is recognised.
    pub lease_max: Duration,
    /// How long a message that the log never takes is kept back before it is given back: without a retry
    /// policy the service would send it again at once, for ever.
    pub nack_delay: Duration,
    /// After this long without a message the service is asked whether it still answers.
    pub probe_after: Duration,
    /// After this long without a message the stream is opened anew: it may be dead without our knowing.
    pub reopen_after: Duration,
    /// The first wait before a stream that failed is opened again; each further one is twice as long ...
    pub backoff_min: Duration,
    /// ... up to this.
    pub backoff_max: Duration,
}

impl SourceConfig {
    /// The default limits.
    #[must_use]
    pub fn new(name: String, input: Input, dedup_secret: [u8; 32]) -> Self {
        Self {
            name,
            input,
            subscription_project: None,
            endpoint: Endpoint::Google,
            impersonate: None,
            dedup_secret,
            durable: true,
            outstanding_messages_max: 1000,
            outstanding_bytes_max: 100 << 20,
            ack_deadline: Duration::from_secs(60),
            lease_max: Duration::from_secs(3600),
            nack_delay: Duration::from_secs(10),
            probe_after: Duration::from_secs(30),
            reopen_after: Duration::from_secs(300),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(60),
        }
    }

    /// Whether the settings make sense, without asking the service.
    ///
    /// # Errors
    /// The first that does not, with its name and what to do.
    pub fn check(&self) -> Result<(), SourceError> {
        match &self.input {
            Input::Subscription(name) => check_name("subscription", name)?,
            Input::Topic(name) => check_name("topic", name)?,
        }
        if let Some(project) = &self.subscription_project
            && !is_project(project)
        {
            return Err(SourceError::Setting(format!("project {project:?} is not a project id")));
        }
        if let Some(account) = &self.impersonate
            && (!account.contains('@') || account.contains(['/', ' ']))
        {
            return Err(SourceError::Setting(format!(
                "impersonate {account:?} is not a service account: give its e-mail, NAME@PROJECT.iam.gserviceaccount.com"
            )));
        }
        if self.impersonate.is_some() && matches!(self.endpoint, Endpoint::Plaintext(_)) {
            return Err(SourceError::Setting(
                "impersonate and an endpoint without TLS: an emulator takes no credentials, leave one of them out"
                    .to_owned(),
            ));
        }
        let seconds = self.ack_deadline.as_secs();
        if !ACK_DEADLINE_SECONDS.contains(&seconds) {
            return Err(SourceError::Setting(format!("ack_deadline_seconds is 10 to 600, not {seconds}")));
        }
        if !(1..=OUTSTANDING_MESSAGES_LIMIT).contains(&self.outstanding_messages_max) {
            return Err(SourceError::Setting(format!(
                "outstanding_messages_max is 1 to {OUTSTANDING_MESSAGES_LIMIT}, not {}",
                self.outstanding_messages_max
            )));
        }
        if self.outstanding_bytes_max == 0 {
            return Err(SourceError::Setting("outstanding_bytes_max must be at least 1".to_owned()));
        }
        Ok(())
    }

    /// The name of the setting that names the input, and what it says.
    pub(crate) fn input_setting(&self) -> (&'static str, &str) {
        match &self.input {
            Input::Subscription(name) => ("subscription", name),
            Input::Topic(name) => ("topic", name),
        }
    }
}

impl std::fmt::Debug for SourceConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the secret.
        formatter
            .debug_struct("SourceConfig")
            .field("name", &self.name)
            .field("input", &self.input)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// What a source reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A subscription that is there, `projects/P/subscriptions/S`.
    Subscription(String),
    /// A topic, `projects/P/topics/T`, through a temporary subscription that is made for it, as the Dataflow
    /// template does.
    Topic(String),
}

/// Where the service is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Endpoint {
    /// `pubsub.googleapis.com`.
    #[default]
    Google,
    /// Another address of the service over TLS, with the same credentials: a region's, or a private one.
    Tls(String),
    /// An emulator, or a server of one's own: no TLS, and so no credentials.
    Plaintext(String),
}

impl Endpoint {
    /// Reads `https://HOST`, `http://HOST:PORT` or, as `PUBSUB_EMULATOR_HOST` has it, `HOST:PORT`.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let wrong = || {
            SourceError::Setting(format!(
                "endpoint {text:?} is no address: give HOST:PORT of an emulator, or https://HOST of the service"
            ))
        };
        let (secure, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(wrong()),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if rest.is_empty() || !rest.bytes().all(plain) {
            return Err(wrong());
        }
        Ok(if secure {
            Self::Tls(format!("https://{rest}"))
        } else {
            Self::Plaintext(format!("http://{rest}"))
        })
    }

    /// The address, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Google => "https://pubsub.googleapis.com",
            Self::Tls(address) | Self::Plaintext(address) => address,
        }
    }
}

/// The parts of `projects/P/KINDs/N`, when the text has that form.
pub(crate) fn name_parts<'a>(kind: &str, name: &'a str) -> Option<(&'a str, &'a str)> {
    let (project, rest) = name.strip_prefix("projects/")?.split_once('/')?;
    let id = rest.strip_prefix(kind)?.strip_prefix("s/")?;
    (is_project(project) && !id.contains('/')).then_some((project, id))
}

fn check_name(kind: &'static str, name: &str) -> Result<(), SourceError> {
    let Some((_, id)) = name_parts(kind, name) else {
        return Err(SourceError::Setting(format!(
            "{kind} {name:?} must have the form projects/PROJECT/{kind}s/ID"
        )));
    };
    match resource_name_violation(id) {
        Some(rule) => Err(SourceError::Setting(format!("{kind} {name:?} is not a valid name: {rule}"))),
        None => Ok(()),
    }
}

fn is_project(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(input: Input) -> SourceConfig {
        SourceConfig::new("source".to_owned(), input, [0; 32])
    }

    fn subscription(name: &str) -> SourceConfig {
        config(Input::Subscription(name.to_owned()))
    }

    #[test]
    fn names_are_checked_before_anybody_is_asked() {
        assert_eq!(subscription("projects/p/subscriptions/sub").check(), Ok(()));
        assert_eq!(config(Input::Topic("projects/p/topics/top".to_owned())).check(), Ok(()));
        for (name, rule) in [
            ("sub", "must have the form projects/PROJECT/subscriptions/ID"),
            ("projects/p/topics/sub", "must have the form"),
            ("projects//subscriptions/sub", "must have the form"),
            ("projects/p/subscriptions/sub/more", "must have the form"),
            ("projects/p/subscriptions/1x", "3 to 255 characters"),
        ] {
            let error = subscription(name).check().unwrap_err().to_string();
            assert!(error.contains(rule) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let change = |change: fn(&mut SourceConfig)| {
            let mut config = subscription("projects/p/subscriptions/sub");
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(change(|c| c.ack_deadline = Duration::from_secs(9)).contains("ack_deadline_seconds"));
        assert!(change(|c| c.outstanding_messages_max = 0).contains("outstanding_messages_max"));
        assert!(change(|c| c.outstanding_bytes_max = 0).contains("outstanding_bytes_max"));
        assert!(change(|c| c.impersonate = Some("me".to_owned())).contains("give its e-mail"));
        assert!(change(|c| c.subscription_project = Some("a b".to_owned())).contains("project"));
        let both = change(|c| {
            c.impersonate = Some("a@p.iam.gserviceaccount.com".to_owned());
            c.endpoint = Endpoint::Plaintext("http://localhost:8085".to_owned());
        });
        assert!(both.contains("leave one of them out"), "{both}");
    }

    #[test]
    fn endpoints_in_all_spellings() {
        let plaintext = |address: &str| Ok(Endpoint::Plaintext(address.to_owned()));
        assert_eq!(Endpoint::parse("localhost:8085"), plaintext("http://localhost:8085"));
        assert_eq!(Endpoint::parse("[::1]:8085"), plaintext("http://[::1]:8085"));
        assert_eq!(Endpoint::parse("http://localhost:8085/"), plaintext("http://localhost:8085"));
        let regional = "https://europe-west1-pubsub.googleapis.com";
        assert_eq!(Endpoint::parse(regional), Ok(Endpoint::Tls(regional.to_owned())));
        for bad in ["", "ftp://x", "https://", "http://a/b", "a b:1"] {
            let error = Endpoint::parse(bad).unwrap_err().to_string();
            assert!(error.contains("is no address"), "{error}");
        }
    }
}
