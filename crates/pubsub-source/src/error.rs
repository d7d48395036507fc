//! What can go wrong, in words for the operator: what failed, on what, what to do next.

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::Error;

use crate::config::{Input, SourceConfig};

/// Why a source does not read. All but [`Setting`](Self::Setting) may pass by themselves, and are tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// There is no such subscription or topic.
    #[error("{0}")]
    NotFound(String),
    /// There are no credentials, or the service does not take them.
    #[error("{0}")]
    Credentials(String),
    /// The account may not.
    #[error("{0}")]
    Denied(String),
    /// The service does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// Anything else that the service says.
    #[error("{0}")]
    Service(String),
}

impl SourceError {
    /// Whether waiting is likely to help: not when somebody has to change something.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Service(_))
    }

    /// An error of the client, about this source's `resource`.
    pub(crate) fn explain(config: &SourceConfig, resource: &str, error: &Error) -> Self {
        let at = config.endpoint.address();
        if error.is_authentication() {
            return Self::Credentials(format!(
                "there are no credentials for {at}: {}; {}",
                with_sources(error),
                credentials_hint(config)
            ));
        }
        let Some(status) = error.status() else {
            return Self::Unreachable(format!("{at} does not answer: {}", with_sources(error)));
        };
        let said = &status.message;
        match status.code {
            Code::NotFound => Self::NotFound(not_found(config, resource)),
            Code::PermissionDenied => Self::Denied(format!(
                "{at} does not let this account use {resource}: {said}; {}",
                role_hint(config)
            )),
            Code::Unauthenticated => Self::Credentials(format!(
                "{at} does not take the credentials: {said}; {}",
                credentials_hint(config)
            )),
            Code::FailedPrecondition => Self::Service(format!(
                "{resource} cannot be pulled from: {said}; it must not be detached, and must be a pull subscription"
            )),
            Code::Unavailable | Code::DeadlineExceeded => {
                Self::Unreachable(format!("{at} does not answer: {said}"))
            }
            _ => Self::Service(format!("{at} says of {resource}: {:?}: {said}", status.code)),
        }
    }
}

fn not_found(config: &SourceConfig, resource: &str) -> String {
    let at = config.endpoint.address();
    let (setting, _) = config.input_setting();
    let mut parts = resource.split('/').skip(1);
    let project = parts.next().unwrap_or_default();
    let (collection, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let source = &config.name;
    let command = match collection {
        "topics" => format!("gcloud pubsub topics create {id} --project {project}"),
        _ => format!("gcloud pubsub subscriptions create {id} --topic TOPIC --project {project}"),
    };
    format!(
        "{resource} does not exist at {at}: make it (`{command}`), or correct `{setting}` of source {source}"
    )
}

fn role_hint(config: &SourceConfig) -> &'static str {
    match config.input {
        Input::Subscription(_) => "give it roles/pubsub.subscriber, or name another account in `impersonate`",
        // Making and deleting a subscription takes more than reading one.
        Input::Topic(_) => {
            "a topic is read through a temporary subscription, for which it needs roles/pubsub.editor; or name a \
             `subscription` that is there, or another account in `impersonate`"
        }
    }
}

fn credentials_hint(config: &SourceConfig) -> &'static str {
    if config.impersonate.is_some() {
        "the default credentials need roles/iam.serviceAccountTokenCreator on the account in `impersonate`"
    } else {
        "run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, or, for an emulator, \
         set `endpoint`"
    }
}

/// An error and what is behind it, which is where a transport keeps the reason.
fn with_sources(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(behind) = source {
        let more = behind.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = behind.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_gax::error::rpc::Status;

    #[test]
    fn errors_say_what_to_do() {
        let name = "projects/p/subscriptions/sub";
        let config = SourceConfig::new("s".to_owned(), Input::Subscription(name.to_owned()), [0; 32]);
        let said = |code: Code| {
            let error = Error::service(Status::default().set_code(code).set_message("no"));
            SourceError::explain(&config, name, &error)
        };
        for (code, hint) in [
            (Code::NotFound, "gcloud pubsub subscriptions create sub --topic TOPIC --project p"),
            (Code::NotFound, "correct `subscription` of source s"),
            (Code::PermissionDenied, "roles/pubsub.subscriber"),
            (Code::Unauthenticated, "gcloud auth application-default login"),
            (Code::FailedPrecondition, "must not be detached"),
            (Code::Unavailable, "https://pubsub.googleapis.com does not answer"),
            (Code::Internal, "Internal: no"),
        ] {
            let text = said(code).to_string();
            assert!(text.contains(hint), "{text}");
        }
        assert!(!said(Code::NotFound).is_transient() && said(Code::Unavailable).is_transient());
        let topic = SourceConfig { input: Input::Topic("projects/p/topics/top".to_owned()), ..config };
        let gone = Error::service(Status::default().set_code(Code::NotFound));
        let text = SourceError::explain(&topic, "projects/p/topics/top", &gone).to_string();
        assert!(
            text.contains("gcloud pubsub topics create top") && text.contains("correct `topic`"),
            "{text}"
        );
    }
}
