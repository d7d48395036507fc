//! A subquery over arrays as a function: its arguments are the columns that it takes from the row around it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, ListArray, UInt64Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::optimizer::analyzer::Analyzer;

use super::run::{Program, Rows};
use crate::error::SqlError;
use crate::types::Kind;

/// Rows of the outer query that are looked at together: their arrays are taken apart in memory.
const OUTER_ROWS: usize = 1024;

/// What is made of a row's subquery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Gives {
    /// The value of its one row.
    Value,
    /// An array of the values of its rows.
    Array,
    /// Whether it has rows, or has none.
    Exists { negated: bool },
}

/// A subquery, and what it gives.
#[derive(Debug)]
pub(super) struct RowsOf {
    name: String,
    plan: LogicalPlan,
    gives: Gives,
    outer: Vec<(FieldRef, Column)>,
    field: FieldRef,
    signature: Signature,
    program: OnceLock<std::result::Result<Program, SqlError>>,
}

impl RowsOf {
    /// # Errors
    /// Clauses that are not supported in such a subquery, and types that do not fit.
    pub(super) fn new(plan: LogicalPlan, gives: Gives) -> Result<Self> {
        let plan = Analyzer::new().execute_and_check(plan, &ConfigOptions::default(), |_, _| {})?;
        let outer = outer_columns(&plan)?;
        let mut volatile = false;
        plan.apply(|node| {
            node.apply_expressions(|expr| {
                volatile |= expr.is_volatile();
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        let mut hasher = DefaultHasher::new();
        (&plan, gives).hash(&mut hasher);
        let name = format!("#rows_{:016x}", hasher.finish());
        let field = result_field(&plan, gives, &name)?;
        // What is not supported is said while the query is planned.
        Program::compile(&plan, &outer)?;
        let volatility = if volatile { Volatility::Volatile } else { Volatility::Immutable };
        let signature = Signature::any(outer.len(), volatility);
        Ok(Self { name, plan, gives, outer, field, signature, program: OnceLock::new() })
    }

    /// The columns that are its arguments, in order.
    pub(super) fn outer(&self) -> &[(FieldRef, Column)] {
        &self.outer
    }

    fn program(&self) -> Result<&Program> {
        let program = self.program.get_or_init(|| {
            Program::compile(&self.plan, &self.outer).map_err(|error| crate::error::from_datafusion(&error))
        });
        program.as_ref().map_err(|error| error.clone().into())
    }

    fn result(&self, rows: &Rows, count: usize) -> Result<ArrayRef> {
        let mut lengths = vec![0_usize; count];
        rows.owners().iter().for_each(|owner| lengths[*owner as usize] += 1);
        match self.gives {
            Gives::Exists { negated } => {
                let found = lengths.iter().map(|length| Some((*length > 0) != negated));
                Ok(Arc::new(BooleanArray::from_iter(found)))
            }
            Gives::Array => {
                let DataType::List(item) = self.field.data_type() else {
                    return internal_err!("an array is none");
                };
                let offsets = OffsetBuffer::from_lengths(lengths);
                Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, rows.first()?, None)?))
            }
            Gives::Value => {
                if lengths.iter().any(|length| *length > 1) {
                    return Err(SqlError::invalid("a scalar subquery gave more than one row")
                        .hint("add LIMIT 1, aggregate, or write ARRAY(SELECT ...)")
                        .into());
                }
                let mut next = 0;
                let places = lengths.iter().map(|length| {
                    next += *length as u64;
                    (*length > 0).then(|| next - 1)
                });
                Ok(take(&rows.first()?, &UInt64Array::from_iter(places), None)?)
            }
        }
    }
}

/// The columns of rows further out, each once.
fn outer_columns(plan: &LogicalPlan) -> Result<Vec<(FieldRef, Column)>> {
    let mut outer: Vec<(FieldRef, Column)> = Vec::new();
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(field, column) = expr
                    && !outer.iter().any(|(_, known)| known == column)
                {
                    outer.push((Arc::clone(field), column.clone()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(outer)
}

fn result_field(plan: &LogicalPlan, gives: Gives, name: &str) -> Result<FieldRef> {
    let fields: &[FieldRef] = plan.schema().fields();
    let first = || match fields {
        [field] => Ok(field.as_ref().clone().with_nullable(true)),
        fields => Err(SqlError::invalid(format!("a subquery here has one column, not {}", fields.len()))),
    };
    Ok(Arc::new(match gives {
        Gives::Exists { .. } => Field::new(name, DataType::Boolean, false),
        Gives::Value => first()?.with_name(name),
        Gives::Array => {
            let item = first()?.with_name("item");
            if Kind::of(&item) == Kind::Array {
                return Err(SqlError::invalid("an ARRAY cannot have elements that are arrays")
                    .hint("put them into structs: ARRAY(SELECT AS STRUCT ...)")
                    .into());
            }
            Field::new(name, DataType::List(Arc::new(item)), true)
        }
    }))
}

impl PartialEq for RowsOf {
    fn eq(&self, other: &Self) -> bool {
        self.gives == other.gives && self.plan == other.plan
    }
}

impl Eq for RowsOf {}

impl Hash for RowsOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for RowsOf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let program = self.program()?;
        let columns: Vec<ArrayRef> =
            args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<_>>()?;
        let mut parts = Vec::new();
        let mut start = 0;
        loop {
            let count = OUTER_ROWS.min(args.number_rows - start);
            let columns: Vec<_> = columns.iter().map(|column| column.slice(start, count)).collect();
            parts.push(self.result(&program.run(&columns, count)?, count)?);
            start += count;
            if start >= args.number_rows {
                break;
            }
        }
        Ok(ColumnarValue::Array(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?))
    }
}
