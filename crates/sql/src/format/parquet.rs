//! Parquet: a result as a file that other tools read as a table.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::FormatError;
use crate::error::SqlError;
use crate::result::QueryResult;

/// Rows of one group at most, and the bytes at which a group is written out earlier. They bound what is
/// held in memory, however long the result is.
const GROUP_ROWS_MAX: usize = 128 * 1024;
const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Writes a result as a Parquet file and returns the number of rows. JSON columns are strings, marked as
/// JSON in the field's metadata; TIMESTAMP is UTC microseconds, DATETIME has no time zone, NUMERIC is
/// DECIMAL(38, 9), and a column of nothing but NULL is INT64. What was written before a failure is no
/// Parquet file.
///
/// # Errors
/// When the query or the output fails, and columns that a Parquet file cannot have: two of one name, an
/// empty STRUCT.
pub async fn write_parquet(mut result: QueryResult, out: impl Write + Send) -> Result<usize, FormatError> {
    let schema = schema(&result)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        .set_created_by(concat!("millrace ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).map_err(failed)?;
    let mut rows = 0;
    while let Some(batch) = result.next().await? {
        writer.write(&converted(&batch, &schema)?).map_err(failed)?;
        if writer.in_progress_size() >= GROUP_BYTES_MAX {
            writer.flush().map_err(failed)?;
        }
        rows += batch.num_rows();
    }
    writer.into_inner().map_err(failed)?.flush()?;
    Ok(rows)
}

/// The columns of the file, under the names that the query spells.
fn schema(result: &QueryResult) -> Result<Arc<Schema>, SqlError> {
    let mut seen = HashSet::new();
    let mut fields = Vec::new();
    for field in result.fields() {
        if !seen.insert(field.name().clone()) {
            return Err(SqlError::invalid(format!("two columns are named {}", field.name()))
                .hint("a Parquet file has each name once: give one of them an alias"));
        }
        if let DataType::Struct(inside) = field.data_type()
            && inside.is_empty()
        {
            return Err(SqlError::unsupported(format!("column {} is an empty STRUCT", field.name()))
                .hint("a Parquet file cannot hold one: leave the column out"));
        }
        fields.push(match field.data_type() {
            DataType::Null => Arc::new(Field::new(field.name(), DataType::Int64, true)),
            _ => field,
        });
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn converted(batch: &RecordBatch, schema: &Arc<Schema>) -> Result<RecordBatch, SqlError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => compute::cast(column, field.data_type()),
        }
    });
    let made = columns
        .collect::<Result<Vec<_>, _>>()
        .and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns));
    made.map_err(|error| SqlError::internal(format!("the rows do not fit the file: {error}")))
}

fn failed(error: ParquetError) -> FormatError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => FormatError::Write(*error),
            Err(other) => FormatError::Query(SqlError::internal(format!("cannot write Parquet: {other}"))),
        },
        other => FormatError::Query(SqlError::unsupported(format!("cannot write Parquet: {other}"))),
    }
}
