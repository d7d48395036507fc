//! Aggregates whose arguments carry more than values: LIMIT, HAVING MAX, DISTINCT; and those that are other
//! aggregates here.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, HavingBound, HavingBoundKind, NullTreatment, ObjectName, ObjectNamePart, OrderByExpr,
    OrderByOptions, Value, WindowType,
};

use super::calls::{arguments, call, canonical, case, rewrite_call, wrong_count};
use super::literal::string;
use super::plain;
use crate::error::SqlError;
use crate::functions::{FIRST_BY, Known, known};

pub(super) fn refuse_clauses(function: &Function, name: &str) -> Result<(), SqlError> {
    if function.filter.is_some() {
        return Err(
            SqlError::invalid("FILTER is not GoogleSQL").hint("use COUNTIF, or IF inside the aggregate")
        );
    }
    if !function.within_group.is_empty() {
        return Err(SqlError::invalid("WITHIN GROUP is not GoogleSQL"));
    }
    let FunctionArguments::List(list) = &function.args else {
        return match function.args {
            FunctionArguments::Subquery(_) => {
                Err(SqlError::unsupported(format!("{}(SELECT ...) is not supported", name.to_uppercase())))
            }
            _ => Ok(()),
        };
    };
    let aggregates = matches!(known(canonical(name)), Some(Known::Aggregate | Known::Window))
        || matches!(name, "countif" | "max_by" | "min_by" | "array_concat_agg");
    if list.duplicate_treatment.is_some() && !aggregates {
        return Err(SqlError::unsupported(format!("DISTINCT in {} is not supported", name.to_uppercase())));
    }
    for clause in &list.clauses {
        match clause {
            _ if !aggregates => {
                return Err(SqlError::invalid(format!("{} takes no {clause}", name.to_uppercase())));
            }
            FunctionArgumentClause::IgnoreOrRespectNulls(_) | FunctionArgumentClause::OrderBy(_) => {}
            FunctionArgumentClause::Limit(_)
                if matches!(name, "array_agg" | "string_agg" | "array_concat_agg")
                    && function.over.is_none() => {}
            FunctionArgumentClause::Having(_) if name == "any_value" && function.over.is_none() => {}
            other => {
                return Err(SqlError::unsupported(format!(
                    "{}: {other} is not supported",
                    name.to_uppercase()
                )));
            }
        }
    }
    Ok(())
}

/// Takes the LIMIT out of an aggregate's arguments.
pub(super) fn take_limit(function: &mut Function, name: &str) -> Result<Option<Expr>, SqlError> {
    let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
    let is_limit = |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::Limit(_));
    let Some(index) = list.clauses.iter().position(is_limit) else { return Ok(None) };
    match list.clauses.remove(index) {
        FunctionArgumentClause::Limit(limit @ Expr::Value(_)) => Ok(Some(limit)),
        _ => Err(SqlError::invalid(format!("{}: LIMIT takes a number", name.to_uppercase()))),
    }
}

/// ARRAY_AGG or STRING_AGG of the first values only: the whole array, and then its first elements.
pub(super) fn limited(
    mut function: Function,
    name: &str,
    limit: Expr,
    now_micros: i64,
) -> Result<Expr, SqlError> {
    let between = match (name, arguments(&function).as_slice()) {
        ("array_agg" | "array_concat_agg", _) => None,
        (_, [_]) => Some(string(",")),
        (_, [_, between]) => Some(between.clone()),
        (_, given) => return Err(wrong_count(name, given.len())),
    };
    if let (FunctionArguments::List(list), Some(_)) = (&mut function.args, &between) {
        list.args.truncate(1);
        list.clauses.push(FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::IgnoreNulls));
    }
    let flat = name == "array_concat_agg";
    let filter = if flat { Some(only_values(&function)?) } else { None };
    function.name = ObjectName(vec![ObjectNamePart::Identifier(plain("array_agg"))]);
    let mut all = rewrite_call(function, now_micros)?;
    if let (Expr::Function(all), Some(filter)) = (&mut all, filter) {
        all.filter = Some(filter);
    }
    let first = call("#first", vec![all, limit]);
    Ok(match between {
        Some(between) => call("#join", vec![first, between]),
        None if flat => call("#flattened", vec![first]),
        None => first,
    })
}

/// STRING_AGG with the delimiter that it has when none is given.
pub(super) fn with_delimiter(function: &Function) -> Expr {
    let mut function = function.clone();
    function.name = ObjectName(vec![ObjectNamePart::Identifier(plain("string_agg"))]);
    if let FunctionArguments::List(list) = &mut function.args {
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(string(","))));
    }
    Expr::Function(function)
}

/// ARRAY_CONCAT_AGG: an array of arrays, flattened.
pub(super) fn concatenated(function: &Function) -> Result<Expr, SqlError> {
    let mut function = function.clone();
    function.filter = Some(only_values(&function)?);
    function.name = ObjectName(vec![ObjectNamePart::Identifier(plain("array_agg"))]);
    Ok(call("#flattened", vec![Expr::Function(function)]))
}

/// The condition that leaves out NULLs.
fn only_values(function: &Function) -> Result<Box<Expr>, SqlError> {
    if function.over.is_some() {
        return Err(SqlError::unsupported("ARRAY_CONCAT_AGG ... OVER is not supported"));
    }
    match arguments(function).as_slice() {
        [value] => Ok(Box::new(Expr::IsNotNull(Box::new(value.clone())))),
        given => Err(wrong_count("array_concat_agg", given.len())),
    }
}

/// COUNTIF: a count of what is true, of which there is only one to be distinct.
pub(super) fn countif(function: &Function, condition: &Expr) -> Expr {
    let one = Expr::Value(Value::Number("1".to_owned(), false).into());
    let mut counted = match call("count", vec![case(condition, &one, None)]) {
        Expr::Function(counted) => counted,
        other => return other,
    };
    counted.over.clone_from(&function.over);
    if let (FunctionArguments::List(list), FunctionArguments::List(given)) =
        (&mut counted.args, &function.args)
    {
        list.duplicate_treatment = given.duplicate_treatment;
    }
    Expr::Function(counted)
}

/// MAX_BY and MIN_BY: the value beside the greatest or the least of others.
pub(super) fn by(name: &str, function: &Function, value: &Expr, by: &Expr) -> Result<Expr, SqlError> {
    if function.over.is_some() {
        return Err(SqlError::unsupported(format!("{} ... OVER is not supported", name.to_uppercase()))
            .hint("use FIRST_VALUE(x) OVER (PARTITION BY ... ORDER BY y)"));
    }
    let FunctionArguments::List(list) = &function.args else { return Err(wrong_count(name, 0)) };
    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) || !list.clauses.is_empty() {
        return Err(SqlError::invalid(format!(
            "{} takes no DISTINCT, ORDER BY or LIMIT",
            name.to_uppercase()
        )));
    }
    Ok(first_by(value, by, name == "min_by"))
}

fn first_by(value: &Expr, by: &Expr, ascending: bool) -> Expr {
    let mut first = match call(FIRST_BY, vec![value.clone()]) {
        Expr::Function(first) => first,
        other => return other,
    };
    if let FunctionArguments::List(list) = &mut first.args {
        let options = OrderByOptions { asc: Some(ascending), nulls_first: Some(false) };
        let order = OrderByExpr { expr: by.clone(), options, with_fill: None };
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![order]));
    }
    first.filter = Some(Box::new(Expr::IsNotNull(Box::new(by.clone()))));
    Expr::Function(first)
}

/// `ANY_VALUE(x HAVING MAX y)`.
pub(super) fn bounded(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let bound = list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::Having(HavingBound(kind, by)) => Some((kind, by)),
        _ => None,
    });
    let (kind, by) = bound?;
    match arguments(function).as_slice() {
        [value] => Some(first_by(value, by, *kind == HavingBoundKind::Min)),
        _ => None,
    }
}

/// PERCENTILE_CONT and PERCENTILE_DISC look at whole partitions.
pub(super) fn check_percentile(function: &Function, name: &str) -> Result<(), SqlError> {
    let label = name.to_uppercase();
    let Some(over) = &function.over else {
        return Err(SqlError::unsupported(format!("{label} without OVER is not supported"))
            .hint("APPROX_QUANTILES(x, 100)[OFFSET(95)] is the 95th percentile of a group"));
    };
    if let WindowType::WindowSpec(spec) = over
        && (!spec.order_by.is_empty() || spec.window_frame.is_some())
    {
        return Err(SqlError::invalid(format!("{label} takes no ORDER BY and no frame in OVER")));
    }
    let respects = |clause: &FunctionArgumentClause| {
        matches!(clause, FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::RespectNulls))
    };
    match &function.args {
        FunctionArguments::List(list) if list.clauses.iter().any(respects) => {
            Err(SqlError::unsupported(format!("{label} RESPECT NULLS is not supported")))
        }
        _ => Ok(()),
    }
}
