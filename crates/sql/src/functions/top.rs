//! APPROX_TOP_COUNT(x, n): the n values that are there most often, with how often that is. Exact here; of
//! values that are there equally often the lesser comes first.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StructArray, new_empty_array,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type, Schema};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, ColumnarValue, Signature, Volatility};

use super::scalar::no_signature;
use crate::error::SqlError;
use crate::types::Kind;

/// Most values that can be asked for.
const COUNT_MAX: i64 = 100_000;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ApproxTopCount {
    signature: Signature,
}

impl ApproxTopCount {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn pair_fields(value: &DataType) -> Fields {
    vec![Field::new("value", value.clone(), true), Field::new("count", DataType::Int64, true)].into()
}

impl AggregateUDFImpl for ApproxTopCount {
    fn name(&self) -> &str {
        "approx_top_count"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let kinds: Vec<_> = types.iter().map(Kind::of_type).collect();
        match (kinds.as_slice(), types) {
            ([Kind::Array | Kind::Struct | Kind::Json | Kind::Other, _], _) | ([_], _) | ([], _) => {}
            ([_, Kind::Int], [value, _]) => return Ok(vec![value.clone(), DataType::Int64]),
            _ => {}
        }
        Err(no_signature("APPROX_TOP_COUNT", &kinds, None).hint("it takes (a value, INT64)").into())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let pair = DataType::Struct(pair_fields(types.first().unwrap_or(&DataType::Null)));
        Ok(DataType::List(Arc::new(Field::new("item", pair, true))))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(SqlError::unsupported("APPROX_TOP_COUNT(DISTINCT ...) is not supported").into());
        }
        let value_type = match args.return_type() {
            DataType::List(item) => match item.data_type() {
                DataType::Struct(fields) => fields.first().map(|field| field.data_type().clone()),
                _ => None,
            },
            _ => None,
        };
        let Some(value_type) = value_type else { return internal_err!("APPROX_TOP_COUNT gives pairs") };
        Ok(Box::new(Counts { wanted: wanted(&args)?, value_type, counts: HashMap::new(), bytes: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let value = args.input_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        let list = |name: &str, of: DataType| {
            let item = Arc::new(Field::new("item", of, true));
            Arc::new(Field::new(format_state_name(args.name, name), DataType::List(item), true))
        };
        Ok(vec![list("values", value), list("counts", DataType::Int64)])
    }
}

/// The second argument, which is a literal.
fn wanted(args: &AccumulatorArgs<'_>) -> Result<usize> {
    let wrong = || {
        SqlError::invalid(format!(
            "the second argument of APPROX_TOP_COUNT is a literal from 1 to {COUNT_MAX}"
        ))
    };
    let Some(expr) = args.exprs.get(1) else { return Err(wrong().into()) };
    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
    match expr.evaluate(&nothing) {
        Ok(ColumnarValue::Scalar(ScalarValue::Int64(Some(count @ 1..=COUNT_MAX)))) => {
            usize::try_from(count).map_err(|_| wrong().into())
        }
        _ => Err(wrong().into()),
    }
}

/// How often each value was met. NULL is a value.
#[derive(Debug)]
struct Counts {
    wanted: usize,
    value_type: DataType,
    counts: HashMap<ScalarValue, i64>,
    /// What the values hold beside the table.
    bytes: usize,
}

impl Counts {
    fn add(&mut self, value: ScalarValue, count: i64) {
        let bytes = value.size();
        let known = self.counts.entry(value).or_insert_with(|| {
            self.bytes += bytes;
            0
        });
        *known = known.saturating_add(count);
    }

    fn columns(&self, pairs: &[(&ScalarValue, i64)]) -> Result<(ArrayRef, ArrayRef)> {
        let values = match pairs {
            [] => new_empty_array(&self.value_type),
            pairs => ScalarValue::iter_to_array(pairs.iter().map(|(value, _)| (*value).clone()))?,
        };
        let counts = Int64Array::from_iter_values(pairs.iter().map(|(_, count)| *count));
        Ok((values, Arc::new(counts)))
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        for row in 0..values.len() {
            self.add(ScalarValue::try_from_array(values, row)?, 1);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut pairs: Vec<_> = self.counts.iter().map(|(value, count)| (value, *count)).collect();
        if pairs.is_empty() {
            let pair = DataType::Struct(pair_fields(&self.value_type));
            return ScalarValue::try_from(&DataType::List(Arc::new(Field::new("item", pair, true))));
        }
        let order = |a: &ScalarValue, b: &ScalarValue| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
        pairs.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| order(a, b)));
        pairs.truncate(self.wanted);
        let (values, counts) = self.columns(&pairs)?;
        let pairs = StructArray::try_new(pair_fields(&self.value_type), vec![values, counts], None)?;
        Ok(SingleRowListArrayBuilder::new(Arc::new(pairs)).build_list_scalar())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes + self.counts.capacity() * (size_of::<ScalarValue>() + 8)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let pairs: Vec<_> = self.counts.iter().map(|(value, count)| (value, *count)).collect();
        let (values, counts) = self.columns(&pairs)?;
        Ok([values, counts].map(|column| SingleRowListArrayBuilder::new(column).build_list_scalar()).to_vec())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, counts] = states else { return internal_err!("counts have another state") };
        for (values, counts) in values.as_list::<i32>().iter().zip(counts.as_list::<i32>().iter()) {
            let (Some(values), Some(counts)) = (values, counts) else { continue };
            let counts = counts.as_primitive::<Int64Type>();
            for row in 0..values.len() {
                self.add(ScalarValue::try_from_array(&values, row)?, counts.value(row));
            }
        }
        Ok(())
    }
}
