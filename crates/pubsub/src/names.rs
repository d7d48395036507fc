//! Names of resources: `projects/P/topics/T` and its like.

use std::fmt;

use millrace_model::names::resource_name_violation;

use crate::error::PubsubError;

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Topic,
    Subscription,
    Snapshot,
    Schema,
}

impl Kind {
    /// The word in the name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Topic => "topics",
            Self::Subscription => "subscriptions",
            Self::Snapshot => "snapshots",
            Self::Schema => "schemas",
        }
    }
}

/// A resource's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) project: String,
    pub(crate) id: String,
}

/// Longest project id in bytes.
const PROJECT_BYTES_MAX: usize = 128;

impl Name {
    /// Reads a name of one kind.
    pub(crate) fn parse(kind: Kind, text: &str) -> Result<Self, PubsubError> {
        let word = kind.word();
        if text.is_empty() {
            return Err(PubsubError::invalid(format!(
                "a name is missing: it must have the form projects/PROJECT/{word}/ID"
            )));
        }
        let mut parts = text.split('/');
        let (first, project, second, id, end) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
        let (Some("projects"), Some(project), Some(second), Some(id), None) =
            (first, project, second, id, end)
        else {
            return Err(PubsubError::invalid(format!(
                "{text:?} must have the form projects/PROJECT/{word}/ID"
            )));
        };
        if second != word {
            return Err(PubsubError::invalid(format!(
                "{text:?} must have the form projects/PROJECT/{word}/ID"
            )));
        }
        check_project(text, project)?;
        if let Some(rule) = resource_name_violation(id) {
            return Err(PubsubError::invalid(format!("{text:?} is not a valid name: {rule}")));
        }
        Ok(Self { kind, project: project.to_owned(), id: id.to_owned() })
    }

    /// The name of a resource of the same project.
    pub(crate) fn new(kind: Kind, project: &str, id: &str) -> Self {
        Self { kind, project: project.to_owned(), id: id.to_owned() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "projects/{}/{}/{}", self.project, self.kind.word(), self.id)
    }
}

/// Reads `projects/P`.
pub(crate) fn parse_project(text: &str) -> Result<&str, PubsubError> {
    let project = text.strip_prefix("projects/").filter(|project| !project.contains('/'));
    let project = project
        .ok_or_else(|| PubsubError::invalid(format!("{text:?} must have the form projects/PROJECT")))?;
    check_project(text, project)?;
    Ok(project)
}

fn check_project(text: &str, project: &str) -> Result<(), PubsubError> {
    let good = |letter: u8| letter.is_ascii_alphanumeric() || b"-._:~".contains(&letter);
    if (1..=PROJECT_BYTES_MAX).contains(&project.len()) && project.bytes().all(good) {
        return Ok(());
    }
    Err(PubsubError::invalid(format!(
        "{text:?} is not a valid name: a project id has 1 to {PROJECT_BYTES_MAX} letters, digits or - . _ : ~"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        let name = Name::parse(Kind::Topic, "projects/my-project/topics/a.b~c+d%20").unwrap();
        assert_eq!((name.project.as_str(), name.id.as_str()), ("my-project", "a.b~c+d%20"));
        assert_eq!(name.to_string(), "projects/my-project/topics/a.b~c+d%20");
        for (text, rule) in [
            ("topic", "must have the form projects/PROJECT/topics/ID"),
            ("projects/p/subscriptions/sub", "must have the form"),
            ("projects/p/topics/sub/more", "must have the form"),
            ("projects//topics/sub", "a project id has"),
            ("projects/p/topics/ab", "a name has 3 to 255 characters"),
            ("projects/p/topics/goog-x", "does not begin with goog"),
            ("projects/p/topics/..", "3 to 255"),
        ] {
            let error = Name::parse(Kind::Topic, text).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            assert!(error.to_string().contains(rule) && error.to_string().contains(text), "{error}");
        }
        assert_eq!(parse_project("projects/p"), Ok("p"));
        assert!(parse_project("p").is_err() && parse_project("projects/p/q").is_err());
    }
}
