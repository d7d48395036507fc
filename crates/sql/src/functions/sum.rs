//! SUM: an INT64 sum that leaves INT64 is an error in GoogleSQL, where DataFusion's starts again from
//! the other end. It is kept in 128 bits, so that only the result counts and not the order of rows.
//! Sums of other types are DataFusion's.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::scalar::no_signature;
use crate::error::SqlError;
use crate::types::{Kind, NUMERIC};

/// The partial sums' type: 128 bits, no fraction.
const STATE: DataType = DataType::Decimal128(38, 0);

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckedSum {
    signature: Signature,
    others: Arc<AggregateUDF>,
}

impl CheckedSum {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable), others: sum_udaf() }
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let kinds: Vec<_> = types.iter().map(Kind::of_type).collect();
        match kinds.as_slice() {
            [Kind::Int | Kind::Null] => Ok(vec![DataType::Int64]),
            [Kind::Float] => Ok(vec![DataType::Float64]),
            [Kind::Numeric] => Ok(vec![NUMERIC]),
            _ => Err(no_signature("SUM", &kinds, None).hint("it takes INT64, NUMERIC or FLOAT64").into()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Int64))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match args.return_type() == &DataType::Int64 && !args.is_distinct {
            true => Ok(Box::new(One::default())),
            false => self.others.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match args.return_type() == &DataType::Int64 && !args.is_distinct {
            true => Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), STATE, true))]),
            false => self.others.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        match args.return_type() == &DataType::Int64 {
            true => !args.is_distinct,
            false => self.others.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_type() == &DataType::Int64 {
            true => Ok(Box::new(Many::default())),
            false => self.others.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match args.return_type() == &DataType::Int64 && !args.is_distinct {
            true => Ok(Box::new(One::default())),
            false => self.others.create_sliding_accumulator(args),
        }
    }
}

fn result(sum: Option<i128>) -> Result<Option<i64>> {
    let fits = sum.map(i64::try_from).transpose();
    Ok(fits.map_err(|_| {
        SqlError::invalid("INT64 overflow in SUM").hint("sum NUMERIC values: SUM(CAST(x AS NUMERIC))")
    })?)
}

/// One sum.
#[derive(Debug, Default)]
struct One {
    sum: i128,
    count: i64,
}

impl One {
    fn add(&mut self, values: &ArrayRef, sign: i128) {
        for value in values.as_primitive::<Int64Type>().iter().flatten() {
            self.sum += sign * i128::from(value);
            self.count += if sign > 0 { 1 } else { -1 };
        }
    }

    fn value(&self) -> Option<i128> {
        (self.count > 0).then_some(self.sum)
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.iter().take(1).for_each(|values| self.add(values, 1));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.iter().take(1).for_each(|values| self.add(values, -1));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(result(self.value())?))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(self.value(), 38, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sum in
            states.iter().take(1).flat_map(|sums| sums.as_primitive::<Decimal128Type>().iter()).flatten()
        {
            self.sum += sum;
            self.count += 1;
        }
        Ok(())
    }
}

/// A sum for each group.
#[derive(Debug, Default)]
struct Many {
    sums: Vec<Option<i128>>,
}

impl Many {
    fn add(&mut self, group: usize, value: i128) {
        let sum = &mut self.sums[group];
        *sum = Some(sum.unwrap_or(0) + value);
    }
}

impl GroupsAccumulator for Many {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.sums.resize(group_count, None);
        let values = values[0].as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            let passes = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if passes && values.is_valid(row) {
                self.add(*group, i128::from(values.value(row)));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums: Vec<_> = emit.take_needed(&mut self.sums).into_iter().map(result).collect::<Result<_>>()?;
        Ok(Arc::new(Int64Array::from(sums)))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = Decimal128Array::from(emit.take_needed(&mut self.sums)).with_data_type(STATE);
        Ok(vec![Arc::new(sums)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], group_count: usize) -> Result<()> {
        self.sums.resize(group_count, None);
        let sums = states[0].as_primitive::<Decimal128Type>();
        for (row, group) in groups.iter().enumerate() {
            if sums.is_valid(row) {
                self.add(*group, sums.value(row));
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Int64Type>();
        let passes = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let sums = (0..values.len())
            .map(|row| (passes(row) && values.is_valid(row)).then(|| i128::from(values.value(row))));
        Ok(vec![Arc::new(sums.collect::<Decimal128Array>().with_data_type(STATE))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Option<i128>>()
    }
}
