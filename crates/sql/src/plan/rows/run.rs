//! Runs a subquery over arrays for many outer rows at once. Every row of it knows the outer row that it is
//! of, its owner, and rows stay together by owner.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array, UInt64Array, new_empty_array,
    new_null_array,
};
use datafusion::arrow::compute::{SortColumn, SortOptions, concat, lexsort_to_indices, take};
use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, NullHandling, Result};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Distinct, Expr, FetchType, LogicalPlan, SkipType, Unnest};
use datafusion::physical_expr::aggregate::{LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::error::{Code, SqlError};

/// Most bytes of outer columns that are repeated beside the elements of their rows' arrays, which is before any
/// limit on memory counts them.
const OUTER_BYTES_MAX: usize = 256 << 20;

/// Rows on their way through a program.
#[derive(Debug)]
pub(super) struct Rows {
    columns: Vec<ArrayRef>,
    /// The outer row that each is of, ascending.
    owners: Vec<u32>,
}

impl Rows {
    pub(super) fn owners(&self) -> &[u32] {
        &self.owners
    }

    pub(super) fn first(&self) -> Result<ArrayRef> {
        match self.columns.first() {
            Some(column) => Ok(Arc::clone(column)),
            None => Err(SqlError::internal("a subquery without columns").into()),
        }
    }

    /// These rows of it, in this order, which keeps those of one owner together.
    fn taken(&self, places: Vec<u64>) -> Result<Self> {
        let owners = places.iter().map(|place| self.owners[usize::try_from(*place).unwrap_or(0)]).collect();
        let places = UInt64Array::from(places);
        let columns =
            self.columns.iter().map(|column| Ok(take(column, &places, None)?)).collect::<Result<_>>()?;
        Ok(Self { columns, owners })
    }
}

type Physical = Arc<dyn PhysicalExpr>;

/// What a plan's node does to rows.
#[derive(Debug)]
enum Action {
    Project(Vec<Physical>),
    Filter(Physical),
    Sort(Vec<(Physical, SortOptions)>, Option<usize>),
    Limit { skip: usize, fetch: Option<usize> },
    Distinct,
    Unnest { lists: Vec<usize>, sources: Vec<usize>, keeps_rows: bool },
    Aggregate { keys: Vec<Physical>, values: Vec<LoweredAggregate> },
}

/// A node: its expressions see its input's columns and, behind them, those of the outer row.
#[derive(Debug)]
struct Step {
    schema: SchemaRef,
    /// Which outer columns its expressions name.
    outer: Vec<usize>,
    action: Action,
}

/// A plan from its one row on.
#[derive(Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
}

impl Program {
    /// # Errors
    /// When the plan has a node that is not supported here.
    pub(super) fn compile(plan: &LogicalPlan, outer: &[(FieldRef, Column)]) -> Result<Self> {
        let mut steps = Vec::new();
        compile(plan, outer, &mut steps)?;
        Ok(Self { steps })
    }

    /// The rows of the subquery for each of `count` outer rows.
    ///
    /// # Errors
    /// Whatever expressions fail with.
    pub(super) fn run(&self, outer: &[ArrayRef], count: usize) -> Result<Rows> {
        let owners = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
        let mut rows = Rows { columns: Vec::new(), owners };
        for step in &self.steps {
            rows = step.run(rows, outer, count)?;
        }
        Ok(rows)
    }
}

fn unsupported(what: &str) -> SqlError {
    SqlError::unsupported(format!("{what} in a subquery over an array of the row around it is not supported"))
        .hint("join: FROM t, UNNEST(t.array) AS x")
}

fn compile(plan: &LogicalPlan, outer: &[(FieldRef, Column)], steps: &mut Vec<Step>) -> Result<()> {
    let below = |input: &LogicalPlan, steps: &mut Vec<Step>| -> Result<Compiler> {
        compile(input, outer, steps)?;
        Compiler::new(input.schema(), outer)
    };
    let (compiler, action) = match plan {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => return Ok(()),
        LogicalPlan::SubqueryAlias(alias) => return compile(&alias.input, outer, steps),
        // Around an UNNEST of an outer column.
        LogicalPlan::Subquery(inner) => return compile(&inner.subquery, outer, steps),
        LogicalPlan::Projection(node) => {
            let mut compiler = below(&node.input, steps)?;
            let exprs = node.expr.iter().map(|expr| compiler.physical(expr)).collect::<Result<_>>()?;
            (compiler, Action::Project(exprs))
        }
        LogicalPlan::Filter(node) => {
            let mut compiler = below(&node.input, steps)?;
            let condition = compiler.physical(&node.predicate)?;
            (compiler, Action::Filter(condition))
        }
        LogicalPlan::Sort(node) => {
            let mut compiler = below(&node.input, steps)?;
            let keys = node.expr.iter().map(|key| {
                let options = SortOptions { descending: !key.asc, nulls_first: key.nulls_first };
                Ok((compiler.physical(&key.expr)?, options))
            });
            let keys = keys.collect::<Result<_>>()?;
            (compiler, Action::Sort(keys, node.fetch))
        }
        LogicalPlan::Limit(node) => {
            let compiler = below(&node.input, steps)?;
            let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
                (node.get_skip_type()?, node.get_fetch_type()?)
            else {
                return Err(unsupported("a LIMIT that is no number").into());
            };
            (compiler, Action::Limit { skip, fetch })
        }
        LogicalPlan::Distinct(Distinct::All(input)) => (below(input, steps)?, Action::Distinct),
        LogicalPlan::Unnest(node) => (below(&node.input, steps)?, unnest(node)?),
        LogicalPlan::Aggregate(node) => {
            let mut compiler = below(&node.input, steps)?;
            if node.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
                return Err(unsupported("GROUPING SETS").into());
            }
            let keys = node.group_expr.iter().map(|key| compiler.physical(key)).collect::<Result<_>>()?;
            let values =
                node.aggr_expr.iter().map(|value| compiler.aggregate(value)).collect::<Result<_>>()?;
            (compiler, Action::Aggregate { keys, values })
        }
        LogicalPlan::Window(_) => return Err(unsupported("a window function").into()),
        LogicalPlan::Join(_) => return Err(unsupported("a join").into()),
        LogicalPlan::Union(_) => return Err(unsupported("UNION").into()),
        other => {
            let name = other.display().to_string();
            return Err(unsupported(name.split([':', ' ']).next().unwrap_or("a clause")).into());
        }
    };
    steps.push(Step { schema: compiler.arrow, outer: compiler.used, action });
    Ok(())
}

fn unnest(node: &Unnest) -> Result<Action> {
    if !node.struct_type_columns.is_empty() || node.list_type_columns.iter().any(|(_, list)| list.depth != 1)
    {
        return Err(unsupported("UNNEST of anything but one array").into());
    }
    Ok(Action::Unnest {
        lists: node.list_type_columns.iter().map(|(index, _)| *index).collect(),
        sources: node.dependency_indices.clone(),
        keeps_rows: node.options.null_handling == NullHandling::PreserveAndExpandEmpty,
    })
}

/// Makes physical expressions over one node's input.
struct Compiler {
    schema: DFSchema,
    arrow: SchemaRef,
    /// The outer columns and the names that they have in the schema.
    outer: Vec<(Column, String)>,
    used: Vec<usize>,
}

impl Compiler {
    fn new(input: &DFSchema, outer: &[(FieldRef, Column)]) -> Result<Self> {
        let mut fields: Vec<_> =
            input.iter().map(|(table, field)| (table.cloned(), Arc::clone(field))).collect();
        let mut names = Vec::with_capacity(outer.len());
        for (index, (field, column)) in outer.iter().enumerate() {
            let name = format!("#outer{index}");
            fields.push((None, Arc::new(field.as_ref().clone().with_name(&name).with_nullable(true))));
            names.push((column.clone(), name));
        }
        let schema = DFSchema::new_with_metadata(fields, HashMap::new())?;
        let arrow = Arc::new(schema.as_arrow().clone());
        Ok(Self { schema, arrow, outer: names, used: Vec::new() })
    }

    fn here(&mut self, expr: &Expr) -> Result<Expr> {
        let (outer, used) = (&self.outer, &mut self.used);
        let here = expr.clone().transform_up(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) => {
                let Some(index) = outer.iter().position(|(known, _)| *known == column) else {
                    return Err(SqlError::internal(format!("outer column {column} is not known")).into());
                };
                if !used.contains(&index) {
                    used.push(index);
                }
                Ok(Transformed::yes(Expr::Column(Column::new_unqualified(&outer[index].1))))
            }
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
                Err(unsupported("a subquery over a table").into())
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(here.data)
    }

    fn physical(&mut self, expr: &Expr) -> Result<Physical> {
        let expr = self.here(expr)?.unalias();
        create_physical_expr(&expr, &self.schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
    }

    fn aggregate(&mut self, expr: &Expr) -> Result<LoweredAggregate> {
        let expr = self.here(expr)?;
        LoweredAggregateBuilder::new(
            &expr,
            &self.schema,
            &self.arrow,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )
        .build()
    }
}

impl Step {
    fn run(&self, rows: Rows, outer: &[ArrayRef], count: usize) -> Result<Rows> {
        match &self.action {
            Action::Project(exprs) => {
                let batch = self.batch(&rows, outer)?;
                let columns = exprs.iter().map(|expr| value(expr, &batch)).collect::<Result<_>>()?;
                Ok(Rows { columns, owners: rows.owners })
            }
            Action::Filter(condition) => {
                let passes = value(condition, &self.batch(&rows, outer)?)?;
                let passes = passes.as_boolean();
                let keeps = |row: &usize| passes.is_valid(*row) && passes.value(*row);
                rows.taken((0..rows.owners.len()).filter(keeps).map(|row| row as u64).collect())
            }
            Action::Sort(keys, fetch) => {
                let batch = self.batch(&rows, outer)?;
                let owners: ArrayRef = Arc::new(UInt32Array::from(rows.owners.clone()));
                let mut columns = vec![SortColumn { values: owners, options: None }];
                for (key, options) in keys {
                    columns.push(SortColumn { values: value(key, &batch)?, options: Some(*options) });
                }
                let places = lexsort_to_indices(&columns, None)?;
                let sorted = rows.taken(places.values().iter().map(|place| u64::from(*place)).collect())?;
                match fetch {
                    Some(fetch) => limit(&sorted, 0, Some(*fetch)),
                    None => Ok(sorted),
                }
            }
            Action::Limit { skip, fetch } => limit(&rows, *skip, *fetch),
            Action::Distinct => {
                let groups = Groups::of(&rows.columns, &rows.owners)?;
                rows.taken(groups.first_rows())
            }
            Action::Unnest { lists, sources, keeps_rows } => unnested(&rows, lists, sources, *keeps_rows),
            Action::Aggregate { keys, values } => self.aggregated(&rows, outer, count, keys, values),
        }
    }

    /// The rows with the outer columns that this step's expressions name; the others are empty.
    fn batch(&self, rows: &Rows, outer: &[ArrayRef]) -> Result<RecordBatch> {
        let named = self.outer.iter().filter_map(|index| outer.get(*index));
        let bytes: usize =
            named.map(|column| bytes_of(column) / column.len().max(1) * rows.owners.len()).sum();
        if bytes > OUTER_BYTES_MAX {
            return Err(SqlError::new(
                Code::ResourcesExceeded,
                format!("a subquery over arrays would repeat {bytes} bytes of the rows around it"),
            )
            .hint("let it name fewer or shorter columns of those rows, or shorten its arrays")
            .into());
        }
        let owners = UInt32Array::from(rows.owners.clone());
        let mut columns = rows.columns.clone();
        for (index, column) in outer.iter().enumerate() {
            columns.push(match self.outer.contains(&index) {
                true => take(column, &owners, None)?,
                false => new_null_array(column.data_type(), rows.owners.len()),
            });
        }
        // Views may be where the plan says strings, and the other way round.
        let fields: Vec<FieldRef> = self.schema.fields().iter().zip(&columns).map(fitting).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.owners.len()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    fn aggregated(
        &self,
        rows: &Rows,
        outer: &[ArrayRef],
        count: usize,
        keys: &[Physical],
        values: &[LoweredAggregate],
    ) -> Result<Rows> {
        let batch = self.batch(rows, outer)?;
        let key_columns: Vec<_> = keys.iter().map(|key| value(key, &batch)).collect::<Result<_>>()?;
        let groups = match keys {
            // Without GROUP BY there is a group, be there rows or not.
            [] => Groups::by_owner(&rows.owners, count),
            _ => Groups::of(&key_columns, &rows.owners)?,
        };
        let first = UInt64Array::from(if keys.is_empty() { Vec::new() } else { groups.first_rows() });
        let mut columns: Vec<ArrayRef> =
            key_columns.iter().map(|column| Ok(take(column, &first, None)?)).collect::<Result<_>>()?;
        for aggregate in values {
            let arguments: Vec<ArrayRef> = aggregate
                .aggregate
                .expressions()
                .iter()
                .chain(aggregate.aggregate.order_bys().iter().map(|key| &key.expr))
                .map(|expr| value(expr, &batch))
                .collect::<Result<_>>()?;
            let filter = aggregate.filter.as_ref().map(|filter| value(filter, &batch)).transpose()?;
            let passes = |row: u64| {
                let row = usize::try_from(row).unwrap_or(usize::MAX);
                filter.as_ref().is_none_or(|filter| filter.is_valid(row) && filter.as_boolean().value(row))
            };
            let mut results: Vec<ArrayRef> = Vec::with_capacity(groups.members.len());
            for (_, members) in &groups.members {
                let places =
                    UInt64Array::from_iter_values(members.iter().copied().filter(|row| passes(*row)));
                let mut accumulator = aggregate.aggregate.create_accumulator()?;
                let part: Vec<_> =
                    arguments.iter().map(|column| Ok(take(column, &places, None)?)).collect::<Result<_>>()?;
                if !places.is_empty() {
                    accumulator.update_batch(&part)?;
                }
                results.push(accumulator.evaluate()?.to_array()?);
            }
            let field: FieldRef = aggregate.aggregate.field();
            columns.push(match results.as_slice() {
                [] => new_empty_array(field.data_type()),
                results => concat(&results.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
            });
        }
        Ok(Rows { columns, owners: groups.members.iter().map(|(owner, _)| *owner).collect() })
    }
}

/// What a column, which may be a part of a larger one, holds.
fn bytes_of(column: &ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
}

fn fitting((field, column): (&FieldRef, &ArrayRef)) -> FieldRef {
    let field = Field::clone(field).with_nullable(true);
    Arc::new(if field.data_type() == column.data_type() {
        field
    } else {
        field.with_data_type(column.data_type().clone())
    })
}

fn value(expr: &Physical, batch: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(batch)?.into_array(batch.num_rows())
}

/// Rows by owner and key, in the order that they are met.
struct Groups {
    members: Vec<(u32, Vec<u64>)>,
}

impl Groups {
    fn by_owner(owners: &[u32], count: usize) -> Self {
        let mut members: Vec<(u32, Vec<u64>)> =
            (0..u32::try_from(count).unwrap_or(u32::MAX)).map(|owner| (owner, Vec::new())).collect();
        for (row, owner) in owners.iter().enumerate() {
            members[*owner as usize].1.push(row as u64);
        }
        Self { members }
    }

    fn of(keys: &[ArrayRef], owners: &[u32]) -> Result<Self> {
        let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
        let encoded = RowConverter::new(fields)?.convert_columns(keys)?;
        let mut known: HashMap<(u32, Vec<u8>), usize> = HashMap::new();
        let mut members: Vec<(u32, Vec<u64>)> = Vec::new();
        for (row, owner) in owners.iter().enumerate() {
            let key = (*owner, encoded.row(row).as_ref().to_vec());
            let group = *known.entry(key).or_insert_with(|| {
                members.push((*owner, Vec::new()));
                members.len() - 1
            });
            members[group].1.push(row as u64);
        }
        Ok(Self { members })
    }

    fn first_rows(&self) -> Vec<u64> {
        self.members.iter().filter_map(|(_, rows)| rows.first().copied()).collect()
    }
}

/// So many rows of each owner.
fn limit(rows: &Rows, skip: usize, fetch: Option<usize>) -> Result<Rows> {
    let (mut owner, mut met) = (None, 0_usize);
    let places = rows.owners.iter().enumerate().filter_map(|(row, now)| {
        if owner != Some(*now) {
            (owner, met) = (Some(*now), 0);
        }
        met += 1;
        let keeps = met > skip && fetch.is_none_or(|fetch| met - skip <= fetch);
        keeps.then_some(row as u64)
    });
    let places = places.collect();
    rows.taken(places)
}

/// A row for each element; arrays side by side step together.
fn unnested(rows: &Rows, lists: &[usize], sources: &[usize], keeps_rows: bool) -> Result<Rows> {
    let arrays: Vec<_> = lists
        .iter()
        .map(|index| match rows.columns[*index].as_list_opt::<i32>() {
            Some(list) => Ok((*index, list)),
            None => Err(SqlError::invalid("UNNEST takes an array")),
        })
        .collect::<std::result::Result<_, _>>()?;
    let (mut places, mut owners) = (Vec::new(), Vec::new());
    let mut elements: Vec<Vec<Option<u64>>> = arrays.iter().map(|_| Vec::new()).collect();
    for (row, owner) in rows.owners.iter().enumerate() {
        let spans: Vec<_> = arrays
            .iter()
            .map(|(_, list)| match list.is_valid(row) {
                true => list.value_offsets()[row] as u64..list.value_offsets()[row + 1] as u64,
                false => 0..0,
            })
            .collect();
        let longest = spans.iter().map(|span| span.end - span.start).max().unwrap_or(0);
        for offset in 0..longest.max(u64::from(keeps_rows)) {
            places.push(row as u64);
            owners.push(*owner);
            for (span, found) in spans.iter().zip(&mut elements) {
                found.push((span.start + offset < span.end).then_some(span.start + offset));
            }
        }
    }
    let places = UInt64Array::from(places);
    let columns = sources
        .iter()
        .map(|source| match arrays.iter().position(|(index, _)| index == source) {
            Some(list) => {
                Ok(take(arrays[list].1.values(), &UInt64Array::from(elements[list].clone()), None)?)
            }
            None => Ok(take(&rows.columns[*source], &places, None)?),
        })
        .collect::<Result<_>>()?;
    Ok(Rows { columns, owners })
}
