//! Schemas: what they are made of, and whether messages fit.

mod avro;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gate;
mod nesting;
mod protobuf;

use prost_reflect::MessageDescriptor;

use crate::error::PubsubError;
use crate::limits::SCHEMA_BYTES_MAX;
use crate::proto::v1;
use crate::proto::v1::Encoding;
use crate::proto::v1::schema::Type;

use avro::AvroSchema;
pub(crate) use gate::Gate;

/// What a topic's settings say in place of the name of a schema that was deleted, as the service has it.
pub(crate) const DELETED_SCHEMA: &str = "_deleted-schema_";

/// A definition that was read.
#[derive(Debug)]
pub(crate) enum Definition {
    Avro(AvroSchema),
    Protobuf(MessageDescriptor),
}

impl Definition {
    /// Reads what a schema defines.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with what is wrong.
    pub(crate) fn parse(schema: &v1::Schema) -> Result<Self, PubsubError> {
        let bytes = schema.definition.len();
        if bytes > SCHEMA_BYTES_MAX {
            return Err(PubsubError::invalid(format!(
                "the definition of a schema has at most {SCHEMA_BYTES_MAX} bytes, this one has {bytes}"
            )));
        }
        let parsed = match schema.r#type() {
            Type::Avro => AvroSchema::parse(&schema.definition).map(Self::Avro),
            Type::ProtocolBuffer => protobuf::parse(&schema.definition).map(Self::Protobuf),
            Type::Unspecified => Err("its type is neither AVRO nor PROTOCOL_BUFFER".to_owned()),
        };
        parsed.map_err(|error| PubsubError::invalid(format!("the schema is not valid: {error}")))
    }

    /// Whether a message's data fit.
    ///
    /// # Errors
    /// What does not.
    pub(crate) fn check(&self, data: &[u8], encoding: Encoding) -> Result<(), String> {
        match (self, encoding) {
            (_, Encoding::Unspecified) => Err("the encoding is neither JSON nor BINARY".to_owned()),
            (Self::Avro(schema), Encoding::Json) => schema.check_json(data),
            (Self::Avro(schema), Encoding::Binary) => schema.check_binary(data),
            (Self::Protobuf(message), Encoding::Json) => protobuf::check_json(message, data),
            (Self::Protobuf(message), Encoding::Binary) => protobuf::check_binary(message, data),
        }
    }
}
