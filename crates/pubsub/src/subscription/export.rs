//! The settings of a BigQuery subscription.

use crate::config::PubsubConfig;
use crate::error::PubsubError;
use crate::proto::v1;
use crate::proto::v1::big_query_config::State;

/// What `bigquery_config` says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExportSettings {
    pub(crate) project: String,
    /// `dataset.table`.
    pub(crate) table: String,
    pub(crate) use_table_schema: bool,
    pub(crate) write_metadata: bool,
    pub(crate) drop_unknown_fields: bool,
}

impl ExportSettings {
    /// Checks a resource's `bigquery_config`; one that names no table is none, as in the service.
    pub(crate) fn new(
        resource: &mut v1::Subscription,
        config: &PubsubConfig,
    ) -> Result<Option<Self>, PubsubError> {
        resource.bigquery_config.take_if(|own| *own == v1::BigQueryConfig::default());
        let pushes = resource.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty());
        let excludes = [
            (resource.enable_exactly_once_delivery, "enable_exactly_once_delivery"),
            (pushes, "push_config"),
        ];
        let transforms = !resource.message_transforms.is_empty();
        let Some(own) = &mut resource.bigquery_config else { return Ok(None) };
        // What it is, is said when it is asked for.
        own.state = State::Unspecified.into();
        if let Some((_, what)) = excludes.iter().find(|(is_set, _)| *is_set) {
            return Err(PubsubError::invalid(format!(
                "bigquery_config and {what} exclude each other: nobody gets the messages but the table"
            )));
        }
        if own.use_table_schema && own.use_topic_schema {
            return Err(PubsubError::invalid(
                "use_table_schema and use_topic_schema cannot be enabled at the same time",
            ));
        }
        let what = if config.exports.exporter().is_none() {
            "bigquery_config is not served here: this server has no tables"
        } else if own.use_topic_schema {
            "use_topic_schema is not served: set use_table_schema, and publish JSON"
        } else if transforms {
            "message_transforms with bigquery_config are not served: set them on the topic, or configure a [[pipeline]] with a UDF"
        } else {
            let (project, table) = table_of(&own.table)?;
            return Ok(Some(Self {
                project,
                table,
                use_table_schema: own.use_table_schema,
                write_metadata: own.write_metadata,
                drop_unknown_fields: own.drop_unknown_fields,
            }));
        };
        Err(PubsubError::unimplemented(what))
    }
}

/// Project and `dataset.table` of `project.dataset.table`, or `project:dataset.table` as it used to be.
pub(crate) fn table_of(text: &str) -> Result<(String, String), PubsubError> {
    let parts = text.rsplit_once('.').and_then(|(rest, table)| {
        let (project, dataset) = rest.rsplit_once(['.', ':'])?;
        Some((project, dataset, table))
    });
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match parts {
        Some((project, dataset, table)) if !project.is_empty() && plain(dataset) && plain(table) => {
            Ok((project.to_owned(), format!("{dataset}.{table}")))
        }
        _ => Err(PubsubError::invalid(format!(
            "bigquery_config.table {text:?} must have the form PROJECT.DATASET.TABLE, with letters, digits and _ in the names of dataset and table"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_projects() {
        for good in ["p.d.t_1", "p:d.t_1", "example.com:p.d.t_1"] {
            let (project, table) = table_of(good).unwrap();
            assert!(good.starts_with(&project) && table == "d.t_1", "{good}");
        }
        for bad in ["", "t", "d.t", "p.d.", "p..t", ".d.t", "p.d.t/../x", "p.d d.t"] {
            let error = table_of(bad).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{bad}");
        }
    }
}
