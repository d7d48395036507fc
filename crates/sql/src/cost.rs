//! What a statement costs to plan, estimated from its tree before it is planned.
//!
//! DataFusion's planner asks an expression for its type and its name again at each level above it, a cast or
//! a CASE for more than that, and a WITH for its whole plan at each use. Its work grows with the cube of a
//! chain's length, exponentially with the depth of some kinds of nesting, and cannot be interrupted inside a
//! step. The weights below were measured with DataFusion 55 and are to be measured anew with another.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableWithJoins, Visit, Visitor,
};

use crate::error::{Code, SqlError};

/// The most that a statement may cost; about a hundred million are planned in a second.
const COST_MAX: f64 = 5e8;

/// How much more often a part is asked for when something of another kind is put around it.
const MIXED: f64 = 1.5;
/// The same for an operator that uses its operand several times.
const SEVERAL_TIMES: f64 = 6.0;
/// The same for a query around which an expression is put.
const SUBQUERY: f64 = 1.75;
/// For each node below each AND and OR.
const LOGIC: f64 = 20.0;
/// For each pair of columns, and of columns of the kinds that cost more.
const COLUMNS: f64 = 2.0;
const AGGREGATES: f64 = 50.0;
const WINDOWS: f64 = 800.0;
const SORT_KEYS: f64 = 60.0;
const SET_OPERATIONS: f64 = 72.0;
/// For each three tables of one FROM.
const JOINS: f64 = 24.0;
/// For each use of a table or view, and of a query of a WITH beside its own cost.
const TABLE: f64 = 2e5;
const REFERENCE: f64 = 6e4;
/// The columns that a table or view is taken to have.
const TABLE_COLUMNS: f64 = 100.0;

/// Refuses a statement that would take too long to plan.
///
/// # Errors
/// [`Code::ResourcesExceeded`].
pub(crate) fn check_cost(statement: &Statement) -> Result<(), SqlError> {
    let mut estimate = Estimate { frames: vec![Frame::of(Kind::Query)] };
    let _ = statement.visit(&mut estimate);
    let cost: f64 = estimate.frames.iter().map(|frame| frame.cost).sum();
    if cost <= COST_MAX {
        return Ok(());
    }
    let times = (cost / COST_MAX).ceil().min(1e9);
    Err(SqlError::new(
        Code::ResourcesExceeded,
        format!("the query is too large to plan: it would take {times:.0} times the work that one query may"),
    )
    .hint("nest less, put long lists into IN (...), use a WITH less often, or ask in several queries"))
}

/// What the planner treats alike: a chain of one kind costs less than one of several.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Query,
    Select,
    Table,
    Leaf,
    Parentheses,
    Logic,
    Arithmetic,
    Concatenation,
    Sign,
    Cast,
    Case,
    Function,
    /// Uses its operand several times.
    Repeating,
    Other,
}

/// A node whose parts are being looked at.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    /// Nodes.
    size: f64,
    /// Steps of asking the node for its type and name.
    walk: f64,
    /// Steps of planning it.
    cost: f64,
    /// Of a table, query or SELECT.
    columns: f64,
    aggregates: f64,
    windows: f64,
    /// The queries of its WITH, by where they are in memory.
    names: BTreeMap<usize, String>,
    /// Those that are done, with their cost and columns.
    known: BTreeMap<String, (f64, f64)>,
}

impl Frame {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            size: 0.0,
            walk: 0.0,
            cost: 0.0,
            columns: 0.0,
            aggregates: 0.0,
            windows: 0.0,
            names: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    fn is_expression(&self) -> bool {
        !matches!(self.kind, Kind::Query | Kind::Select | Kind::Table)
    }

    /// Takes in a part that is done.
    fn add(&mut self, part: &Frame) {
        self.aggregates += part.aggregates;
        self.windows += part.windows;
        match (self.is_expression(), part.is_expression()) {
            (true, true) => {
                self.size += part.size;
                self.walk += growth(self.kind, part.kind) * part.walk;
                self.cost += growth(self.kind, part.kind) * part.cost;
                if self.kind == Kind::Parentheses {
                    self.kind = part.kind;
                }
            }
            (true, false) => {
                self.size += 1.0;
                self.cost += SUBQUERY * part.cost;
            }
            (false, _) => {
                self.cost += part.cost;
                self.columns = match self.kind {
                    // The parts are the sides of a UNION.
                    Kind::Query => self.columns.max(part.columns),
                    _ => self.columns + part.columns,
                };
            }
        }
    }
}

fn growth(outer: Kind, inner: Kind) -> f64 {
    match (outer, inner) {
        (_, Kind::Leaf) | (Kind::Parentheses, _) => 1.0,
        (Kind::Repeating, _) => SEVERAL_TIMES,
        (Kind::Other, _) => MIXED,
        (outer, inner) if outer == inner => 1.0,
        _ => MIXED,
    }
}

struct Estimate {
    frames: Vec<Frame>,
}

impl Estimate {
    /// Ends the innermost node.
    fn end(&mut self, finish: impl FnOnce(&mut Frame)) {
        // Every end has its beginning; the first frame is never ended.
        let Some(mut done) = self.frames.pop() else { return };
        finish(&mut done);
        if let Some(around) = self.frames.last_mut() {
            around.add(&done);
        }
    }

    /// The cost and columns of the query of a WITH.
    fn known(&self, name: &str) -> Option<(f64, f64)> {
        self.frames.iter().rev().find_map(|frame| frame.known.get(name).copied())
    }
}

impl Visitor for Estimate {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let mut frame = Frame::of(Kind::Query);
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            frame.names.insert(std::ptr::from_ref(cte.query.as_ref()).addr(), lower(&cte.alias.name.value));
        }
        let keys = match query.order_by.as_ref().map(|order| &order.kind) {
            Some(OrderByKind::Expressions(keys)) => count(keys.len()),
            _ => 0.0,
        };
        frame.cost = SORT_KEYS * keys * keys + set_operations(&query.body);
        self.frames.push(frame);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let place = std::ptr::from_ref(query).addr();
        let Some(done) = self.frames.pop() else { return ControlFlow::Continue(()) };
        let Some(around) = self.frames.last_mut() else { return ControlFlow::Continue(()) };
        match around.names.remove(&place) {
            // A query of a WITH is planned at each use; one that has none, once.
            Some(name) => {
                around.cost += done.cost;
                around.known.insert(name, (done.cost, done.columns));
            }
            None => around.add(&done),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.frames.push(Frame::of(Kind::Select));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let is_star =
            |item: &&SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        let stars = select.projection.iter().filter(is_star).count();
        let named = count(select.projection.len() - stars);
        let tables = count(select.from.len()) + select.from.iter().map(joins).sum::<f64>();
        self.end(|frame| {
            frame.columns = named + count(stars) * frame.columns;
            frame.cost += COLUMNS * frame.columns * frame.columns
                + AGGREGATES * frame.aggregates * frame.aggregates
                + WINDOWS * frame.windows * frame.windows
                + JOINS * tables * tables * tables;
            (frame.aggregates, frame.windows) = (0.0, 0.0);
        });
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        let mut frame = Frame::of(Kind::Table);
        match table {
            TableFactor::Table { name, .. } => {
                let only = match name.0.as_slice() {
                    [only] => only.as_ident(),
                    _ => None,
                };
                let known = only.and_then(|only| self.known(&lower(&only.value)));
                (frame.cost, frame.columns) = match known {
                    Some((cost, columns)) => (cost + REFERENCE, columns),
                    None => (TABLE, TABLE_COLUMNS),
                };
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                let tables = 1.0 + joins(table_with_joins);
                frame.cost = JOINS * tables * tables * tables;
            }
            _ => {}
        }
        self.frames.push(frame);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
        self.end(|_| {});
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let mut frame = Frame::of(kind(expr));
        if let Expr::Function(call) = expr {
            match call.over.is_some() {
                true => frame.windows = 1.0,
                false => frame.aggregates = f64::from(u8::from(is_aggregate(&lower(&call.name.to_string())))),
            }
        }
        self.frames.push(frame);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let logic = kind(expr) == Kind::Logic;
        self.end(|frame| {
            frame.size += 1.0;
            match logic {
                true => {
                    frame.walk = frame.size;
                    frame.cost += LOGIC * frame.size;
                }
                false => {
                    frame.walk += frame.size;
                    frame.cost += frame.walk;
                }
            }
        });
        ControlFlow::Continue(())
    }
}

fn kind(expr: &Expr) -> Kind {
    use BinaryOperator as Op;
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::TypedString(_) => {
            Kind::Leaf
        }
        Expr::Nested(_) => Kind::Parentheses,
        Expr::BinaryOp { op: Op::And | Op::Or, .. } => Kind::Logic,
        Expr::BinaryOp { op: Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo, .. } => {
            Kind::Arithmetic
        }
        Expr::BinaryOp { op: Op::StringConcat, .. } => Kind::Concatenation,
        Expr::BinaryOp { op: Op::LongArrow, .. } => Kind::Repeating,
        Expr::UnaryOp { .. } => Kind::Sign,
        Expr::Cast { .. } => Kind::Cast,
        Expr::Case { .. } => Kind::Case,
        Expr::Function(call) if !lower(&call.name.to_string()).ends_with("coalesce") => Kind::Function,
        _ => Kind::Other,
    }
}

fn is_aggregate(name: &str) -> bool {
    const BEGINNINGS: [&str; 14] = [
        "any_value",
        "approx_",
        "array_agg",
        "avg",
        "bit_",
        "bool_",
        "corr",
        "count",
        "first_value",
        "max",
        "median",
        "min",
        "string_agg",
        "sum",
    ];
    const MORE: [&str; 8] =
        ["covar", "last_value", "logical_", "percentile_", "quantile", "regr_", "stddev", "var"];
    BEGINNINGS.iter().chain(&MORE).any(|beginning| name.starts_with(beginning))
}

/// The tables that are joined to the first.
fn joins(from: &TableWithJoins) -> f64 {
    count(from.joins.len())
}

/// What the chain of UNIONs at the top of a query costs.
fn set_operations(body: &SetExpr) -> f64 {
    let mut chain = 0.0;
    let mut at = body;
    while let SetExpr::SetOperation { left, .. } = at {
        chain += 1.0;
        at = left;
    }
    SET_OPERATIONS * chain * chain
}

fn lower(name: &str) -> String {
    name.to_lowercase()
}

/// A number of parts, of which there are never so many that it would be inexact.
#[expect(clippy::cast_precision_loss, reason = "parts of a text of a megabyte")]
fn count(parts: usize) -> f64 {
    parts as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_postgres;

    fn planned(sql: &str) -> bool {
        match parse_postgres(sql, 1 << 20) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.code, Code::ResourcesExceeded, "{sql:.60}: {error:?}");
                false
            }
        }
    }

    fn list(items: usize, item: impl Fn(usize) -> String) -> String {
        (0..items).map(item).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_people_write_is_planned() {
        let doubled = |depth: usize| {
            let steps = (1..=depth)
                .map(|at| format!(", a{at} AS (SELECT * FROM a{0} JOIN a{0} b USING (x))", at - 1));
            format!("WITH a0 AS (SELECT x FROM t){} SELECT * FROM a{depth}", steps.collect::<String>())
        };
        let nested = |open: &str, close: &str, depth: usize| {
            format!("SELECT {}n{} AS x FROM t", open.repeat(depth), close.repeat(depth))
        };
        for sql in [
            format!("SELECT {} FROM t", list(10_000, |at| format!("n + {at} AS c{at}"))),
            format!("SELECT {} FROM t", list(1_000, |at| format!("sum(n + {at}) AS c{at}"))),
            format!("SELECT 1 AS x WHERE n IN ({})", list(100_000, |at| at.to_string())),
            format!("SELECT n{} AS x FROM t", " + 1".repeat(900)),
            format!("SELECT 1 AS x WHERE true{}", " OR n = 1".repeat(3_000)),
            format!("SELECT 1 AS x{}", " UNION ALL SELECT 1".repeat(1_000)),
            format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(150), ") AS x".repeat(150)),
            format!("SELECT 1 FROM t{}", " JOIN u ON a = b".repeat(100)),
            nested("abs(", ")", 150),
            nested("CASE WHEN n = 1 THEN ", " ELSE 2 END", 90),
            nested("((", ") = 1)::int", 12),
            doubled(8),
        ] {
            assert!(planned(&sql), "{sql:.60}");
        }
        for sql in [
            format!("SELECT {} FROM t", list(5_000, |at| format!("sum(n + {at}) AS c{at}"))),
            format!("SELECT n{} AS x FROM t", " + 1".repeat(2_000)),
            format!("SELECT 1 AS x{}", " UNION ALL SELECT 1".repeat(4_000)),
            format!("SELECT 1 FROM t{}", " JOIN u ON a = b".repeat(400)),
            nested("((", ") = 1)::int", 25),
            nested("(SELECT ", ")", 60),
            nested("coalesce(", ", 1)", 60),
            nested("", " ->> 'x'", 30),
            doubled(16),
            doubled(60),
        ] {
            assert!(!planned(&sql), "{sql:.60}");
        }
    }
}
