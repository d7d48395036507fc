//! Casts, and arrays and structs whose types are written out.

use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, DataType as SqlType, Expr, Ident, StructField, Value,
};

use super::calls::call;
use super::plain;
use crate::error::SqlError;

/// The cast as a call of our own function, named after the target type.
pub(super) fn cast(expr: Expr, target: &SqlType, safe: bool) -> Result<Expr, SqlError> {
    if let SqlType::Array(ArrayElemTypeDef::AngleBracket(element)) = target {
        return typed_array(expr, element, safe);
    }
    if let (SqlType::Struct(fields, _), Expr::Struct { values, .. }) = (target, &expr) {
        return typed_struct(values.clone(), fields, safe);
    }
    if let (SqlType::JSON, Expr::Value(value)) = (target, &expr)
        && value.value == Value::Null
    {
        return typed_null(target);
    }
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

/// `ARRAY<type>[...]`, and NULL as an array.
fn typed_array(expr: Expr, element: &SqlType, safe: bool) -> Result<Expr, SqlError> {
    let array = |elem| Expr::Array(Array { elem, named: true });
    let null = || typed_null(element).map(|null| array(vec![null]));
    match expr {
        Expr::Array(Array { elem, .. }) if elem.is_empty() => Ok(call("#emptied", vec![null()?])),
        Expr::Array(Array { elem, .. }) => {
            let elements = elem.into_iter().map(|value| typed(value, element, safe));
            Ok(array(elements.collect::<Result<_, _>>()?))
        }
        Expr::Value(value) if value.value == Value::Null => Ok(call("#no_array", vec![null()?])),
        _ => Err(SqlError::unsupported("CAST of an array is not supported")
            .hint("write ARRAY(SELECT CAST(x AS type) FROM UNNEST(array) AS x)")),
    }
}

fn typed(value: Expr, target: &SqlType, safe: bool) -> Result<Expr, SqlError> {
    match (value, target) {
        (Expr::Struct { values, .. }, SqlType::Struct(fields, _)) => typed_struct(values, fields, safe),
        (Expr::Value(value), SqlType::Struct(..)) if value.value == Value::Null => typed_null(target),
        (value, target) => cast(value, target, safe),
    }
}

fn typed_null(target: &SqlType) -> Result<Expr, SqlError> {
    let null = || Expr::Value(Value::Null.into());
    match target {
        SqlType::Struct(fields, _) => typed_struct(fields.iter().map(|_| null()).collect(), fields, false),
        SqlType::JSON => Ok(call("parse_json", vec![null()])),
        other => cast(null(), other, false),
    }
}

/// `STRUCT<name type, ...>(value, ...)`.
pub(super) fn typed_struct(values: Vec<Expr>, fields: &[StructField], safe: bool) -> Result<Expr, SqlError> {
    if values.len() != fields.len() {
        return Err(SqlError::invalid(format!(
            "a STRUCT of {} fields from {} values",
            fields.len(),
            values.len()
        )));
    }
    let values = values.into_iter().zip(fields).map(|(value, field)| {
        let value = match value {
            Expr::Named { expr, .. } => *expr,
            value => value,
        };
        let value = typed(value, &field.field_type, safe)?;
        Ok(match &field.field_name {
            Some(name) => Expr::Named { expr: Box::new(value), name: plain(&name.value) },
            None => value,
        })
    });
    Ok(Expr::Struct { values: values.collect::<Result<_, SqlError>>()?, fields: Vec::new() })
}

/// The fields of a STRUCT, with the names of the columns that they are, where no two are alike.
pub(super) fn named(values: Vec<Expr>) -> Vec<Expr> {
    let names: Vec<_> = values.iter().map(field_name).collect();
    let count = |name: &Ident| {
        names.iter().flatten().filter(|other| other.value.eq_ignore_ascii_case(&name.value)).count()
    };
    let pairs = values.into_iter().zip(names.iter());
    pairs
        .map(|(value, name)| match (value, name) {
            (value @ Expr::Named { .. }, _) => value,
            (value, Some(name)) if count(name) == 1 => {
                Expr::Named { expr: Box::new(value), name: name.clone() }
            }
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

/// The elements of an array: structs have the field names of the first one.
pub(super) fn alike(elements: Vec<Expr>) -> Vec<Expr> {
    let names: Vec<_> = match elements.first() {
        Some(Expr::Struct { values, .. }) => values.iter().map(field_name).collect(),
        _ => return elements,
    };
    let renamed = |element| match element {
        Expr::Struct { values, fields } if values.len() == names.len() => {
            let values = values.into_iter().zip(&names).map(|(value, name)| {
                let value = match value {
                    Expr::Named { expr, .. } => *expr,
                    value => value,
                };
                match name {
                    Some(name) => Expr::Named { expr: Box::new(value), name: name.clone() },
                    None => value,
                }
            });
            Expr::Struct { values: values.collect(), fields }
        }
        other => other,
    };
    elements.into_iter().map(renamed).collect()
}
