//! PERCENTILE_CONT and PERCENTILE_DISC over a window's partition
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/navigation_functions#percentile_cont>).
//! NULLs do not count.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_empty_array};
use datafusion::arrow::compute::{SortOptions, concat, sort};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, ColumnarValue, Signature, Volatility};

use super::scalar::no_signature;
use crate::error::SqlError;
use crate::types::{Kind, NUMERIC};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Percentile {
    /// Between two values lies what is in proportion, or else nothing.
    continuous: bool,
    signature: Signature,
}

impl Percentile {
    pub(super) fn continuous() -> Self {
        Self { continuous: true, signature: Signature::user_defined(Volatility::Immutable) }
    }

    pub(super) fn discrete() -> Self {
        Self { continuous: false, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        if self.continuous { "percentile_cont" } else { "percentile_disc" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let kinds: Vec<_> = types.iter().map(Kind::of_type).collect();
        let value = match (kinds.as_slice(), types) {
            ([value, Kind::Int | Kind::Float | Kind::Numeric], [given, _]) => match value {
                Kind::Int | Kind::Float | Kind::Null if self.continuous => Some(DataType::Float64),
                // Interpolation between NUMERIC values is not FLOAT64's.
                Kind::Array | Kind::Struct | Kind::Json | Kind::Other | Kind::Interval => None,
                _ if self.continuous => None,
                Kind::Numeric => Some(NUMERIC),
                _ => Some(given.clone()),
            },
            _ => None,
        };
        match value {
            Some(value) => Ok(vec![value, DataType::Float64]),
            None => {
                let takes = if self.continuous {
                    "(FLOAT64, FLOAT64)"
                } else {
                    "(a value that can be sorted, FLOAT64)"
                };
                let label = self.name().to_uppercase();
                Err(no_signature(&label, &kinds, None).hint(format!("it takes {takes}")).into())
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Float64))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(SqlError::unsupported(format!(
                "{}(DISTINCT ...) is not supported",
                self.name().to_uppercase()
            ))
            .into());
        }
        Ok(Box::new(Values {
            rank: rank(self.name(), &args)?,
            continuous: self.continuous,
            data_type: args.return_type().clone(),
            batches: Vec::new(),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let item = Arc::new(Field::new("item", args.return_type().clone(), true));
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "values"), DataType::List(item), true))])
    }
}

/// The second argument, a literal from 0 to 1.
fn rank(name: &str, args: &AccumulatorArgs<'_>) -> Result<f64> {
    let wrong = || {
        let name = name.to_uppercase();
        SqlError::invalid(format!("the second argument of {name} is a literal from 0 to 1"))
    };
    let Some(expr) = args.exprs.get(1) else { return Err(wrong().into()) };
    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
    match expr.evaluate(&nothing) {
        Ok(ColumnarValue::Scalar(ScalarValue::Float64(Some(rank)))) if (0.0..=1.0).contains(&rank) => {
            Ok(rank)
        }
        _ => Err(wrong().into()),
    }
}

/// All values of a partition.
#[derive(Debug)]
struct Values {
    rank: f64,
    continuous: bool,
    data_type: DataType,
    batches: Vec<ArrayRef>,
}

impl Values {
    fn sorted(&self) -> Result<ArrayRef> {
        let all = match self.batches.as_slice() {
            [] => new_empty_array(&self.data_type),
            batches => concat(&batches.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
        };
        let sorted = sort(&all, Some(SortOptions { descending: false, nulls_first: true }))?;
        let nulls = sorted.null_count();
        Ok(sorted.slice(nulls, sorted.len() - nulls))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks are far below 2^53 and not negative"
)]
impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.batches.extend(values.first().map(Arc::clone));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sorted = self.sorted()?;
        let Some(last) = sorted.len().checked_sub(1) else { return ScalarValue::try_from(&self.data_type) };
        if !self.continuous {
            let place = (self.rank * sorted.len() as f64).ceil() as usize;
            return ScalarValue::try_from_array(&sorted, place.saturating_sub(1).min(last));
        }
        let values = sorted.as_primitive::<Float64Type>();
        let place = self.rank * last as f64;
        let (below, weight) = (place.floor() as usize, place.fract());
        let (left, right) = (values.value(below.min(last)), values.value((below + 1).min(last)));
        let between = if weight == 0.0 { left } else { left * (1.0 - weight) + right * weight };
        Ok(ScalarValue::Float64(Some(between)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.batches.iter().map(|batch| batch.get_array_memory_size()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.sorted()?;
        let list = datafusion::common::utils::SingleRowListArrayBuilder::new(values).build_list_scalar();
        Ok(vec![list])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if let Some(lists) = states.first().and_then(|states| states.as_list_opt::<i32>()) {
            self.batches.extend(lists.iter().flatten());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, StringArray};

    #[test]
    fn ranks_are_those_of_the_documentation() {
        let cont = |rank| {
            let batch: ArrayRef =
                Arc::new(Float64Array::from(vec![Some(0.0), Some(3.0), None, Some(1.0), Some(2.0)]));
            let mut values =
                Values { rank, continuous: true, data_type: DataType::Float64, batches: vec![batch] };
            match values.evaluate().unwrap() {
                ScalarValue::Float64(Some(value)) => format!("{value:.2}"),
                other => other.to_string(),
            }
        };
        assert_eq!([0.0, 0.01, 0.5, 0.9, 1.0].map(cont), ["0.00", "0.03", "1.50", "2.70", "3.00"]);
        let disc = |rank| {
            let batch: ArrayRef = Arc::new(StringArray::from(vec![Some("c"), None, Some("b"), Some("a")]));
            let mut values =
                Values { rank, continuous: false, data_type: DataType::Utf8, batches: vec![batch] };
            values.evaluate().unwrap().to_string()
        };
        assert_eq!([0.0, 0.5, 1.0].map(disc), ["a", "b", "c"]);
    }
}
