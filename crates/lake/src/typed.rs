//! Hidden columns with the values of JSON paths that queries ask for often (`millrace_jsonpath::typed`):
//! filled whenever a file is written, so that a reader of such a file leaves the JSON text alone.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use millrace_jsonpath::typed::{COLUMN_ALTERNATES, COLUMN_TYPED, VERSION, alternates, typed_paths};
use millrace_jsonpath::{Paths, Step, parse, scalar};
use millrace_model::names::COLUMN_EVENT_DAY;

use crate::config::LakeConfig;
use crate::state::DataFile;

/// Field metadata of a hidden column: the column of JSON text whose values it holds.
pub(crate) const METADATA_JSON_COLUMN: &str = "json_column";
/// Field metadata of a hidden column: the path in that text.
pub(crate) const METADATA_JSON_PATH: &str = "json_path";

const METADATA_TYPE: &str = "bigquery_type";

/// The hidden columns of one table: how to fill them, and which files have them.
#[derive(Debug, Clone)]
pub(crate) struct TypedColumns {
    /// One for each column of JSON text.
    sources: Arc<[Source]>,
    /// Where `_typed` and `_alternates` stand among the table's columns.
    typed_index: usize,
    alternates_index: usize,
}

/// A column of JSON text and what is taken out of it.
#[derive(Debug)]
struct Source {
    column: &'static str,
    /// First the paths with a column of their own, then the rare spellings.
    paths: Paths,
    names: Vec<String>,
    alternate_keys: Vec<String>,
}

/// The table's columns with those that its JSON texts bring, before the partition column.
pub(crate) fn extended(declared: &SchemaRef, config: &LakeConfig) -> SchemaRef {
    if !config.typed_columns {
        return Arc::clone(declared);
    }
    with_typed_columns(declared)
}

fn with_typed_columns(declared: &SchemaRef) -> SchemaRef {
    let mut added: Vec<FieldRef> = typed_paths()
        .into_iter()
        .filter(|typed| is_text(declared, typed.column))
        // A user's column of that name goes first; the path is then read from the text.
        .filter(|typed| !declared.fields().iter().any(|own| own.name().eq_ignore_ascii_case(&typed.name)))
        .map(|typed| {
            let metadata = [
                (METADATA_TYPE, "STRING"),
                (METADATA_JSON_COLUMN, typed.column),
                (METADATA_JSON_PATH, typed.path.as_str()),
            ];
            hidden(&typed.name, DataType::Utf8, &metadata)
        })
        .collect();
    if added.is_empty() {
        return Arc::clone(declared);
    }
    added.insert(0, hidden(COLUMN_TYPED, DataType::Int64, &[(METADATA_TYPE, "INT64")]));
    added.insert(1, hidden(COLUMN_ALTERNATES, DataType::Utf8, &[(METADATA_TYPE, "STRING")]));
    let mut fields: Vec<FieldRef> = declared.fields().iter().cloned().collect();
    let end = fields.iter().position(|field| field.name() == COLUMN_EVENT_DAY).unwrap_or(fields.len());
    fields.splice(end..end, added);
    Arc::new(Schema::new_with_metadata(fields, declared.metadata().clone()))
}

/// Whether a field is one of the hidden columns that hold JSON values.
pub(crate) fn is_typed_field(field: &Field) -> bool {
    field.metadata().contains_key(METADATA_JSON_PATH)
}

fn is_text(schema: &Schema, column: &str) -> bool {
    let found = schema.field_with_name(column);
    found.is_ok_and(|field| {
        let kind = field.metadata().get(METADATA_TYPE);
        *field.data_type() == DataType::Utf8 && kind.is_none_or(|kind| kind == "STRING")
    })
}

fn hidden(name: &str, data_type: DataType, metadata: &[(&str, &str)]) -> FieldRef {
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Arc::new(Field::new(name, data_type, true).with_metadata(metadata))
}

impl TypedColumns {
    /// Of a table with the columns `schema`, [`extended`]; `None` when it has no JSON texts.
    pub(crate) fn of(schema: &Schema) -> Option<Self> {
        let typed_index = schema.index_of(COLUMN_TYPED).ok()?;
        let alternates_index = schema.index_of(COLUMN_ALTERNATES).ok()?;
        let mut columns: Vec<&'static str> = Vec::new();
        let is_ours = |name: &str| schema.field_with_name(name).is_ok_and(is_typed_field);
        let typed: Vec<_> = typed_paths().into_iter().filter(|typed| is_ours(&typed.name)).collect();
        for typed in &typed {
            if !columns.contains(&typed.column) {
                columns.push(typed.column);
            }
        }
        let source = |column: &'static str| {
            let own = typed.iter().filter(|typed| typed.column == column);
            let (names, mut paths): (Vec<_>, Vec<_>) =
                own.map(|typed| (typed.name.clone(), typed.path.clone())).unzip();
            let rare = alternates().into_iter().filter(|alternate| alternate.column == column);
            let mut alternate_keys = Vec::new();
            for alternate in rare {
                alternate_keys.push(alternate.key());
                paths.push(alternate.path);
            }
            // Every path of the list parses: a test of theirs says so.
            let steps: Vec<Vec<Step>> = paths.iter().map(|path| parse(path).unwrap_or_default()).collect();
            let paths = Paths::new(steps.iter().map(Vec::as_slice));
            Source { column, paths, names, alternate_keys }
        };
        Some(Self { sources: columns.into_iter().map(source).collect(), typed_index, alternates_index })
    }

    /// Whether all rows of a file have their hidden columns.
    pub(crate) fn has(&self, file: &DataFile) -> bool {
        let Some(column) = file.statistics.column_statistics.get(self.typed_index) else { return false };
        let version = Some(&ScalarValue::Int64(Some(VERSION)));
        column.null_count.get_value() == Some(&0)
            && column.min_value.get_value() == version
            && column.max_value.get_value() == version
    }

    /// Whether a file that [`Self::has`] its columns is known to have no rare spelling in any row.
    pub(crate) fn has_no_alternates(&self, file: &DataFile) -> bool {
        let nulls = file
            .statistics
            .column_statistics
            .get(self.alternates_index)
            .and_then(|column| column.null_count.get_value());
        nulls.is_some() && nulls == file.statistics.num_rows.get_value()
    }

    /// The rows with their hidden columns filled in, unless all have them already. `schema` names the
    /// columns of the result.
    pub(crate) fn fill(&self, rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        if is_filled(rows) && rows.schema_ref().fields() == schema.fields() {
            return Ok(rows.clone());
        }
        let mut filled: HashMap<&str, ArrayRef> = HashMap::new();
        let mut rare: Vec<Option<serde_json::Map<String, serde_json::Value>>> = vec![None; rows.num_rows()];
        for source in self.sources.iter() {
            source.take(rows, &mut filled, &mut rare);
        }
        let alternates: StringArray = rare
            .into_iter()
            .map(|object| object.map(|object| serde_json::Value::Object(object).to_string()))
            .collect();
        filled.insert(COLUMN_ALTERNATES, Arc::new(alternates));
        filled.insert(COLUMN_TYPED, Arc::new(Int64Array::from_value(VERSION, rows.num_rows())));
        let columns = schema.fields().iter().map(|field| match filled.remove(field.name().as_str()) {
            Some(column) => Ok(column),
            None => rows
                .column_by_name(field.name())
                .cloned()
                .ok_or_else(|| ArrowError::SchemaError(format!("rows have no column {}", field.name()))),
        });
        RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
    }
}

fn is_filled(rows: &RecordBatch) -> bool {
    rows.column_by_name(COLUMN_TYPED)
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .is_some_and(|versions| versions.null_count() == 0 && versions.values().iter().all(|v| *v == VERSION))
}

impl Source {
    /// Finds the values of all paths, each row's text being read once.
    fn take<'s>(
        &'s self,
        rows: &RecordBatch,
        filled: &mut HashMap<&'s str, ArrayRef>,
        rare: &mut [Option<serde_json::Map<String, serde_json::Value>>],
    ) {
        let texts = rows.column_by_name(self.column).and_then(|column| column.as_string_opt::<i32>());
        let mut builders: Vec<StringBuilder> =
            self.names.iter().map(|_| StringBuilder::with_capacity(rows.num_rows(), 0)).collect();
        let mut found = Vec::new();
        for (row, rare) in rare.iter_mut().enumerate() {
            match texts.filter(|texts| texts.is_valid(row)) {
                Some(texts) => self.paths.extract(texts.value(row), &mut found),
                None => {
                    found.clear();
                    found.resize(self.names.len() + self.alternate_keys.len(), None);
                }
            }
            let (own, alternates) = found.split_at(self.names.len());
            for (builder, span) in builders.iter_mut().zip(own) {
                builder.append_option(span.and_then(scalar));
            }
            for (key, span) in self.alternate_keys.iter().zip(alternates) {
                if let Some(value) = span.and_then(scalar) {
                    let object = rare.get_or_insert_default();
                    object.insert(key.clone(), serde_json::Value::String(value.into_owned()));
                }
            }
        }
        for (name, mut builder) in self.names.iter().zip(builders) {
            filled.insert(name, Arc::new(builder.finish()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[Option<&str>]) -> RecordBatch {
        let metadata = HashMap::from([(METADATA_TYPE.to_owned(), "STRING".to_owned())]);
        let schema = Schema::new(vec![
            Field::new("jsonPayload_json", DataType::Utf8, true).with_metadata(metadata),
            Field::new(COLUMN_EVENT_DAY, DataType::Date32, true),
        ]);
        let days = arrow::array::Date32Array::from(vec![None; texts.len()]);
        let texts = StringArray::from(texts.to_vec());
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(texts), Arc::new(days)]).unwrap()
    }

    fn text(rows: &RecordBatch, column: &str, row: usize) -> Option<String> {
        let column = rows.column_by_name(column).unwrap().as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    #[test]
    fn values_are_what_json_value_gives() {
        let plain = rows(&[
            Some(r#"{"event.name":"a\"b","duration_ms":1.50e3,"success":true,"model":null,"error":{"x":1}}"#),
            Some(r#"{"attributes":{"event.name":"nested"},"model":"m"}"#),
            Some(r#"{"event.name":"torn""#),
            None,
        ]);
        let schema = with_typed_columns(&plain.schema());
        assert_eq!(schema.fields().last().unwrap().name(), COLUMN_EVENT_DAY);
        let typed = TypedColumns::of(&schema).unwrap();
        let filled = typed.fill(&plain, &schema).unwrap();
        let name = "_payload_event__name";
        assert_eq!(text(&filled, name, 0).as_deref(), Some("a\"b"));
        assert_eq!(text(&filled, "_payload_duration_ms", 0).as_deref(), Some("1.50e3"));
        assert_eq!(text(&filled, "_payload_success", 0).as_deref(), Some("true"));
        assert_eq!(text(&filled, "_payload_model", 0), None);
        assert_eq!(text(&filled, "_payload_error", 0), None);
        assert_eq!(text(&filled, COLUMN_ALTERNATES, 0), None);
        assert_eq!(
            (text(&filled, name, 1), text(&filled, "_payload_model", 1).as_deref()),
            (None, Some("m"))
        );
        assert_eq!(
            text(&filled, COLUMN_ALTERNATES, 1).as_deref(),
            Some(r#"{"jsonPayload_json/attributes/event.name":"nested"}"#)
        );
        for row in [2, 3] {
            assert_eq!((text(&filled, name, row), text(&filled, COLUMN_ALTERNATES, row)), (None, None));
        }
        assert!(is_filled(&filled));
        assert!(!is_filled(&plain));
    }

    #[test]
    fn a_table_without_json_texts_stays_as_it_is() {
        let schema = Arc::new(Schema::new(vec![Field::new("jsonPayload_json", DataType::Int64, true)]));
        assert_eq!(with_typed_columns(&schema), schema);
        assert!(TypedColumns::of(&schema).is_none());
    }
}
