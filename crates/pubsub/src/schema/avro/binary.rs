//! Avro's binary encoding (<https://avro.apache.org/docs/1.11.1/specification/#binary-encoding>).

use super::{AvroSchema, DEPTH_MAX, Shape, Type, VALUES_MAX};

pub(super) fn check(schema: &AvroSchema, data: &[u8]) -> Result<(), String> {
    let mut reader = Reader { schema, data, at: 0, values: 0 };
    reader.value(&schema.root, 0)?;
    match data.len() - reader.at {
        0 => Ok(()),
        more => Err(format!("byte {}: there are {more} bytes too many", reader.at)),
    }
}

struct Reader<'a> {
    schema: &'a AvroSchema,
    data: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, of: &Type, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(format!("the data are nested deeper than {DEPTH_MAX}")));
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(self.wrong(format!("there are more than {VALUES_MAX} values")));
        }
        match of {
            Type::Null => Ok(()),
            Type::Boolean => match self.take(1)? {
                [0 | 1] => Ok(()),
                _ => Err(self.wrong("a boolean is 0 or 1")),
            },
            Type::Int => {
                let number = self.long()?;
                i32::try_from(number).map(|_| ()).map_err(|_| self.wrong(format!("{number} is no int")))
            }
            Type::Long => self.long().map(|_| ()),
            Type::Float => self.take(4).map(|_| ()),
            Type::Double => self.take(8).map(|_| ()),
            Type::Bytes => self.bytes().map(|_| ()),
            Type::String => self.string(),
            Type::Array(items) => self.blocks(|reader| reader.value(items, depth + 1)),
            Type::Map(values) => self.blocks(|reader| {
                reader.string()?;
                reader.value(values, depth + 1)
            }),
            Type::Union(union) => {
                let index = self.long()?;
                let branch = usize::try_from(index).ok().and_then(|index| union.branches.get(index));
                let branch =
                    branch.ok_or_else(|| self.wrong(format!("{index} is no branch of the union")))?;
                self.value(branch, depth + 1)
            }
            Type::Named(index) => self.named(*index, depth),
        }
    }

    fn named(&mut self, index: usize, depth: usize) -> Result<(), String> {
        let schema = self.schema;
        let Some(named) = schema.named.get(index) else { return Err(self.wrong("a type is missing")) };
        match &named.shape {
            Shape::Record(fields) => fields.iter().try_for_each(|(_, of)| self.value(of, depth + 1)),
            Shape::Enum(symbols) => {
                let index = self.long()?;
                match usize::try_from(index).is_ok_and(|index| index < symbols.len()) {
                    true => Ok(()),
                    false => Err(self.wrong(format!("{index} is no symbol of {}", named.name))),
                }
            }
            Shape::Fixed(size) => self.take(*size).map(|_| ()),
        }
    }

    /// Blocks of items, each with their number, until an empty one. A number below 0 has the block's size in
    /// bytes behind it.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.length()?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(|_| ()).map_err(|_| self.wrong("a string is not UTF-8"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.length()?;
        self.take(length)
    }

    fn length(&mut self) -> Result<usize, String> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| self.wrong(format!("a length is below 0: {length}")))
    }

    /// A number in zigzag, seven bits a byte.
    fn long(&mut self) -> Result<i64, String> {
        let mut bits = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.take(1)? else { return Err(self.wrong("the data end early")) };
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            bits |= part << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(self.wrong("a number has too many bytes"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.data.len());
        let end = end.ok_or_else(|| self.wrong("the data end early"))?;
        let bytes = &self.data[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn wrong(&self, what: impl Into<String>) -> String {
        format!("byte {}: {}", self.at, what.into())
    }
}
