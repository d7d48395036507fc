//! Avro's JSON encoding (<https://avro.apache.org/docs/1.11.1/specification/#json-encoding>).

use serde_json::{Map, Value};

use super::{AvroSchema, DEPTH_MAX, Shape, Type, Union};

pub(super) fn check(schema: &AvroSchema, data: &[u8]) -> Result<(), String> {
    let json: Value =
        serde_json::from_slice(data).map_err(|error| format!("the data are no JSON: {error}"))?;
    let mut path = String::from("$");
    value(schema, &schema.root, &json, &mut path, 0)
}

/// What a JSON value is, with its article.
pub(super) fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn value(
    schema: &AvroSchema,
    of: &Type,
    json: &Value,
    path: &mut String,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("the data are nested deeper than {DEPTH_MAX}"));
    }
    let fits = match (of, json) {
        (Type::Null, Value::Null)
        | (Type::Boolean, Value::Bool(_))
        | (Type::Float | Type::Double, Value::Number(_))
        | (Type::String, Value::String(_)) => true,
        (Type::Int, Value::Number(number)) => {
            number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
        }
        (Type::Long, Value::Number(number)) => number.is_i64(),
        (Type::Bytes, Value::String(text)) => bytes_in(text).is_some(),
        (Type::Array(items), Value::Array(all)) => {
            return all.iter().enumerate().try_for_each(|(index, item)| {
                inside(schema, items, item, path, depth, &format!("[{index}]"))
            });
        }
        (Type::Map(values), Value::Object(all)) => {
            return all
                .iter()
                .try_for_each(|(key, item)| inside(schema, values, item, path, depth, &format!(".{key}")));
        }
        (Type::Union(of), json) => return union(schema, of, json, path, depth),
        (Type::Named(index), json) => return named(schema, *index, json, path, depth),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(format!("{path}: {} is no {}", kind(json), schema.name_of(of)))
}

fn inside(
    schema: &AvroSchema,
    of: &Type,
    json: &Value,
    path: &mut String,
    depth: usize,
    step: &str,
) -> Result<(), String> {
    let length = path.len();
    path.push_str(step);
    value(schema, of, json, path, depth + 1)?;
    path.truncate(length);
    Ok(())
}

/// null stands for itself, anything else is an object of one field: the branch's name.
fn union(
    schema: &AvroSchema,
    of: &Union,
    json: &Value,
    path: &mut String,
    depth: usize,
) -> Result<(), String> {
    if json.is_null() && of.by_name.contains_key("null") {
        return Ok(());
    }
    let tagged = json.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
    let Some((name, inner)) = tagged else {
        return Err(format!(
            "{path}: {} is no branch of the union: it is null or an object like {{\"string\": ...}}",
            kind(json)
        ));
    };
    let branch = of.by_name.get(name).and_then(|place| of.branches.get(*place));
    let branch = branch.filter(|branch| **branch != Type::Null);
    let branch = branch.ok_or_else(|| format!("{path}: {name:?} is no branch of the union"))?;
    inside(schema, branch, inner, path, depth, &format!(".{name}"))
}

fn named(
    schema: &AvroSchema,
    index: usize,
    json: &Value,
    path: &mut String,
    depth: usize,
) -> Result<(), String> {
    let Some(named) = schema.named.get(index) else { return Err(format!("{path}: a type is missing")) };
    match (&named.shape, json) {
        (Shape::Record(fields), Value::Object(object)) => record(schema, fields, object, path, depth),
        (Shape::Enum(symbols), Value::String(text)) => match symbols.contains(text) {
            true => Ok(()),
            false => Err(format!("{path}: {text:?} is no symbol of {}", named.name)),
        },
        (Shape::Fixed(size), Value::String(text)) => match bytes_in(text) == Some(*size) {
            true => Ok(()),
            false => {
                Err(format!("{path}: {} has {size} bytes, written as characters up to U+00FF", named.name))
            }
        },
        _ => Err(format!("{path}: {} is no {}", kind(json), named.name)),
    }
}

fn record(
    schema: &AvroSchema,
    fields: &[(String, Type)],
    object: &Map<String, Value>,
    path: &mut String,
    depth: usize,
) -> Result<(), String> {
    for (name, of) in fields {
        let json = object.get(name).ok_or_else(|| format!("{path}: the field {name} is missing"))?;
        inside(schema, of, json, path, depth, &format!(".{name}"))?;
    }
    // All fields are there, so there is another only when there are more.
    if object.len() == fields.len() {
        return Ok(());
    }
    match object.keys().find(|key| fields.iter().all(|(name, _)| name != *key)) {
        Some(extra) => Err(format!("{path}: there is no field {extra}")),
        None => Ok(()),
    }
}

/// How many bytes a text stands for, when each of its characters is one.
fn bytes_in(text: &str) -> Option<usize> {
    text.chars().all(|letter| u32::from(letter) <= 0xff).then(|| text.chars().count())
}
