//! APPROX_QUANTILES(x, n): n + 1 boundaries of n parts of equal size.
//!
//! Exact up to [`LEVEL_LENGTH`] values of a group: boundary k is the value of rank ceil(k/n * count).
//! Beyond, sorted buffers are merged and every other value is kept with double weight (the classic
//! collapse of Munro and Paterson; Manku, Rajagopalan and Lindsay, SIGMOD 1998), which keeps any number
//! of values in a few hundred kilobytes with ranks within about half a percent.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, Schema};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, ColumnarValue, Signature, Volatility};

use super::scalar::no_signature;
use crate::error::SqlError;
use crate::types::{Kind, timestamp_type};

/// Values of one level before they are merged into the next.
const LEVEL_LENGTH: usize = 4096;
/// Most boundaries: an array of them is kept for every group.
const PARTS_MAX: i64 = 100_000;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ApproxQuantiles {
    signature: Signature,
}

impl ApproxQuantiles {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for ApproxQuantiles {
    fn name(&self) -> &str {
        "approx_quantiles"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let kinds: Vec<_> = types.iter().map(Kind::of_type).collect();
        let value = match kinds.as_slice() {
            [Kind::Int | Kind::Null, Kind::Int] => DataType::Int64,
            [Kind::Float | Kind::Numeric, Kind::Int] => DataType::Float64,
            [Kind::Date, Kind::Int] => DataType::Date32,
            [Kind::Timestamp, Kind::Int] => timestamp_type(),
            _ => {
                return Err(no_signature("APPROX_QUANTILES", &kinds, None)
                    .hint("it takes (INT64, FLOAT64, DATE or TIMESTAMP; INT64)")
                    .into());
            }
        };
        Ok(vec![value, DataType::Int64])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let item = types.first().cloned().unwrap_or(DataType::Int64);
        Ok(DataType::List(Arc::new(Field::new("item", item, true))))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(SqlError::unsupported("APPROX_QUANTILES(DISTINCT ...) is not supported").into());
        }
        let DataType::List(item) = args.return_type() else { return internal_err!("quantiles are an array") };
        Ok(Box::new(Sketch {
            parts: parts(&args)?,
            value_type: item.data_type().clone(),
            levels: vec![Vec::new()],
            keeps_odd: false,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sketch"), DataType::Binary, true))])
    }
}

/// The second argument, which is a literal.
fn parts(args: &AccumulatorArgs<'_>) -> Result<usize> {
    let wrong = || {
        SqlError::invalid(format!(
            "the second argument of APPROX_QUANTILES is a literal from 1 to {PARTS_MAX}"
        ))
    };
    let Some(expr) = args.exprs.get(1) else { return Err(wrong().into()) };
    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
    match expr.evaluate(&nothing) {
        Ok(ColumnarValue::Scalar(ScalarValue::Int64(Some(parts @ 1..=PARTS_MAX)))) => {
            usize::try_from(parts).map_err(|_| wrong().into())
        }
        _ => Err(wrong().into()),
    }
}

/// Sorted samples: those of level n stand for 2^n values each. Values are kept as integers in their
/// order.
#[derive(Debug)]
struct Sketch {
    parts: usize,
    value_type: DataType,
    levels: Vec<Vec<i64>>,
    /// Which half of the next merge is kept; they take turns, so that neither end is favoured.
    keeps_odd: bool,
}

/// A FLOAT64 as an integer of the same order, NaN first as GoogleSQL sorts it.
fn key_of_float(value: f64) -> i64 {
    if value.is_nan() {
        return i64::MIN;
    }
    let bits = (value + 0.0).to_bits().cast_signed();
    if bits < 0 { !(bits & i64::MAX) } else { bits }
}

fn float_of_key(key: i64) -> f64 {
    match key {
        i64::MIN => f64::NAN,
        key if key < 0 => f64::from_bits((!key | i64::MIN).cast_unsigned()),
        key => f64::from_bits(key.cast_unsigned()),
    }
}

impl Sketch {
    fn push(&mut self, level: usize, value: i64) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        self.levels[level].push(value);
        if self.levels[level].len() >= 2 * LEVEL_LENGTH {
            self.collapse(level);
        }
    }

    fn collapse(&mut self, level: usize) {
        let mut values = std::mem::take(&mut self.levels[level]);
        values.sort_unstable();
        let start = usize::from(self.keeps_odd);
        self.keeps_odd = !self.keeps_odd;
        for value in values.into_iter().skip(start).step_by(2) {
            self.push(level + 1, value);
        }
    }

    fn boundaries(&self) -> Option<Vec<i64>> {
        let mut weighted: Vec<(i64, u64)> = self
            .levels
            .iter()
            .enumerate()
            .flat_map(|(level, values)| values.iter().map(move |value| (*value, 1_u64 << level.min(63))))
            .collect();
        weighted.sort_unstable();
        let total: u64 = weighted.iter().map(|(_, weight)| weight).sum();
        let first = weighted.first()?.0;
        let parts = self.parts as u64;
        let mut boundaries = Vec::with_capacity(self.parts + 1);
        boundaries.push(first);
        let (mut at, mut passed) = (0, weighted[0].1);
        for part in 1..=parts {
            // 128 bits: the product of a count of rows and of parts.
            let rank = (u128::from(total) * u128::from(part)).div_ceil(u128::from(parts));
            while u128::from(passed) < rank && at + 1 < weighted.len() {
                at += 1;
                passed += weighted[at].1;
            }
            boundaries.push(weighted[at].0);
        }
        Some(boundaries)
    }
}

impl Accumulator for Sketch {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if self.value_type == DataType::Float64 {
            let floats = values[0].as_primitive::<Float64Type>();
            floats.iter().flatten().for_each(|value| self.push(0, key_of_float(value)));
            return Ok(());
        }
        // Dates go by way of their own width.
        let narrow = match values[0].data_type() {
            DataType::Date32 => cast(&values[0], &DataType::Int32)?,
            _ => Arc::clone(&values[0]),
        };
        let integers = cast(&narrow, &DataType::Int64)?;
        integers.as_primitive::<Int64Type>().iter().flatten().for_each(|value| self.push(0, value));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(keys) = self.boundaries() else {
            return ScalarValue::try_from(&DataType::List(Arc::new(Field::new(
                "item",
                self.value_type.clone(),
                true,
            ))));
        };
        let values: Vec<_> = keys
            .into_iter()
            .map(|key| match &self.value_type {
                DataType::Float64 => Ok(ScalarValue::Float64(Some(float_of_key(key)))),
                DataType::Date32 => Ok(ScalarValue::Date32(i32::try_from(key).ok())),
                DataType::Timestamp(_, zone) => {
                    Ok(ScalarValue::TimestampMicrosecond(Some(key), zone.clone()))
                }
                _ => Ok(ScalarValue::Int64(Some(key))),
            })
            .collect::<Result<_>>()?;
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.value_type)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.levels.iter().map(|level| level.capacity() * size_of::<i64>()).sum::<usize>()
    }

    /// Each level as its length and its values, all little-endian.
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        for level in &self.levels {
            bytes.extend_from_slice(&(level.len() as u64).to_le_bytes());
            level.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        }
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for mut rest in states[0].as_binary::<i32>().iter().flatten() {
            let mut level = 0;
            while let Some((length, values)) = rest.split_first_chunk::<8>() {
                rest = values;
                for _ in 0..u64::from_le_bytes(*length) {
                    let Some((value, values)) = rest.split_first_chunk::<8>() else {
                        return internal_err!("a quantile sketch is cut short");
                    };
                    self.push(level, i64::from_le_bytes(*value));
                    rest = values;
                }
                level += 1;
            }
        }
        Ok(())
    }
}

/// An empty sketch for tests.
#[cfg(test)]
fn sketch(parts: usize) -> Sketch {
    Sketch { parts, value_type: DataType::Int64, levels: vec![Vec::new()], keeps_odd: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_groups_are_exact() {
        // The example of BigQuery's documentation.
        let mut sketch = sketch(2);
        [1, 1, 1, 4, 5, 6, 7, 8, 9, 10].into_iter().for_each(|value| sketch.push(0, value));
        assert_eq!(sketch.boundaries(), Some(vec![1, 5, 10]));
    }

    #[test]
    fn large_groups_are_near_and_small() {
        let mut sketch = sketch(100);
        // 7919 is prime and no factor of a million: all numbers below it, in no order.
        let count = 1_000_000;
        (0..count).for_each(|index| sketch.push(0, index * 7919 % count));
        assert!(sketch.size() < 1 << 20, "{}", sketch.size());
        for (part, boundary) in sketch.boundaries().unwrap().into_iter().enumerate() {
            let exact = count / 100 * part as i64;
            assert!((boundary - exact).abs() < count / 200, "part {part}: {boundary}");
        }
    }

    proptest! {
        #[test]
        fn floats_keep_their_order_as_keys(a: f64, b: f64) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(a.partial_cmp(&b), Some(key_of_float(a).cmp(&key_of_float(b))));
            prop_assert_eq!(float_of_key(key_of_float(a)), a);
        }

        #[test]
        fn a_sketch_survives_its_state(values in prop::collection::vec(any::<i64>(), 1..200)) {
            let mut one = sketch(4);
            values.iter().for_each(|value| one.push(0, *value));
            let state = one.state().unwrap().remove(0).to_array().unwrap();
            let mut other = sketch(4);
            other.merge_batch(&[state]).unwrap();
            prop_assert_eq!(one.boundaries(), other.boundaries());
        }
    }
}
