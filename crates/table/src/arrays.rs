//! Columns into Arrow arrays. Nothing is copied: the vectors become the buffers.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field as ArrowField};
use arrow::error::ArrowError;

use crate::column::{Column, Texts, Values};
use crate::schema::{FieldType, Mode};
use crate::spec::{NUMERIC_PRECISION, NUMERIC_SCALE, UTC};

/// The array of a column; `field` is its Arrow field.
pub(crate) fn into_array(column: Column, field: &ArrowField) -> Result<ArrayRef, ArrowError> {
    let (mode, kind) = (column.mode, column.kind);
    let (list_ends, mut valid, values) = column.into_parts();
    let nulls = valid.finish();
    match (mode, field.data_type()) {
        (Mode::Repeated, DataType::List(element)) => {
            let values = values_array(values, kind, nulls, element)?;
            let offsets = OffsetBuffer::new(list_ends.into());
            Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, None)?))
        }
        _ => values_array(values, kind, nulls, field),
    }
}

fn values_array(
    values: Values,
    kind: FieldType,
    nulls: Option<NullBuffer>,
    field: &ArrowField,
) -> Result<ArrayRef, ArrowError> {
    Ok(match values {
        Values::Bool(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
        Values::Int64(values) => match kind {
            FieldType::Timestamp => {
                let array = TimestampMicrosecondArray::try_new(values.into(), nulls)?;
                Arc::new(array.with_timezone(UTC))
            }
            FieldType::DateTime => Arc::new(TimestampMicrosecondArray::try_new(values.into(), nulls)?),
            _ => Arc::new(Int64Array::try_new(values.into(), nulls)?),
        },
        Values::Float64(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
        Values::Decimal(values) => {
            let array = Decimal128Array::try_new(values.into(), nulls)?;
            Arc::new(array.with_precision_and_scale(NUMERIC_PRECISION, NUMERIC_SCALE)?)
        }
        Values::Day(values) => Arc::new(Date32Array::try_new(values.into(), nulls)?),
        Values::Text(texts) if kind == FieldType::Bytes => {
            let (offsets, bytes) = text_parts(texts);
            Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?)
        }
        Values::Text(texts) => text_array(texts, nulls)?,
        Values::Record(record) => {
            let DataType::Struct(fields) = field.data_type() else {
                return Err(ArrowError::SchemaError(format!("{} is not a struct", field.name())));
            };
            let arrays = record
                .columns
                .into_iter()
                .zip(fields)
                .map(|(column, field)| into_array(column, field))
                .collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), arrays, nulls)?)
        }
    })
}

pub(crate) fn text_array(texts: Texts, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let (offsets, bytes) = text_parts(texts);
    Ok(Arc::new(StringArray::try_new(offsets, bytes, nulls)?))
}

fn text_parts(texts: Texts) -> (OffsetBuffer<i32>, Buffer) {
    (OffsetBuffer::new(texts.ends.into()), Buffer::from_vec(texts.bytes))
}
