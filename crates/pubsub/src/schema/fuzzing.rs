//! What holds of schemas.
#![allow(clippy::panic)]

use prost::Message as _;
use prost_reflect::DynamicMessage;

use super::Definition;
use super::avro::fuzzing::value_of;
use crate::fuzzing::refused;
use crate::proto::v1;
use crate::proto::v1::Encoding;
use crate::proto::v1::schema::Type;

/// An Avro schema, and behind a zero byte data for it: a value that is made after the schema fits it in both
/// encodings.
pub fn avro(data: &[u8]) {
    let Some((definition, data)) = parsed(Type::Avro, data) else { return };
    let Definition::Avro(schema) = &definition else { panic!("an Avro schema is something else") };
    checked(&definition, data);
    if let Some((binary, json)) = value_of(schema, data) {
        let json = json.to_string();
        assert_eq!(definition.check(&binary, Encoding::Binary), Ok(()), "{json}");
        assert_eq!(definition.check(json.as_bytes(), Encoding::Json), Ok(()), "{json}");
    }
}

/// A schema in Protocol Buffers, and behind a zero byte data for it: data that fit, written again, fit again.
pub fn protobuf(data: &[u8]) {
    let Some((definition, data)) = parsed(Type::ProtocolBuffer, data) else { return };
    let Definition::Protobuf(message) = &definition else { panic!("a message is something else") };
    checked(&definition, data);
    if let Ok(read) = DynamicMessage::decode(message.clone(), data) {
        let again = read.encode_to_vec();
        assert_eq!(definition.check(&again, Encoding::Binary), Ok(()));
    }
}

/// The definition before the first zero byte, and what follows it.
fn parsed(kind: Type, data: &[u8]) -> Option<(Definition, &[u8])> {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let definition = std::str::from_utf8(&data[..end]).ok()?;
    let schema = v1::Schema { definition: definition.to_owned(), ..v1::Schema::default() };
    match Definition::parse(&v1::Schema { r#type: kind.into(), ..schema }) {
        Ok(parsed) => Some((parsed, data.get(end + 1..).unwrap_or_default())),
        Err(error) => {
            refused(&error);
            None
        }
    }
}

/// The same data get the same answer.
fn checked(definition: &Definition, data: &[u8]) {
    for encoding in [Encoding::Binary, Encoding::Json] {
        assert_eq!(definition.check(data, encoding), definition.check(data, encoding));
    }
}
