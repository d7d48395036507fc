//! Columns and rows as the wire has them.

use std::sync::Arc;

use arrow_pg::datatypes::{encode_recordbatch, field_into_pg_type};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, stream};
use millrace_sql::SqlError;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::types::format::FormatOptions;

use crate::errors::{error, from_sql, state, user};

/// What rows look like: their columns, and how each is written.
pub(crate) type Fields = Arc<Vec<FieldInfo>>;

/// The columns of a result.
///
/// # Errors
/// Types that Postgres has nothing for.
pub(crate) fn fields(schema: &Schema, format: &Format, options: &Arc<FormatOptions>) -> PgWireResult<Fields> {
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let wire_type = match field.data_type() {
            // Postgres calls the type of a bare NULL text.
            DataType::Null => Type::TEXT,
            _ => field_into_pg_type(field).map_err(|_| unsupported(field.name(), field.data_type()))?,
        };
        let info = FieldInfo::new(field.name().clone(), None, None, wire_type, format.format_for(index));
        Ok(info.with_format_options(Arc::clone(options)))
    });
    fields.collect::<PgWireResult<Vec<_>>>().map(Arc::new)
}

fn unsupported(column: &str, data_type: &DataType) -> PgWireError {
    let message = format!("column {column} has the type {data_type}, which Postgres has no type for");
    user(error(state::FEATURE_NOT_SUPPORTED, message))
}

/// Rows of a running query, each made when it is asked for.
pub(crate) fn rows(fields: &Fields, batches: SendableRecordBatchStream) -> QueryResponse {
    let columns = Arc::clone(fields);
    let rows = batches.map(move |batch| match batch {
        Ok(batch) => stream::iter(encode_recordbatch(Arc::clone(&columns), batch)).left_stream(),
        Err(failure) => {
            let failure = user(from_sql(&SqlError::of(&failure), None));
            stream::once(std::future::ready(Err(failure))).right_stream()
        }
    });
    QueryResponse::new(Arc::clone(fields), rows.flatten())
}

/// The columns of a small result of texts.
pub(crate) fn texts_schema(names: &[&str]) -> SchemaRef {
    let fields = names.iter().map(|name| Field::new(*name, DataType::Utf8, false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A small result of texts, as SHOW gives.
///
/// # Errors
/// Mistakes of ours only.
pub(crate) fn texts(names: &[&str], lines: Vec<Vec<String>>) -> PgWireResult<QueryResponse> {
    let fields = names
        .iter()
        .map(|name| FieldInfo::new((*name).to_owned(), None, None, Type::TEXT, FieldFormat::Text));
    let fields: Fields = Arc::new(fields.collect());
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        for cell in line {
            encoder.encode_field(&Some(cell))?;
        }
        rows.push(Ok(encoder.take_row()));
    }
    Ok(QueryResponse::new(fields, stream::iter(rows)))
}
