//! What a BigQuery subscription makes of a message: the row, by the rules of
//! <https://cloud.google.com/pubsub/docs/bigquery>.
//!
//! [`check`] says whether a table has the columns that such a subscription writes; an [`Exporter`] is the
//! transform of the pipeline that writes them.
//!
//! **Invariant:** messages and rows only: not where tables live, who subscribes, or where failures go.

mod fit;
mod payload;
mod transform;

pub use fit::{Misfit, check};
pub use transform::{Exporter, Failed, Passes};

/// The column of the message's data, where the table's columns are not those of the payload.
pub const COLUMN_DATA: &str = "data";
/// The column of the subscription's name.
pub const COLUMN_SUBSCRIPTION: &str = "subscription_name";
/// The column of the message's id.
pub const COLUMN_MESSAGE_ID: &str = "message_id";
/// The column of the time of publishing.
pub const COLUMN_PUBLISH_TIME: &str = "publish_time";
/// The column of the attributes.
pub const COLUMN_ATTRIBUTES: &str = "attributes";

/// The columns that `write_metadata` fills.
pub const METADATA_COLUMNS: [&str; 4] =
    [COLUMN_SUBSCRIPTION, COLUMN_MESSAGE_ID, COLUMN_PUBLISH_TIME, COLUMN_ATTRIBUTES];

/// What a subscription's `bigquery_config` says about rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportConfig {
    /// The subscription's whole name.
    pub subscription: String,
    /// The fields of a payload, which is a JSON object, go to the columns of their names; else the payload
    /// goes to `data` as it is.
    pub use_table_schema: bool,
    /// What is known of a message goes to [`METADATA_COLUMNS`].
    pub write_metadata: bool,
    /// With `use_table_schema`: fields that the table has not are left out; else they are an error.
    pub drop_unknown_fields: bool,
}

/// Whether a payload's field or a column is one that the metadata fill: names are compared without case.
fn is_metadata(name: &str) -> bool {
    METADATA_COLUMNS.iter().any(|column| name.eq_ignore_ascii_case(column))
}
