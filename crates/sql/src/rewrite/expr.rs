//! Expressions: identifiers, literals, casts, operators and special forms.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CastKind, CeilFloorKind, DataType as SqlType, Expr, Function,
    FunctionArguments, Ident, Query, Subscript, TrimWhereField, TypedString, UnaryOperator, Value, VisitMut,
    VisitorMut, WindowSpec, WindowType,
};

use super::calls::{call, part_of_field, rewrite_call};
use super::cast::{alike, cast, named, typed_struct};
use super::literal::{literal, string, string_value};
use super::{Rewriter, plain};
use crate::error::SqlError;

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
            && let Err(error) = self.rewriter.value_query(query)
        {
            return ControlFlow::Break(Box::new(error));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.subquery_depth -= 1;
        ControlFlow::Continue(())
    }

    /// What has to be seen before its parts are. The least INT64 is a number beyond INT64 behind a minus
    /// sign; they are one literal.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } = expr
            && let Expr::Value(value) = inner.as_ref()
            && matches!(&value.value, Value::Number(text, _) if text == "9223372036854775808")
        {
            *expr = Expr::Value(Value::Number(i64::MIN.to_string(), false).into());
        }
        // Before the names of columns are lower-cased: fields have them as they are written.
        if let Expr::Struct { values, fields } = expr
            && fields.is_empty()
            && self.subquery_depth == 0
        {
            *values = named(std::mem::take(values));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if self.subquery_depth > 0 {
            return ControlFlow::Continue(());
        }
        let named = match expr {
            Expr::Identifier(name) => self.rewriter.bare_name(&name.value),
            Expr::CompoundIdentifier(path) => Ok(self.rewriter.field_path(path)),
            _ => Ok(None),
        };
        match named {
            Ok(None) => {}
            Ok(Some(named)) => {
                *expr = named;
                return ControlFlow::Continue(());
            }
            Err(error) => return ControlFlow::Break(Box::new(error)),
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
            Expr::Array(array) if !array.elem.is_empty() => Expr::InList { expr, list: array.elem, negated },
            array => {
                let within = call("#in_array", vec![*expr, array]);
                if negated {
                    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(within) }
                } else {
                    within
                }
            }
        },
        // What the plan makes of it is in `crate::plan`.
        Expr::Function(Function { name, args: FunctionArguments::Subquery(query), .. })
            if name.to_string().eq_ignore_ascii_case("array") =>
        {
            call("#array_of", vec![Expr::Subquery(query)])
        }
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
        Expr::Like { negated, any, expr, pattern, escape_char: None } => like(negated, any, expr, *pattern)?,
        Expr::IsFalse(_)
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
        | Expr::Wildcard(_)
        | Expr::AtTimeZone { .. } => expr,
        Expr::Array(array) => Expr::Array(Array { elem: alike(array.elem), ..array }),
        Expr::Named { expr, name } => Expr::Named { expr, name: plain(&name.value) },
        Expr::Struct { values, fields } if fields.is_empty() => Expr::Struct { values, fields },
        Expr::Struct { values, fields } => typed_struct(values, &fields, false)?,
        // Fields without names.
        Expr::Tuple(values) => Expr::Struct { values, fields: Vec::new() },
        Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::RLike { .. } => {
            return Err(SqlError::invalid("ILIKE, SIMILAR TO and RLIKE are not GoogleSQL")
                .hint("use LOWER(x) LIKE ..., or REGEXP_CONTAINS(x, r'...')"));
        }
        Expr::Like { escape_char: Some(_), .. } => {
            return Err(SqlError::invalid("LIKE ... ESCAPE is not GoogleSQL").hint("write \\\\% for a %"));
        }
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
            return Err(SqlError::invalid("GROUPING SETS, CUBE and ROLLUP belong into GROUP BY"));
        }
        other => {
            return Err(SqlError::unsupported(format!(
                "this expression is not supported: {}",
                shortened(&other)
            )));
        }
    })
}

/// `x LIKE pattern`, `LIKE ANY (patterns)` and `LIKE ALL (patterns)`.
fn like(negated: bool, any: bool, expr: Box<Expr>, pattern: Expr) -> Result<Expr, SqlError> {
    let one = |pattern| Expr::Like {
        negated: false,
        any: false,
        expr: expr.clone(),
        pattern: Box::new(pattern),
        escape_char: None,
    };
    let quantifier = match &pattern {
        Expr::Function(function) => function.name.to_string().to_lowercase(),
        _ => String::new(),
    };
    let (patterns, op) = match (any, quantifier.as_str(), pattern) {
        (true, _, Expr::Struct { values, fields }) if fields.is_empty() => (values, BinaryOperator::Or),
        (true, _, Expr::Nested(pattern)) => (vec![*pattern], BinaryOperator::Or),
        (false, "some", Expr::Function(function)) => (super::calls::arguments(&function), BinaryOperator::Or),
        (false, "all", Expr::Function(function)) => (super::calls::arguments(&function), BinaryOperator::And),
        (false, _, pattern) => {
            return Ok(Expr::Like { negated, any, expr, pattern: Box::new(pattern), escape_char: None });
        }
        _ => {
            return Err(SqlError::unsupported(
                "LIKE ANY and LIKE ALL of anything but patterns in parentheses",
            )
            .hint("write LIKE ANY ('a%', 'b%')"));
        }
    };
    if negated {
        return Err(SqlError::unsupported("NOT LIKE ANY and NOT LIKE ALL are not supported")
            .hint("write NOT (x LIKE ANY (...))"));
    }
    let mut tests = patterns.into_iter().map(one);
    let first = tests.next().ok_or_else(|| SqlError::invalid("LIKE without a pattern"))?;
    let all = tests.fold(first, |left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: op.clone(),
        right: Box::new(right),
    });
    Ok(Expr::Nested(Box::new(all)))
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
