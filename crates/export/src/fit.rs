//! Whether a table fits a subscription.

use millrace_table::{Field, FieldType, Mode, TableSchema};

use crate::{
    COLUMN_ATTRIBUTES, COLUMN_DATA, COLUMN_MESSAGE_ID, COLUMN_PUBLISH_TIME, COLUMN_SUBSCRIPTION, ExportConfig,
};

/// Why a table does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A column is missing.
    #[error("it has no column {name}, which has to be {types}")]
    Missing {
        /// The column.
        name: &'static str,
        /// The types that it may have.
        types: String,
    },
    /// A column cannot take what is written to it.
    #[error("its column {name} is {found}, which has to be {types} and not REPEATED")]
    Type {
        /// The column.
        name: &'static str,
        /// What it is.
        found: String,
        /// The types that it may have.
        types: String,
    },
    /// No row could be written.
    #[error("its column {0} is REQUIRED, and nothing is written to it")]
    Required(String),
}

/// Whether rows of such a subscription fit the table
/// (<https://cloud.google.com/pubsub/docs/bigquery#properties_subscription>).
///
/// # Errors
/// The first thing that does not fit.
pub fn check(schema: &TableSchema, config: &ExportConfig) -> Result<(), Misfit> {
    use FieldType::{Bytes, Json, String, Timestamp};
    let mut written: Vec<(&'static str, &[FieldType])> = Vec::new();
    if !config.use_table_schema {
        written.push((COLUMN_DATA, &[Bytes, String, Json]));
    }
    if config.write_metadata {
        written.extend([
            (COLUMN_SUBSCRIPTION, &[String][..]),
            (COLUMN_MESSAGE_ID, &[String]),
            (COLUMN_PUBLISH_TIME, &[Timestamp]),
            (COLUMN_ATTRIBUTES, &[Json, String]),
        ]);
    }
    for (name, types) in &written {
        takes(schema, name, types)?;
    }
    let is_written = |field: &Field| written.iter().any(|(name, _)| field.name.eq_ignore_ascii_case(name));
    let unfilled = schema.fields().iter().find(|field| field.mode == Mode::Required && !is_written(field));
    match unfilled {
        // A payload may have it.
        Some(field) if !config.use_table_schema => Err(Misfit::Required(field.name.clone())),
        _ => Ok(()),
    }
}

fn takes(schema: &TableSchema, name: &'static str, types: &[FieldType]) -> Result<(), Misfit> {
    let names = || types.iter().map(|kind| kind.standard_name()).collect::<Vec<_>>().join(" or ");
    let Some(field) = schema.field(name) else { return Err(Misfit::Missing { name, types: names() }) };
    if types.contains(&field.kind) && field.mode != Mode::Repeated {
        return Ok(());
    }
    let mode = if field.mode == Mode::Repeated { "REPEATED " } else { "" };
    let found = format!("{mode}{}", field.kind.standard_name());
    Err(Misfit::Type { name, found, types: names() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, FieldType, Mode)]) -> TableSchema {
        let fields = fields.iter().map(|(name, kind, mode)| Field::new(name, *kind, *mode));
        TableSchema::new(fields.collect()).unwrap()
    }

    fn config(use_table_schema: bool, write_metadata: bool) -> ExportConfig {
        let subscription = "projects/p/subscriptions/sub".to_owned();
        ExportConfig { subscription, use_table_schema, write_metadata, drop_unknown_fields: false }
    }

    #[test]
    fn the_columns_that_are_written_must_be_there_and_of_their_types() {
        use FieldType::{Bytes, Int64, Json, String, Timestamp};
        use Mode::{Nullable, Repeated, Required};
        let (plain, with_metadata) = (config(false, false), config(false, true));
        for kind in [Bytes, String, Json] {
            assert_eq!(check(&schema(&[("Data", kind, Required)]), &plain), Ok(()));
        }
        let all = schema(&[
            ("data", String, Nullable),
            ("subscription_name", String, Nullable),
            ("message_id", String, Required),
            ("publish_time", Timestamp, Nullable),
            ("attributes", Json, Nullable),
            ("more", Int64, Nullable),
        ]);
        assert_eq!(check(&all, &with_metadata), Ok(()));
        assert_eq!(check(&all, &config(true, true)), Ok(()));
        for (fields, settings, said) in [
            (
                &[("other", String, Nullable)][..],
                &plain,
                "no column data, which has to be BYTES or STRING or JSON",
            ),
            (&[("data", Int64, Nullable)], &plain, "data is INT64"),
            (&[("data", String, Repeated)], &plain, "data is REPEATED STRING"),
            (&[("data", String, Nullable), ("id", Int64, Required)], &plain, "id is REQUIRED"),
            (&[("data", String, Nullable)], &with_metadata, "no column subscription_name"),
        ] {
            let misfit = check(&schema(fields), settings).unwrap_err().to_string();
            assert!(misfit.contains(said), "{misfit}");
        }
        let by_payload = schema(&[("id", Int64, Required)]);
        assert_eq!(check(&by_payload, &config(true, false)), Ok(()));
        assert!(check(&by_payload, &config(true, true)).is_err());
    }
}
