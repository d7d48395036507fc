//! Values made after a schema.

use serde_json::{Map, Value, json};

use super::{AvroSchema, Shape, Type};

/// Most values of one; a schema may ask for more than there is room for.
const VALUES_MAX: usize = 1_000;
/// Deepest nesting: serde_json reads 127 levels, and a branch of a union may take one of its own.
const DEPTH_MAX: usize = 50;
const FIXED_BYTES_MAX: usize = 1_000;

/// A value in Avro's binary encoding and in its JSON, chosen by `choices`. None when the schema has no value
/// that is small enough.
pub(in crate::schema) fn value_of(schema: &AvroSchema, choices: &[u8]) -> Option<(Vec<u8>, Value)> {
    let mut maker = Maker { schema, choices: choices.iter(), binary: Vec::new(), values: 0 };
    let json = maker.value(&schema.root, 0)?;
    Some((maker.binary, json))
}

struct Maker<'a> {
    schema: &'a AvroSchema,
    choices: std::slice::Iter<'a, u8>,
    binary: Vec<u8>,
    values: usize,
}

impl<'a> Maker<'a> {
    /// The next choice; 0 behind the last, which is the smallest value.
    fn choice(&mut self) -> u8 {
        self.choices.next().copied().unwrap_or(0)
    }

    fn value(&mut self, of: &'a Type, depth: usize) -> Option<Value> {
        self.values += 1;
        if self.values > VALUES_MAX || depth > DEPTH_MAX {
            return None;
        }
        Some(match of {
            Type::Null => Value::Null,
            Type::Boolean => {
                let value = self.choice() % 2;
                self.binary.push(value);
                json!(value == 1)
            }
            Type::Int => {
                let number = i32::from_le_bytes(std::array::from_fn(|_| self.choice()));
                self.long(number.into());
                json!(number)
            }
            Type::Long => {
                let number = i64::from_le_bytes(std::array::from_fn(|_| self.choice()));
                self.long(number);
                json!(number)
            }
            Type::Float => {
                let number = f32::from(self.choice()) / 3.0;
                self.binary.extend(number.to_le_bytes());
                json!(number)
            }
            Type::Double => {
                let number = f64::from(self.choice()) / 3.0;
                self.binary.extend(number.to_le_bytes());
                json!(number)
            }
            Type::Bytes => {
                let length = usize::from(self.choice() % 4);
                self.long(length.try_into().ok()?);
                self.raw(length)
            }
            Type::String => json!(self.text()?),
            Type::Array(items) => {
                let length = self.choice() % 4;
                let mut array = Vec::new();
                for _ in 0..length {
                    self.long(1);
                    array.push(self.value(items, depth + 1)?);
                }
                self.long(0);
                Value::Array(array)
            }
            Type::Map(values) => {
                let length = self.choice() % 4;
                let mut map = Map::new();
                for _ in 0..length {
                    self.long(1);
                    let key = self.text()?;
                    let value = self.value(values, depth + 1)?;
                    map.insert(key, value);
                }
                self.long(0);
                Value::Object(map)
            }
            Type::Union(union) => {
                let index = usize::from(self.choice()) % union.branches.len().max(1);
                let branch = union.branches.get(index)?;
                self.long(index.try_into().ok()?);
                let inner = self.value(branch, depth + 1)?;
                match branch {
                    Type::Null => inner,
                    branch => json!({ self.schema.name_of(branch): inner }),
                }
            }
            Type::Named(index) => self.named(*index, depth)?,
        })
    }

    fn named(&mut self, index: usize, depth: usize) -> Option<Value> {
        let named = self.schema.named.get(index)?;
        Some(match &named.shape {
            Shape::Record(fields) => {
                let mut object = Map::new();
                for (name, of) in fields {
                    let value = self.value(of, depth + 1)?;
                    object.insert(name.clone(), value);
                }
                Value::Object(object)
            }
            Shape::Enum(symbols) => {
                let index = usize::from(self.choice()) % symbols.len().max(1);
                self.long(index.try_into().ok()?);
                json!(symbols.iter().nth(index)?)
            }
            Shape::Fixed(size) if *size > FIXED_BYTES_MAX => return None,
            Shape::Fixed(size) => self.raw(*size),
        })
    }

    /// Bytes, in JSON a character each.
    fn raw(&mut self, length: usize) -> Value {
        let bytes: Vec<u8> = (0..length).map(|_| self.choice()).collect();
        self.binary.extend(&bytes);
        json!(bytes.into_iter().map(char::from).collect::<String>())
    }

    fn text(&mut self) -> Option<String> {
        let length = self.choice() % 4;
        let text: String = (0..length).map(|_| char::from(self.choice())).collect();
        self.long(text.len().try_into().ok()?);
        self.binary.extend(text.as_bytes());
        Some(text)
    }

    fn long(&mut self, number: i64) {
        let mut bits = (number << 1 ^ number >> 63).cast_unsigned();
        while bits >= 0x80 {
            self.binary.push(bits.to_le_bytes()[0] | 0x80);
            bits >>= 7;
        }
        self.binary.push(bits.to_le_bytes()[0]);
    }
}
