//! Names of Pub/Sub and BigQuery resources as the template takes them.

use std::fmt;

use millrace_model::names::resource_name_violation;

/// Longest dataset or table name, in bytes.
const TABLE_NAME_BYTES_MAX: usize = 1024;

/// Why a name is not one. The first part is the wording of Beam, whose parser the template calls
/// (`PubsubIO`, `BigQueryHelpers`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a subscription's.
    #[error(
        "Pubsub subscription is not in projects/<project_id>/subscriptions/<subscription_name> format: {0}"
    )]
    Subscription(String),
    /// Not a topic's.
    #[error("Pubsub topic is not in projects/<project_id>/topics/<topic_name> format: {0}")]
    Topic(String),
    /// The form is right, the last part is not a name.
    #[error("{name:?} is not a name that Pub/Sub takes: {rule}")]
    Resource {
        /// The last part.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// Not a table's.
    #[error(
        "Table specification [{0}] is not in one of the expected formats ( [project_id]:[dataset_id].[table_id], \
         [project_id].[dataset_id].[table_id], [dataset_id].[table_id])"
    )]
    Table(String),
    /// A table's name, but not one that can be a table here.
    #[error("{name:?} cannot be the name of a {what} here: letters, digits and _ only, at most 1024 bytes")]
    Unusable {
        /// The part.
        name: String,
        /// `dataset` or `table`.
        what: &'static str,
    },
}

/// The name of a topic or subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceName {
    /// The project's id.
    pub project: String,
    /// Its own name.
    pub name: String,
}

impl ResourceName {
    /// Reads `projects/P/subscriptions/S`.
    ///
    /// # Errors
    /// When the text has another form, or the last part is not a good name.
    pub fn subscription(text: &str) -> Result<Self, NameError> {
        Self::parse(text, "subscriptions").ok_or_else(|| NameError::Subscription(text.to_owned()))?.checked()
    }

    /// Reads `projects/P/topics/T`.
    ///
    /// # Errors
    /// As [`subscription`](Self::subscription).
    pub fn topic(text: &str) -> Result<Self, NameError> {
        Self::parse(text, "topics").ok_or_else(|| NameError::Topic(text.to_owned()))?.checked()
    }

    fn parse(text: &str, collection: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (root, project) = (parts.next()?, parts.next()?);
        let (middle, name) = (parts.next()?, parts.next()?);
        let whole = root == "projects" && middle == collection && parts.next().is_none();
        (whole && is_project(project) && !name.is_empty())
            .then(|| Self { project: project.to_owned(), name: name.to_owned() })
    }

    fn checked(self) -> Result<Self, NameError> {
        match resource_name_violation(&self.name) {
            Some(rule) => Err(NameError::Resource { name: self.name, rule }),
            None => Ok(self),
        }
    }
}

/// The name of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The project's id, when it is given.
    pub project: Option<String>,
    /// The dataset.
    pub dataset: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// Reads `project:dataset.table`, `project.dataset.table` or `dataset.table`. A project of an old
    /// domain may hold a colon and points itself: `example.com:project:dataset.table`.
    ///
    /// # Errors
    /// When the text has another form, or a part cannot be a name here.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let malformed = || NameError::Table(text.to_owned());
        let (front, table) = text.rsplit_once('.').ok_or_else(malformed)?;
        // A dataset holds neither point nor colon here, so whatever is before the last one is the project.
        let (project, dataset) = match front.rfind(['.', ':']) {
            Some(at) => (Some(&front[..at]), &front[at + 1..]),
            None => (None, front),
        };
        if dataset.is_empty() || table.is_empty() || project.is_some_and(|project| !is_project(project)) {
            return Err(malformed());
        }
        for (what, name) in [("dataset", dataset), ("table", table)] {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !plain || name.len() > TABLE_NAME_BYTES_MAX {
                return Err(NameError::Unusable { name: name.to_owned(), what });
            }
        }
        Ok(Self { project: project.map(str::to_owned), dataset: dataset.to_owned(), table: table.to_owned() })
    }

    /// The table of its dead letters when nobody names another.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        let table = format!("{}{}", self.table, millrace_model::names::DEAD_LETTER_SUFFIX);
        Self { table, ..self.clone() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(project) = &self.project {
            write!(formatter, "{project}:")?;
        }
        write!(formatter, "{}.{}", self.dataset, self.table)
    }
}

/// Project ids as Beam takes them, short ones (`local`) too, and with Google's wildcard characters left out.
fn is_project(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> (Option<String>, String, String) {
        let name = TableName::parse(text).unwrap();
        (name.project, name.dataset, name.table)
    }

    #[test]
    fn tables_in_all_spellings() {
        let owned = |project: &str, dataset: &str, table: &str| {
            (Some(project.to_owned()), dataset.to_owned(), table.to_owned())
        };
        assert_eq!(table("my-project:telemetry.raw"), owned("my-project", "telemetry", "raw"));
        assert_eq!(table("my-project.telemetry.raw"), owned("my-project", "telemetry", "raw"));
        assert_eq!(table("example.com:p:d.t"), owned("example.com:p", "d", "t"));
        assert_eq!(table("d.t"), (None, "d".to_owned(), "t".to_owned()));
        assert_eq!(TableName::parse("p:d.t").unwrap().dead_letters().to_string(), "p:d.t_error_records");
    }

    #[test]
    fn what_is_no_table_is_told_in_the_words_of_the_template() {
        for bad in ["", "t", "p:t", ".t", "d.", "p:.t", "p:d.", ":d.t", "p p:d.t"] {
            let error = TableName::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("Table specification [{bad}] is not in one of")), "{error}");
        }
        for bad in ["p:d.t$20260101", "p:d-x.t", "p:d.t*", "p:d.t t", "p:../d.t"] {
            let error = TableName::parse(bad).unwrap_err();
            assert!(matches!(error, NameError::Unusable { .. } | NameError::Table(_)), "{bad}: {error}");
        }
    }

    #[test]
    fn subscriptions_and_topics() {
        let name = ResourceName::subscription("projects/local/subscriptions/gemini-logs-sub").unwrap();
        assert_eq!((name.project.as_str(), name.name.as_str()), ("local", "gemini-logs-sub"));
        for bad in [
            "gemini-logs-sub",
            "projects/local/topics/gemini-logs-sub",
            "projects/local/subscriptions/",
            "projects//subscriptions/sub",
            "projects/local/subscriptions/sub/more",
            "/projects/local/subscriptions/sub",
            "projects/local/subscriptions",
        ] {
            let error = ResourceName::subscription(bad).unwrap_err().to_string();
            assert!(error.starts_with("Pubsub subscription is not in"), "{error}");
        }
        let error = ResourceName::topic("projects/p/topics/1").unwrap_err().to_string();
        assert!(error.contains("3 to 255 characters"), "{error}");
        assert!(ResourceName::topic("projects/p/subscriptions/sub").is_err());
    }
}
