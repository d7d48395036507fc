//! The values behind `$1`, `$2`, ...: which types a statement wants, and what a client bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_pg::datatypes::df::deserialize_parameters;
use arrow_pg::datatypes::{PG_OID_ALIAS_KEY, into_pg_type, pg_type_for_alias_kind};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, Result as PlanResult, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use pgwire::api::Type;
use pgwire::api::portal::Portal;
use pgwire::api::stmt::StoredStatement;
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};

use crate::errors::{error, state, to_info, user};

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter {
    /// What the plan makes of it; `None`: whatever it is.
    pub(crate) plan_type: Option<DataType>,
    /// What the client is told, unless it said a type itself.
    pub(crate) wire_type: Type,
}

/// The parameters of a plan, `$1` first. A number that the plan leaves out is a text that nobody reads.
///
/// # Errors
/// Names that are no numbers, and types that Postgres has nothing for.
pub(crate) fn parameters_of(plan: &LogicalPlan) -> Result<Vec<Parameter>, ErrorInfo> {
    let internal = |failure: datafusion::error::DataFusionError| {
        error(state::INTERNAL, failure.strip_backtrace().lines().next().unwrap_or_default())
    };
    let mut found: BTreeMap<usize, Parameter> = BTreeMap::new();
    for (name, plan_type) in plan.get_parameter_types().map_err(internal)? {
        found.insert(number(&name)?, parameter(plan_type)?);
    }
    let told = told_types(plan).map_err(internal)?;
    for (name, field) in told {
        let known = found.entry(number(&name)?).or_insert(parameter(None)?);
        if known.plan_type.is_none() {
            *known = parameter(Some(field.data_type().clone()))?;
        }
        // A column of object ids takes them as clients write them.
        if let Some(alias) = field.metadata().get(PG_OID_ALIAS_KEY)
            && field.data_type() == &DataType::Int32
        {
            known.wire_type = pg_type_for_alias_kind(alias).unwrap_or(Type::OID);
        }
    }
    let count = found.keys().next_back().map_or(0, |last| last + 1);
    (0..count).map(|index| found.remove(&index).map_or_else(|| parameter(None), Ok)).collect()
}

/// The place of `$3`, counted from 0.
fn number(name: &str) -> Result<usize, ErrorInfo> {
    const PARAMETERS_MAX: usize = 65_535;
    let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
    match number {
        Some(number) if (1..=PARAMETERS_MAX).contains(&number) => Ok(number - 1),
        _ => Err(error("42P02", format!("there is no parameter {name}"))),
    }
}

fn parameter(plan_type: Option<DataType>) -> Result<Parameter, ErrorInfo> {
    let plan_type = plan_type.filter(|plan_type| *plan_type != DataType::Null);
    let wire_type = match &plan_type {
        Some(plan_type) => into_pg_type(plan_type).map_err(to_info)?,
        None => Type::TEXT,
    };
    Ok(Parameter { plan_type, wire_type })
}

/// The types that a plan itself tells: casts of a parameter, columns that one is compared with, numbers of rows.
fn told_types(plan: &LogicalPlan) -> PlanResult<Vec<(String, Field)>> {
    let mut told = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for count in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(placeholder) = count.as_ref() {
                    told.push((placeholder.id.clone(), Field::new("", DataType::Int64, true)));
                }
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Cast(cast) => {
                        if let Expr::Placeholder(placeholder) = cast.expr.as_ref() {
                            told.push((placeholder.id.clone(), cast.field.as_ref().clone()));
                        }
                    }
                    Expr::Placeholder(placeholder) => {
                        if let Some(field) = &placeholder.field {
                            told.push((placeholder.id.clone(), field.as_ref().clone()));
                        }
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(told)
}

/// What a client bound, as the plan takes it.
///
/// # Errors
/// Values that are not of their type, or that the plan's type has no place for.
pub(crate) fn bound<S: Clone>(portal: &Portal<S>, wanted: &[Parameter]) -> PgWireResult<ParamValues> {
    let declared = &portal.statement.parameter_types;
    let values = wanted.iter().enumerate().map(|(index, parameter)| {
        let wire_type = declared.get(index).cloned().flatten();
        let wire_type = wire_type.filter(|declared| *declared != Type::UNKNOWN);
        let value = value(portal, index, wire_type.as_ref().unwrap_or(&parameter.wire_type))?;
        fitted(value, parameter, index)
    });
    let values = values.collect::<PgWireResult<Vec<ScalarValue>>>()?;
    Ok(ParamValues::from(values))
}

/// One value by its type on the wire.
fn value<S: Clone>(portal: &Portal<S>, index: usize, wire_type: &Type) -> PgWireResult<ScalarValue> {
    let raw = portal.parameters.get(index).ok_or(PgWireError::ParameterIndexOutOfBound(index))?;
    let Some(raw) = raw else { return Ok(ScalarValue::Null) };
    if !is_known(wire_type) {
        // Types without a meaning here, as text: what else a binary value might be is not guessed.
        return match portal.parameter_format.is_text(index) {
            true => text(raw),
            false => {
                let message = format!("parameter ${} has the unsupported type {wire_type}", index + 1);
                Err(user(error(state::FEATURE_NOT_SUPPORTED, message)))
            }
        };
    }
    // The library's reader takes a portal; one at a time, because it leaves out values that are NULL.
    let statement = StoredStatement::new(String::new(), (), vec![Some(wire_type.clone())]);
    let mut single = Portal::new_cursor(String::new(), Arc::new(statement));
    single.parameters = vec![Some(raw.clone())];
    single.parameter_format = match portal.parameter_format.is_binary(index) {
        true => pgwire::api::portal::Format::UnifiedBinary,
        false => pgwire::api::portal::Format::UnifiedText,
    };
    let ParamValues::List(mut values) = deserialize_parameters(&single, &[None])? else {
        return Err(user(error(state::INTERNAL, "parameters have names")));
    };
    let value = values.pop().map_or(ScalarValue::Null, |value| value.value);
    Ok(match value {
        // The reader forgets that the moment is one in UTC.
        ScalarValue::TimestampMicrosecond(micros, None) if *wire_type == Type::TIMESTAMPTZ => {
            ScalarValue::TimestampMicrosecond(micros, Some(Arc::from("UTC")))
        }
        // Of 0.001 it counts one digit.
        ScalarValue::Decimal128(digits, precision, scale) => {
            ScalarValue::Decimal128(digits, precision.max(scale.unsigned_abs()), scale)
        }
        other => other,
    })
}

/// Whether values of a type are read as what they are, and not as texts.
pub(crate) fn is_known(wire_type: &Type) -> bool {
    let known = [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::TEXT,
        Type::VARCHAR,
        Type::BYTEA,
        Type::DATE,
        Type::TIME,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::INTERVAL,
        Type::OID,
        Type::BOOL_ARRAY,
        Type::INT2_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::FLOAT4_ARRAY,
        Type::FLOAT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::VARCHAR_ARRAY,
    ];
    known.contains(wire_type)
}

fn text(raw: &[u8]) -> PgWireResult<ScalarValue> {
    let text =
        std::str::from_utf8(raw).map_err(|failure| PgWireError::FailedToParseParameter(failure.into()))?;
    Ok(ScalarValue::Utf8(Some(text.to_owned())))
}

/// A value as the plan's type. Texts are read, numbers and times converted; nothing else is.
fn fitted(value: ScalarValue, parameter: &Parameter, index: usize) -> PgWireResult<ScalarValue> {
    let Some(wanted) = &parameter.plan_type else { return Ok(value) };
    let given = value.data_type();
    if given == *wanted {
        return Ok(value);
    }
    let convertible = given.is_null()
        || is_text(&given)
        || (given.is_numeric() && wanted.is_numeric())
        || (is_time(&given) && is_time(wanted))
        || (is_text(wanted) && given == DataType::Boolean)
        || (is_list(&given) && is_list(wanted));
    if !convertible {
        let message = format!(
            "parameter ${} is of type {}, the statement takes {}",
            index + 1,
            into_pg_type(&given).map_or_else(|_| given.to_string(), |name| name.to_string()),
            parameter.wire_type
        );
        return Err(user(error("42804", message)));
    }
    value.cast_to(wanted).map_err(|_| {
        let message = format!("the value of parameter ${} is no {}", index + 1, parameter.wire_type);
        user(error(if given.is_numeric() { "22003" } else { "22P02" }, message))
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}
