//! Calls: SAFE., named arguments, date parts, and GoogleSQL functions that are other expressions.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, ObjectName, ObjectNamePart, Value,
    helpers::attached_token::AttachedToken,
};

use super::aggregates::{
    bounded, by, check_percentile, concatenated, countif, limited, refuse_clauses, take_limit, with_delimiter,
};
use super::contents::Contents;
use super::expr::as_interval;
use super::literal::{string, string_value};
use super::plain;
use crate::error::SqlError;
use crate::functions::{Known, known, nearest_function};

/// A call of one of our functions; `#` in a name keeps it out of a query's reach.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args =
        arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(plain(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The arguments that are plain expressions.
pub(super) fn arguments(function: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    list.args
        .iter()
        .filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

/// Rewrites a call whose arguments are done.
pub(super) fn rewrite_call(mut function: Function, now_micros: i64) -> Result<Expr, SqlError> {
    let written = function.name.to_string();
    if written.starts_with('#') || written.contains('#') {
        return Ok(Expr::Function(function));
    }
    let path: Vec<_> = function
        .name
        .0
        .iter()
        .filter_map(|part| part.as_ident())
        .map(|ident| ident.value.to_lowercase())
        .collect();
    let (safe, name) = match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [name] => (false, (*name).to_owned()),
        ["safe", name] => (true, (*name).to_owned()),
        _ => return Err(unknown(&written)),
    };
    refuse_clauses(&function, &name)?;
    if matches!(
        name.as_str(),
        "offset" | "ordinal" | "safe_offset" | "safe_ordinal" | "week" | "all" | "some"
    ) {
        // Only inside [...], as a date part, or behind LIKE: what is around takes it apart.
        return Ok(Expr::Function(function));
    }
    positional(&mut function, &name)?;
    if let Some(limit) = take_limit(&mut function, &name)? {
        return limited(function, &name, limit, now_micros);
    }
    if let Some(rewritten) = special(&name, safe, &function, now_micros)? {
        return Ok(rewritten);
    }
    let name = canonical(&name);
    match (known(name), safe) {
        (None, _) => Err(unknown(&written)),
        (Some(Known::Scalar), true) => {
            function.name = ObjectName(vec![ObjectNamePart::Identifier(plain(&format!("safe.{name}")))]);
            Ok(Expr::Function(function))
        }
        (Some(Known::Aggregate | Known::Window), true) => Err(SqlError::invalid(format!(
            "SAFE. does not go before {}: it is no scalar function",
            written.to_uppercase()
        ))),
        (Some(kind), false) => {
            if kind == Known::Scalar && function.over.is_some() {
                return Err(SqlError::invalid(format!("{} takes no OVER clause", name.to_uppercase())));
            }
            function.name = ObjectName(vec![ObjectNamePart::Identifier(plain(name))]);
            Ok(Expr::Function(function))
        }
    }
}

fn unknown(written: &str) -> SqlError {
    let name = written.rsplit('.').next().unwrap_or(written).trim_matches('`');
    SqlError::unsupported(format!("function {} is not supported", written.to_uppercase())).maybe_hint(
        nearest_function(name)
            .map(|near| format!("the nearest supported function is {}", near.to_uppercase())),
    )
}

/// Other spellings of one function.
pub(super) fn canonical(name: &str) -> &str {
    match name {
        "ceiling" => "ceil",
        "power" => "pow",
        "substring" => "substr",
        "character_length" | "char_length" => "length",
        "stddev_samp" => "stddev",
        "var_samp" => "variance",
        other => other,
    }
}

/// Named arguments put in their places.
fn positional(function: &mut Function, name: &str) -> Result<(), SqlError> {
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let mut placed = Vec::with_capacity(list.args.len());
    for argument in std::mem::take(&mut list.args) {
        let (parameter, value) = match argument {
            FunctionArg::Unnamed(_) => {
                placed.push(argument);
                continue;
            }
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                (name.value.to_lowercase(), value)
            }
            other => return Err(SqlError::invalid(format!("argument {other} is not a value"))),
        };
        let unnamed = |value| FunctionArg::Unnamed(FunctionArgExpr::Expr(value));
        match (name, parameter.as_str()) {
            ("parse_json" | "float64", "wide_number_mode")
            | ("to_json_string", "pretty_print")
            | ("contains_substr", "json_scope")
            | ("json_keys", "max_depth") => {}
            ("json_keys", "mode") => {
                let all = Expr::Value(Value::Number(i64::MAX.to_string(), false).into());
                placed.extend((placed.len() == 1).then(|| unnamed(all)));
            }
            _ => {
                return Err(SqlError::unsupported(format!(
                    "{}: argument {parameter} is not supported",
                    name.to_uppercase()
                )));
            }
        }
        placed.push(unnamed(value));
    }
    list.args = placed;
    Ok(())
}

/// Functions that are another expression here, or whose arguments are not values.
fn special(name: &str, safe: bool, function: &Function, now_micros: i64) -> Result<Option<Expr>, SqlError> {
    let safely = |name: &str| if safe { format!("safe.{name}") } else { name.to_owned() };
    let arguments = arguments(function);
    Ok(Some(match (name, arguments.as_slice()) {
        ("if", [condition, yes, no]) => case(condition, yes, Some(no)),
        ("ifnull", [value, other]) => call("coalesce", vec![value.clone(), other.clone()]),
        ("if" | "ifnull", given) => return Err(wrong_count(name, given.len())),
        ("countif", [condition]) => countif(function, condition),
        ("max_by" | "min_by", [value, other]) => by(name, function, value, other)?,
        ("any_value", _) => match bounded(function) {
            Some(bounded) => bounded,
            None => return Ok(None),
        },
        ("array_concat_agg", _) => concatenated(function)?,
        ("percentile_cont" | "percentile_disc", _) => {
            check_percentile(function, name)?;
            return Ok(None);
        }
        ("json_object", []) => call("parse_json", vec![string("{}")]),
        ("json_array", []) => call("parse_json", vec![string("[]")]),
        ("generate_date_array", [first, last, step @ ..]) => {
            stepped(&safely(name), "date", &[first, last], step.first())?
        }
        ("generate_timestamp_array", [first, last, step]) => {
            stepped(&safely(name), "timestamp", &[first, last], Some(step))?
        }
        ("normalize" | "normalize_and_casefold", [value, Expr::Identifier(mode)]) => {
            call(&safely(name), vec![value.clone(), string(mode.value.to_lowercase())])
        }
        ("contains_substr", [_, wanted, ..]) if Contents::of(wanted).names_columns() => {
            return Err(SqlError::invalid("CONTAINS_SUBSTR takes a literal to search for"));
        }
        ("count", []) if matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty()) => {
            return Err(wrong_count(name, 0));
        }
        // COUNT(*): the star stands for no column, and only a planner that is not ours would read it.
        ("count", []) => {
            let mut counted = function.clone();
            if let FunctionArguments::List(list) = &mut counted.args {
                let one = Expr::Value(Value::Number("1".to_owned(), false).into());
                list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(one))];
            }
            Expr::Function(counted)
        }
        (
            "date_add" | "date_sub" | "timestamp_add" | "timestamp_sub" | "datetime_add" | "datetime_sub",
            [base, interval],
        ) => {
            let [count, part] = as_interval(interval).ok_or_else(|| {
                SqlError::invalid(format!(
                    "{} takes INTERVAL n PART as its second argument",
                    name.to_uppercase()
                ))
            })?;
            call(&safely(name), vec![base.clone(), count, part])
        }
        ("date_trunc" | "timestamp_trunc" | "datetime_trunc", [value, part, rest @ ..]) => {
            let mut arguments = vec![value.clone(), string(date_part(part)?)];
            arguments.extend_from_slice(rest);
            call(&safely(name), arguments)
        }
        ("last_day", [value, part]) => call(&safely(name), vec![value.clone(), string(date_part(part)?)]),
        ("date_diff" | "timestamp_diff" | "datetime_diff", [later, earlier, part]) => {
            call(&safely(name), vec![later.clone(), earlier.clone(), string(date_part(part)?)])
        }
        ("current_timestamp", []) => now(now_micros),
        ("current_date" | "current_datetime", []) => {
            call(name.trim_start_matches("current_"), vec![now(now_micros), string("UTC")])
        }
        ("current_date" | "current_datetime", [zone]) => {
            call(name.trim_start_matches("current_"), vec![now(now_micros), zone.clone()])
        }
        ("string_agg", [_]) => return Ok(Some(with_delimiter(function))),
        ("rand" | "generate_uuid", []) => call(name, vec![string("")]),
        _ => return Ok(None),
    }))
}

/// The moment of the query, as a value that planning folds into a constant.
fn now(now_micros: i64) -> Expr {
    call("timestamp_micros", vec![Expr::Value(Value::Number(now_micros.to_string(), false).into())])
}

/// GENERATE_DATE_ARRAY and its kin; texts among the ends are what they are compared with.
fn stepped(name: &str, of: &str, ends: &[&Expr], step: Option<&Expr>) -> Result<Expr, SqlError> {
    let end = |expr: &&Expr| match string_value(expr) {
        Some(_) => call(&format!("cast#{of}"), vec![(*expr).clone()]),
        None => (*expr).clone(),
    };
    let one = || Expr::Value(Value::Number("1".to_owned(), false).into());
    let step = match step {
        None => [one(), string("day")],
        Some(step) => as_interval(step).ok_or_else(|| {
            SqlError::invalid(format!("{} takes INTERVAL n PART as its last argument", name.to_uppercase()))
        })?,
    };
    Ok(call(name, ends.iter().map(end).chain(step).collect()))
}

pub(super) fn wrong_count(name: &str, given: usize) -> SqlError {
    SqlError::invalid(format!("{} does not take {given} arguments", name.to_uppercase()))
}

pub(super) fn case(condition: &Expr, yes: &Expr, no: Option<&Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: condition.clone(), result: yes.clone() }],
        else_result: no.cloned().map(Box::new),
    }
}

/// The name of a date part given as an argument: `MONTH`, `WEEK(MONDAY)`.
fn date_part(expr: &Expr) -> Result<String, SqlError> {
    let part = match expr {
        Expr::Identifier(ident) => Some(ident.value.to_lowercase()),
        Expr::Function(function) => match arguments(function).as_slice() {
            [Expr::Identifier(day)] => {
                Some(format!("{}({})", function.name.to_string().to_lowercase(), day.value.to_lowercase()))
            }
            _ => None,
        },
        // WEEK(MONDAY) has lost nothing, but a part in quotes was never one.
        Expr::BinaryOp { op: BinaryOperator::Eq, .. } => None,
        other if string_value(other).is_some() => None,
        _ => None,
    };
    part.ok_or_else(|| {
        SqlError::invalid(format!("{expr} is not a date part"))
            .hint("parts are DAY, WEEK, MONTH, HOUR and so on, without quotes")
    })
}

/// The name of a date part that the parser has recognised.
pub(super) fn part_of_field(field: &DateTimeField) -> Result<String, SqlError> {
    let name = match field {
        DateTimeField::Week(Some(day)) => format!("week({})", day.value.to_lowercase()),
        DateTimeField::Custom(ident) => ident.value.to_lowercase(),
        other => other.to_string().to_lowercase(),
    };
    // Plurals are other dialects'.
    match name.as_str() {
        "years" | "months" | "weeks" | "days" | "hours" | "minutes" | "seconds" => {
            Err(SqlError::invalid(format!("{} is not a date part", name.to_uppercase()))
                .hint(format!("write {}", name.trim_end_matches('s').to_uppercase())))
        }
        _ => Ok(name),
    }
}
