//! `information_schema`, as Postgres has it: types by their Postgres names, the datasets' tables and views
//! only, and the tables of what there is none of, empty.

use std::sync::Arc;

use arrow_pg::datatypes::field_into_pg_type;
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use millrace_sql::Sessions;
use pgwire::api::Type;

/// Columns that hold numbers; all others are texts.
const NUMBERS: [&str; 9] = [
    "ordinal_position",
    "character_maximum_length",
    "character_octet_length",
    "numeric_precision",
    "numeric_precision_radix",
    "numeric_scale",
    "datetime_precision",
    "position_in_unique_constraint",
    "maximum_cardinality",
];

const SCHEMATA: [&str; 7] = [
    "catalog_name",
    "schema_name",
    "schema_owner",
    "default_character_set_catalog",
    "default_character_set_schema",
    "default_character_set_name",
    "sql_path",
];

const TABLES: [&str; 12] = [
    "table_catalog",
    "table_schema",
    "table_name",
    "table_type",
    "self_referencing_column_name",
    "reference_generation",
    "user_defined_type_catalog",
    "user_defined_type_schema",
    "user_defined_type_name",
    "is_insertable_into",
    "is_typed",
    "commit_action",
];

const VIEWS: [&str; 10] = [
    "table_catalog",
    "table_schema",
    "table_name",
    "view_definition",
    "check_option",
    "is_updatable",
    "is_insertable_into",
    "is_trigger_updatable",
    "is_trigger_deletable",
    "is_trigger_insertable_into",
];

const COLUMNS: [&str; 30] = [
    "table_catalog",
    "table_schema",
    "table_name",
    "column_name",
    "ordinal_position",
    "column_default",
    "is_nullable",
    "data_type",
    "character_maximum_length",
    "character_octet_length",
    "numeric_precision",
    "numeric_precision_radix",
    "numeric_scale",
    "datetime_precision",
    "interval_type",
    "character_set_name",
    "collation_name",
    "domain_catalog",
    "domain_schema",
    "domain_name",
    "udt_catalog",
    "udt_schema",
    "udt_name",
    "dtd_identifier",
    "is_self_referencing",
    "is_identity",
    "identity_generation",
    "is_generated",
    "generation_expression",
    "is_updatable",
];

/// What there is none of here, and what clients ask of it.
const EMPTY: [(&str, &[&str]); 7] = [
    (
        "key_column_usage",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "ordinal_position",
            "position_in_unique_constraint",
        ],
    ),
    (
        "table_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "constraint_type",
            "is_deferrable",
            "initially_deferred",
        ],
    ),
    (
        "constraint_column_usage",
        &[
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
        ],
    ),
    (
        "referential_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "unique_constraint_catalog",
            "unique_constraint_schema",
            "unique_constraint_name",
            "match_option",
            "update_rule",
            "delete_rule",
        ],
    ),
    (
        "routines",
        &[
            "specific_catalog",
            "specific_schema",
            "specific_name",
            "routine_catalog",
            "routine_schema",
            "routine_name",
            "routine_type",
            "data_type",
        ],
    ),
    ("sequences", &["sequence_catalog", "sequence_schema", "sequence_name", "data_type"]),
    (
        "element_types",
        &[
            "object_catalog",
            "object_schema",
            "object_name",
            "object_type",
            "collection_type_identifier",
            "data_type",
            "udt_name",
        ],
    ),
];

/// The schema of that name.
#[derive(Debug)]
pub(super) struct InformationSchema {
    sessions: Sessions,
    project: String,
}

/// A row's cells by column; what is not named is NULL.
type Row<'a> = Vec<(&'a str, Cell)>;

enum Cell {
    Text(String),
    Number(i32),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self::Number(number)
    }
}

impl InformationSchema {
    pub(super) fn new(sessions: Sessions, project: &str) -> Self {
        Self { sessions, project: project.to_owned() }
    }

    /// All tables and views: dataset, name, kind.
    async fn relations(&self) -> Result<Vec<(Arc<dyn SchemaProvider>, String, String, TableType)>> {
        let mut relations = Vec::new();
        let Some(catalog) = self.sessions.template().catalog(&self.project) else { return Ok(relations) };
        for dataset in self.sessions.engine().datasets() {
            let Some(schema) = catalog.schema(&dataset) else { continue };
            for name in schema.table_names() {
                if let Some(kind) = schema.table_type(&name).await? {
                    relations.push((Arc::clone(&schema), dataset.clone(), name, kind));
                }
            }
        }
        Ok(relations)
    }

    fn schemata(&self) -> Vec<Row<'static>> {
        let mut names = self.sessions.engine().datasets();
        names.extend(["information_schema", "pg_catalog"].map(str::to_owned));
        let row = |name: String| {
            vec![("catalog_name", self.project.as_str().into()), ("schema_name", name.as_str().into())]
        };
        names.into_iter().map(row).collect()
    }

    async fn tables(&self, views: bool) -> Result<Vec<Row<'static>>> {
        let relations = self.relations().await?;
        let wanted = relations.into_iter().filter(|(.., kind)| !views || *kind == TableType::View);
        Ok(wanted
            .map(|(_, dataset, name, kind)| {
                let kind = if kind == TableType::View { "VIEW" } else { "BASE TABLE" };
                vec![
                    ("table_catalog", self.project.as_str().into()),
                    ("table_schema", dataset.as_str().into()),
                    ("table_name", name.as_str().into()),
                    ("table_type", kind.into()),
                    ("is_insertable_into", "NO".into()),
                    ("is_updatable", "NO".into()),
                    ("is_typed", "NO".into()),
                    ("check_option", "NONE".into()),
                ]
            })
            .collect())
    }

    async fn columns(&self) -> Result<Vec<Row<'static>>> {
        let mut rows = Vec::new();
        for (schema, dataset, name, _) in self.relations().await? {
            // A view that cannot be planned has no columns to show; asking for it says why.
            let Ok(Some(table)) = schema.table(&name).await else { continue };
            for (index, field) in table.schema().fields().iter().enumerate() {
                let mut row = vec![
                    ("table_catalog", self.project.as_str().into()),
                    ("table_schema", dataset.as_str().into()),
                    ("table_name", name.as_str().into()),
                ];
                row.extend(column(index, field, &self.project));
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

fn column(index: usize, field: &FieldRef, project: &str) -> Row<'static> {
    let wire_type = field_into_pg_type(field).unwrap_or(Type::TEXT);
    let mut row: Row<'static> = vec![
        ("column_name", field.name().as_str().into()),
        ("ordinal_position", i32::try_from(index + 1).unwrap_or(i32::MAX).into()),
        ("is_nullable", if field.is_nullable() { "YES" } else { "NO" }.into()),
        ("data_type", long_name(&wire_type).into()),
        ("udt_catalog", project.into()),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", wire_type.name().into()),
        ("is_self_referencing", "NO".into()),
        ("is_identity", "NO".into()),
        ("is_generated", "NEVER".into()),
        ("is_updatable", "NO".into()),
    ];
    let numeric = |precision: i32, radix: i32, scale: Option<i32>| {
        let known = [("numeric_precision", precision.into()), ("numeric_precision_radix", radix.into())];
        known.into_iter().chain(scale.map(|scale| ("numeric_scale", scale.into())))
    };
    match (wire_type, field.data_type()) {
        (Type::INT2, _) => row.extend(numeric(16, 2, Some(0))),
        (Type::INT4, _) => row.extend(numeric(32, 2, Some(0))),
        (Type::INT8, _) => row.extend(numeric(64, 2, Some(0))),
        (Type::FLOAT4, _) => row.extend(numeric(24, 2, None)),
        (Type::FLOAT8, _) => row.extend(numeric(53, 2, None)),
        (Type::NUMERIC, DataType::Decimal128(precision, scale)) => {
            row.extend(numeric((*precision).into(), 10, Some((*scale).into())));
        }
        (Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME, _) => row.push(("datetime_precision", 6.into())),
        (Type::DATE, _) => row.push(("datetime_precision", 0.into())),
        _ => {}
    }
    row
}

/// A type's name as SQL writes it.
fn long_name(wire_type: &Type) -> &str {
    match *wire_type {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::TIME => "time without time zone",
        _ if wire_type.name().starts_with('_') => "ARRAY",
        _ => wire_type.name(),
    }
}

fn schema_of(columns: &[&str]) -> SchemaRef {
    let fields = columns.iter().map(|name| {
        let data_type = if NUMBERS.contains(name) { DataType::Int32 } else { DataType::Utf8 };
        Field::new(*name, data_type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn table_of(columns: &[&str], rows: &[Row<'_>]) -> Result<Arc<dyn TableProvider>> {
    let schema = schema_of(columns);
    let cell = |row: &Row<'_>, name: &str| row.iter().position(|(known, _)| *known == name);
    let arrays = columns.iter().map(|name| {
        let cells = rows.iter().map(|row| cell(row, name).map(|at| &row[at].1));
        match NUMBERS.contains(name) {
            true => Arc::new(Int32Array::from_iter(cells.map(|cell| match cell {
                Some(Cell::Number(number)) => Some(*number),
                _ => None,
            }))) as ArrayRef,
            false => Arc::new(StringArray::from_iter(cells.map(|cell| match cell {
                Some(Cell::Text(text)) => Some(text.as_str()),
                _ => None,
            }))),
        }
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays.collect())?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        let full = ["schemata", "tables", "views", "columns"];
        full.into_iter().chain(EMPTY.map(|(name, _)| name)).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let table = match name {
            "schemata" => table_of(&SCHEMATA, &self.schemata())?,
            "tables" => table_of(&TABLES, &self.tables(false).await?)?,
            "views" => table_of(&VIEWS, &self.tables(true).await?)?,
            "columns" => table_of(&COLUMNS, &self.columns().await?)?,
            _ => match EMPTY.iter().find(|(known, _)| *known == name) {
                Some((_, columns)) => table_of(columns, &[])?,
                None => return Ok(None),
            },
        };
        Ok(Some(table))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
