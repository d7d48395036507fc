//! Expressions: identifiers, literals, casts, operators and special forms.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DataType as SqlType, Expr, Function, Ident, Query,
    Subscript, TrimWhereField, TypedString, UnaryOperator, Value, Visit, VisitMut, Visitor, VisitorMut,
    WindowSpec, WindowType,
};

use super::calls::{call, part_of_field, rewrite_call};
use super::literal::{literal, string, string_value};
use super::{Rewriter, plain};
use crate::error::SqlError;
use crate::functions::is_aggregate;

/// Stands for `INTERVAL n PART` until the operator or function around it takes it apart.
pub(super) const INTERVAL: &str = "#interval";

impl Rewriter<'_> {
    /// Rewrites an expression, subqueries in it included.
    pub(super) fn expr(&mut self, expr: &mut Expr) -> Result<(), SqlError> {
        let mut walk = Walk { rewriter: self, subquery_depth: 0 };
        match VisitMut::visit(expr, &mut walk) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }

    /// Rewrites what is in the parentheses of OVER or WINDOW.
    pub(super) fn window(&mut self, spec: &mut WindowSpec) -> Result<(), SqlError> {
        lower_window(spec);
        for expr in &mut spec.partition_by {
            self.expr(expr)?;
        }
        for order in &mut spec.order_by {
            self.expr(&mut order.expr)?;
        }
        Ok(())
    }
}

fn lower_window(spec: &mut WindowSpec) {
    if let Some(name) = &mut spec.window_name {
        *name = plain(&name.value.to_lowercase());
    }
}

/// Visits expressions from the leaves up. A subquery is handed to the rewriter as a whole and then
/// passed over: the visitor would go into it again.
struct Walk<'a, 'b> {
    rewriter: &'a mut Rewriter<'b>,
    subquery_depth: usize,
}

impl VisitorMut for Walk<'_, '_> {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.subquery_depth += 1;
        if self.subquery_depth == 1
            && let Err(error) = self.rewriter.query(query)
        {
            return ControlFlow::Break(Box::new(error));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.subquery_depth -= 1;
        ControlFlow::Continue(())
    }

    /// The least INT64 is a number beyond INT64 behind a minus sign; they are one literal.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } = expr
            && let Expr::Value(value) = inner.as_ref()
            && matches!(&value.value, Value::Number(text, _) if text == "9223372036854775808")
        {
            *expr = Expr::Value(Value::Number(i64::MIN.to_string(), false).into());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if self.subquery_depth > 0 {
            return ControlFlow::Continue(());
        }
        let now = self.rewriter.tables.now_micros();
        match rewrite_node(std::mem::replace(expr, Expr::Value(Value::Null.into())), now) {
            Ok(rewritten) => {
                *expr = rewritten;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

/// One node whose children are done.
fn rewrite_node(expr: Expr, now_micros: i64) -> Result<Expr, SqlError> {
    Ok(match expr {
        Expr::Identifier(ident) if ident.value.starts_with('@') && ident.quote_style.is_none() => {
            return Err(SqlError::unsupported(format!(
                "{} is not supported: queries take no parameters",
                ident.value
            ))
            .hint("write the value into the query"));
        }
        Expr::Identifier(ident) => Expr::Identifier(lowered(&ident)),
        Expr::CompoundIdentifier(path) => Expr::CompoundIdentifier(path.iter().map(lowered).collect()),
        Expr::Value(value) => literal(value.value)?,
        Expr::TypedString(TypedString { data_type, value, .. }) => {
            let text = literal(value.value)?;
            match data_type {
                SqlType::JSON => call("parse_json", vec![text]),
                other => cast(text, &other, false)?,
            }
        }
        Expr::Cast { kind, expr, data_type, array: false, format: None } => {
            cast(*expr, &data_type, matches!(kind, CastKind::SafeCast | CastKind::TryCast))?
        }
        Expr::Cast { .. } => {
            return Err(SqlError::unsupported("CAST ... FORMAT is not supported")
                .hint("use FORMAT_TIMESTAMP, PARSE_TIMESTAMP or FORMAT_DATE"));
        }
        Expr::Interval(interval) => {
            let (Some(field), None) = (&interval.leading_field, &interval.last_field) else {
                return Err(SqlError::unsupported("INTERVAL with several parts is not supported")
                    .hint("write INTERVAL n DAY, HOUR, MINUTE, ..."));
            };
            call(INTERVAL, vec![interval_count(*interval.value)?, string(part_of_field(field)?)])
        }
        Expr::Extract { field, expr, .. } => {
            let part = string(part_of_field(&field)?);
            match *expr {
                Expr::AtTimeZone { timestamp, time_zone } => {
                    call("extract", vec![part, *timestamp, *time_zone])
                }
                other => call("extract", vec![part, other]),
            }
        }
        Expr::BinaryOp { left, op, right } => binary(*left, op, *right)?,
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) if matches!(value.value, Value::Number(..)) => {
                Expr::UnaryOp { op: UnaryOperator::Minus, expr }
            }
            _ => call("negate", vec![*expr]),
        },
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => *expr,
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => call("#bit_not", vec![*expr]),
        Expr::Between { expr, negated, low, high } => between(&expr, negated, *low, *high),
        Expr::InUnnest { expr, array_expr, negated } => match *array_expr {
            Expr::Array(array) => Expr::InList { expr, list: array.elem, negated },
            _ => {
                return Err(SqlError::unsupported(
                    "IN UNNEST of anything but a literal array is not supported",
                )
                .hint("write IN UNNEST([...]) or IN (SELECT ...)"));
            }
        },
        Expr::Function(function) => rewrite_function(function, now_micros)?,
        Expr::CompoundFieldAccess { root, access_chain } => access(*root, access_chain)?,
        other => special_form(other)?,
    })
}

/// Forms with a syntax of their own that are plain functions underneath, and forms that pass.
fn special_form(expr: Expr) -> Result<Expr, SqlError> {
    Ok(match expr {
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let arguments = std::iter::once(*expr).chain(substring_from.map(|from| *from));
            call("substr", arguments.chain(substring_for.map(|count| *count)).collect())
        }
        Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
            let name = match trim_where {
                None | Some(TrimWhereField::Both) => "trim",
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
            };
            let characters =
                trim_what.map(|what| *what).into_iter().chain(trim_characters.into_iter().flatten());
            call(name, std::iter::once(*expr).chain(characters).collect())
        }
        Expr::Ceil {
            expr,
            field: CeilFloorKind::DateTimeField(datafusion::sql::sqlparser::ast::DateTimeField::NoDateTime),
        } => call("ceil", vec![*expr]),
        Expr::Floor {
            expr,
            field: CeilFloorKind::DateTimeField(datafusion::sql::sqlparser::ast::DateTimeField::NoDateTime),
        } => call("floor", vec![*expr]),
        Expr::Like { any: false, escape_char: None, .. }
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Exists { .. }
        | Expr::Subquery(_)
        | Expr::UnaryOp { op: UnaryOperator::Not, .. }
        | Expr::Nested(_)
        | Expr::Case { .. }
        | Expr::Array(_)
        | Expr::Wildcard(_)
        | Expr::AtTimeZone { .. } => expr,
        Expr::Named { expr, name } => Expr::Named { expr, name: plain(&name.value.to_lowercase()) },
        Expr::Struct { values, fields } if fields.is_empty() => {
            Expr::Struct { values: named(values), fields }
        }
        Expr::Struct { .. } => {
            return Err(SqlError::unsupported("STRUCT<types>(...) is not supported")
                .hint("write STRUCT(value AS name, ...)"));
        }
        Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::RLike { .. } => {
            return Err(SqlError::invalid("ILIKE, SIMILAR TO and RLIKE are not GoogleSQL")
                .hint("use LOWER(x) LIKE ..., or REGEXP_CONTAINS(x, r'...')"));
        }
        Expr::Like { .. } => {
            return Err(SqlError::unsupported("LIKE ANY and LIKE ... ESCAPE are not supported"));
        }
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
            return Err(SqlError::unsupported("GROUPING SETS, CUBE and ROLLUP are not supported"));
        }
        other => {
            return Err(SqlError::unsupported(format!(
                "this expression is not supported: {}",
                shortened(&other)
            )));
        }
    })
}

/// The fields of a STRUCT, with the names of the columns that they are, where no two are alike.
fn named(values: Vec<Expr>) -> Vec<Expr> {
    let names: Vec<_> = values.iter().map(field_name).collect();
    let unique = |name: &Ident| names.iter().flatten().filter(|other| other.value == name.value).count() == 1;
    let pairs = values.into_iter().zip(names.iter());
    pairs
        .map(|(value, name)| match (value, name) {
            (value @ Expr::Named { .. }, _) => value,
            (value, Some(name)) if unique(name) => Expr::Named { expr: Box::new(value), name: name.clone() },
            (value, _) => value,
        })
        .collect()
}

fn field_name(value: &Expr) -> Option<Ident> {
    match value {
        Expr::Identifier(name) | Expr::Named { name, .. } => Some(plain(&name.value)),
        Expr::CompoundIdentifier(path) => path.last().map(|name| plain(&name.value)),
        _ => None,
    }
}

fn shortened(expr: &Expr) -> String {
    expr.to_string().chars().take(80).collect()
}

fn lowered(ident: &Ident) -> Ident {
    let mut lowered = plain(&ident.value.to_lowercase());
    lowered.span = ident.span;
    lowered
}

/// `INTERVAL '3' DAY` is an old spelling of `INTERVAL 3 DAY`; a longer text has several parts.
fn interval_count(value: Expr) -> Result<Expr, SqlError> {
    match string_value(&value).map(|text| text.trim().parse::<i64>()) {
        None => Ok(value),
        Some(Ok(count)) if count >= 0 => Ok(Expr::Value(Value::Number(count.to_string(), false).into())),
        Some(_) => Err(SqlError::unsupported("INTERVAL '...' with several parts is not supported")
            .hint("write INTERVAL n DAY, HOUR, MINUTE, ...")),
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Result<Expr, SqlError> {
    let sign = match op {
        BinaryOperator::Plus => 1,
        BinaryOperator::Minus => -1,
        BinaryOperator::Modulo => {
            return Err(SqlError::invalid("% is not a GoogleSQL operator").hint("use MOD(a, b)"));
        }
        BinaryOperator::Regexp
        | BinaryOperator::PGRegexMatch
        | BinaryOperator::MyIntegerDivide
        | BinaryOperator::Xor => {
            return Err(SqlError::invalid(format!("{op} is not a GoogleSQL operator")));
        }
        _ => return Ok(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }),
    };
    let (name, base, interval) = match (as_interval(&left), as_interval(&right)) {
        (None, Some(interval)) => {
            (if sign == 1 { "#plus_interval" } else { "#minus_interval" }, left, interval)
        }
        (Some(interval), None) if sign == 1 => ("#plus_interval", right, interval),
        (None, None) => return Ok(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }),
        _ => return Err(SqlError::unsupported("arithmetic between intervals is not supported")),
    };
    let [count, part] = interval;
    Ok(call(name, vec![base, count, part]))
}

/// The count and part of an interval.
pub(super) fn as_interval(expr: &Expr) -> Option<[Expr; 2]> {
    match expr {
        Expr::Nested(inner) => as_interval(inner),
        Expr::Function(function) if function.name.to_string() == INTERVAL => {
            super::calls::arguments(function).try_into().ok()
        }
        _ => None,
    }
}

/// `x BETWEEN a AND b` as two comparisons, so that both are checked and converted like any other.
fn between(expr: &Expr, negated: bool, low: Expr, high: Expr) -> Expr {
    let compare = |op, right| Expr::BinaryOp { left: Box::new(expr.clone()), op, right: Box::new(right) };
    let both = Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(compare(BinaryOperator::GtEq, low)),
        op: BinaryOperator::And,
        right: Box::new(compare(BinaryOperator::LtEq, high)),
    }));
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(both) } } else { both }
}

/// `a[OFFSET(n)]`, `json['key']`, `struct.field`, from left to right.
fn access(root: Expr, chain: Vec<AccessExpr>) -> Result<Expr, SqlError> {
    let mut value = root;
    for step in chain {
        value = match step {
            AccessExpr::Dot(Expr::Identifier(name)) => call("#field", vec![value, string(name.value)]),
            AccessExpr::Subscript(Subscript::Index { index }) => match &index {
                Expr::Function(function) => {
                    let name = function.name.to_string().to_lowercase();
                    let kind = matches!(name.as_str(), "offset" | "ordinal" | "safe_offset" | "safe_ordinal");
                    match (kind, <[Expr; 1]>::try_from(super::calls::arguments(function))) {
                        (true, Ok([position])) => call("#at", vec![value, position, string(name)]),
                        _ => call("#at", vec![value, index, string("offset")]),
                    }
                }
                _ => call("#at", vec![value, index, string("offset")]),
            },
            AccessExpr::Subscript(Subscript::Slice { .. }) => {
                return Err(SqlError::invalid("array slices are not GoogleSQL"));
            }
            AccessExpr::Dot(other) => {
                return Err(SqlError::invalid(format!("{other} is not a field name")));
            }
        };
    }
    Ok(value)
}

fn rewrite_function(mut function: Function, now_micros: i64) -> Result<Expr, SqlError> {
    match &mut function.over {
        Some(WindowType::NamedWindow(name)) => *name = plain(&name.value.to_lowercase()),
        Some(WindowType::WindowSpec(spec)) => lower_window(spec),
        None => {}
    }
    rewrite_call(function, now_micros)
}

/// The cast as a call of our own function, named after the target type.
pub(super) fn cast(expr: Expr, target: &SqlType, safe: bool) -> Result<Expr, SqlError> {
    let unsupported = || {
        Err(SqlError::unsupported(format!("CAST to {target} is not supported"))
            .hint("the types are INT64, FLOAT64, NUMERIC, BOOL, STRING, BYTES, DATE, DATETIME and TIMESTAMP"))
    };
    let name = match target {
        SqlType::Int64
        | SqlType::Int(None)
        | SqlType::Integer(None)
        | SqlType::BigInt(None)
        | SqlType::SmallInt(None)
        | SqlType::TinyInt(None) => "int64",
        SqlType::Float64 => "float64",
        SqlType::Bool | SqlType::Boolean => "bool",
        SqlType::String(None) => "string",
        SqlType::Bytes(None) => "bytes",
        SqlType::Date => "date",
        SqlType::Datetime(None) => "datetime",
        SqlType::Timestamp(None, _) => "timestamp",
        SqlType::Numeric(info) | SqlType::Decimal(info) => match info {
            datafusion::sql::sqlparser::ast::ExactNumberInfo::None => "numeric",
            _ => return unsupported(),
        },
        SqlType::Custom(name, modifiers) if modifiers.is_empty() => {
            match name.to_string().to_lowercase().as_str() {
                "byteint" => "int64",
                _ => return unsupported(),
            }
        }
        _ => return unsupported(),
    };
    Ok(call(&format!("{}{name}", if safe { "safe_cast#" } else { "cast#" }), vec![expr]))
}

/// What an expression is made of, subqueries not looked into.
#[derive(Debug, Default)]
pub(super) struct Contents {
    aggregates: bool,
    windows: bool,
    columns: bool,
    subquery_depth: usize,
}

impl Contents {
    pub(super) fn of(expr: &Expr) -> Self {
        let mut contents = Self::default();
        let _ = Visit::visit(expr, &mut contents);
        contents
    }

    /// Whether it names a column.
    pub(super) fn names_columns(&self) -> bool {
        self.columns
    }

    /// Whether GROUP BY ALL groups by it.
    pub(super) fn groupable(&self) -> bool {
        self.columns && !self.aggregates && !self.windows
    }
}

impl Visitor for Contents {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.subquery_depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.subquery_depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.subquery_depth > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.columns = true,
            Expr::Function(function) if function.over.is_some() => self.windows = true,
            Expr::Function(function) => self.aggregates |= is_aggregate(&function.name.to_string()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
