//! Reading definitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::json::kind;
use super::{AvroSchema, Named, Shape, Type, Union, name_of};

pub(super) fn parse(definition: &str) -> Result<AvroSchema, String> {
    // serde_json takes no text that is nested deeper than 128, so this cannot run out of stack.
    let json: Value =
        serde_json::from_str(definition).map_err(|error| format!("the definition is no JSON: {error}"))?;
    let mut parser = Parser { named: Vec::new(), by_name: HashMap::new() };
    let root = parser.schema(&json, "")?;
    Ok(AvroSchema { root, named: parser.named })
}

struct Parser {
    named: Vec<Named>,
    by_name: HashMap<String, usize>,
}

impl Parser {
    fn schema(&mut self, json: &Value, namespace: &str) -> Result<Type, String> {
        match json {
            Value::String(name) => self.reference(name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(object) => self.object(object, namespace),
            other => Err(format!("{} is no schema", kind(other))),
        }
    }

    fn reference(&self, name: &str, namespace: &str) -> Result<Type, String> {
        if let Some(primitive) = primitive(name) {
            return Ok(primitive);
        }
        let whole = if name.contains('.') { name.to_owned() } else { joined(namespace, name) };
        let found = self.by_name.get(&whole).or_else(|| self.by_name.get(name));
        found.map(|index| Type::Named(*index)).ok_or_else(|| format!("there is no type {name:?}"))
    }

    fn union(&mut self, branches: &[Value], namespace: &str) -> Result<Type, String> {
        let mut union = Union { branches: Vec::with_capacity(branches.len()), by_name: BTreeMap::new() };
        for branch in branches {
            let branch = self.schema(branch, namespace)?;
            if matches!(branch, Type::Union(_)) {
                return Err("there is a union in a union".to_owned());
            }
            let name = name_of(&self.named, &branch).to_owned();
            if union.by_name.contains_key(&name) {
                return Err(format!("{name} is in a union twice"));
            }
            union.by_name.insert(name, union.branches.len());
            union.branches.push(branch);
        }
        Ok(Type::Union(union))
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Type, String> {
        let what = object.get("type").ok_or("a schema has no \"type\"")?;
        let Value::String(what) = what else { return self.schema(what, namespace) };
        match what.as_str() {
            "record" | "error" => self.record(object, namespace),
            "enum" => {
                let symbols = strings(object, "symbols")?;
                self.define(object, namespace, Shape::Enum(symbols)).map(|(index, _)| Type::Named(index))
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("a fixed needs a \"size\", a number of bytes")?;
                self.define(object, namespace, Shape::Fixed(size)).map(|(index, _)| Type::Named(index))
            }
            "array" => {
                let items = object.get("items").ok_or("an array has no \"items\"")?;
                Ok(Type::Array(Box::new(self.schema(items, namespace)?)))
            }
            "map" => {
                let values = object.get("values").ok_or("a map has no \"values\"")?;
                Ok(Type::Map(Box::new(self.schema(values, namespace)?)))
            }
            other => self.reference(other, namespace),
        }
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Type, String> {
        // Known by its name before its fields are read: they may be of it.
        let (index, own_namespace) = self.define(object, namespace, Shape::Record(Vec::new()))?;
        let fields = object.get("fields").and_then(Value::as_array).ok_or("a record has no \"fields\"")?;
        let (mut read, mut names) = (Vec::with_capacity(fields.len()), BTreeSet::new());
        for field in fields {
            let name = field.get("name").and_then(Value::as_str).ok_or("a field has no \"name\"")?;
            check_name(name)?;
            if !names.insert(name) {
                return Err(format!("the field {name} is there twice"));
            }
            let of = field.get("type").ok_or_else(|| format!("the field {name} has no \"type\""))?;
            let of = self.schema(of, &own_namespace).map_err(|error| format!("{name}: {error}"))?;
            read.push((name.to_owned(), of));
        }
        if let Some(named) = self.named.get_mut(index) {
            named.shape = Shape::Record(read);
        }
        Ok(Type::Named(index))
    }

    /// Gives a named type its place; answers also the namespace of what is inside it.
    fn define(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        shape: Shape,
    ) -> Result<(usize, String), String> {
        let name = object.get("name").and_then(Value::as_str).ok_or("a named type has no \"name\"")?;
        let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let whole = if name.contains('.') { name.to_owned() } else { joined(own, name) };
        whole.split('.').try_for_each(check_name)?;
        if primitive(&whole).is_some() || self.by_name.contains_key(&whole) {
            return Err(format!("{whole} is defined twice"));
        }
        let index = self.named.len();
        self.by_name.insert(whole.clone(), index);
        let inside = whole.rsplit_once('.').map_or("", |(inside, _)| inside).to_owned();
        self.named.push(Named { name: whole, shape });
        Ok((index, inside))
    }
}

fn joined(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::String,
        _ => return None,
    })
}

fn check_name(name: &str) -> Result<(), String> {
    let good = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    match !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(good)
    {
        true => Ok(()),
        false => Err(format!("{name:?} is no name: letters, digits and _, and no digit first")),
    }
}

fn strings(object: &Map<String, Value>, field: &str) -> Result<BTreeSet<String>, String> {
    let wrong = || format!("an enum needs {field:?}, an array of strings");
    let values = object.get(field).and_then(Value::as_array).ok_or_else(wrong)?;
    let mut strings = BTreeSet::new();
    for value in values {
        let text = value.as_str().ok_or_else(wrong)?;
        check_name(text)?;
        if !strings.insert(text.to_owned()) {
            return Err(format!("the symbol {text} is there twice"));
        }
    }
    Ok(strings)
}
