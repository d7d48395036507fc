//! Schemas in Protocol Buffers: one file with one message.

use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};
use protox::file::{File, FileResolver, GoogleFileResolver};
use protox::{Compiler, Error};

use super::nesting;

/// What the definition's file is called in messages of the compiler.
const FILE: &str = "schema.proto";

/// The one message of a definition.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(definition: &str) -> Result<MessageDescriptor, String> {
    nesting::check(definition)?;
    let mut compiler = Compiler::with_file_resolver(Definition(definition.to_owned()));
    compiler.open_file(FILE).map_err(|error| format!("{error:?}").trim().to_owned())?;
    let pool = compiler.descriptor_pool();
    let file = pool.get_file_by_name(FILE).ok_or("the definition is empty")?;
    let mut messages = file.messages();
    match (messages.next(), messages.next()) {
        (Some(message), None) => Ok(message),
        (None, _) => Err("the definition has no message".to_owned()),
        (Some(_), Some(_)) => Err("the definition has more than one message at its top".to_owned()),
    }
}

/// Checks data in the binary encoding.
///
/// # Errors
/// What does not fit.
pub(crate) fn check_binary(message: &MessageDescriptor, data: &[u8]) -> Result<(), String> {
    DynamicMessage::decode(message.clone(), data).map(|_| ()).map_err(|error| error.to_string())
}

/// Checks data in proto3's JSON mapping.
///
/// # Errors
/// What does not fit.
pub(crate) fn check_json(message: &MessageDescriptor, data: &[u8]) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_slice(data);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    DynamicMessage::deserialize_with_options(message.clone(), &mut json, &options)
        .and_then(|_| json.end())
        .map_err(|error| error.to_string())
}

/// The definition, and beside it the files that come with Protocol Buffers.
struct Definition(String);

impl FileResolver for Definition {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        if name == FILE {
            return File::from_source(name, &self.0);
        }
        GoogleFileResolver::new().open_file(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"
        syntax = "proto3";
        package shop;
        import "google/protobuf/timestamp.proto";
        message Order {
            int64 id = 1;
            google.protobuf.Timestamp at = 2;
            repeated Line lines = 3;
            message Line { double price = 1; }
        }"#;

    #[test]
    fn data_that_fit_are_told_from_what_does_not() {
        let order = parse(ORDER).unwrap();
        check_binary(&order, &[0x08, 0x07]).unwrap();
        assert!(check_binary(&order, &[0x08]).is_err());
        check_binary(&order, &[]).unwrap();
        check_json(&order, br#"{"id": "7", "at": "2026-01-01T00:00:00Z", "lines": [{"price": 1}]}"#).unwrap();
        for bad in [r#"{"id": "x"}"#, r#"{"other": 1}"#, r#"{"id": 1} x"#, "", "[]"] {
            assert!(check_json(&order, bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = parse(r#"syntax = "proto3"; message L { L l = 1; }"#).unwrap();
        let mut nested: Vec<u8> = Vec::new();
        for _ in 0..200 {
            let mut outer = vec![0x0a];
            prost::encoding::encode_varint(nested.len() as u64, &mut outer);
            outer.extend(nested);
            nested = outer;
        }
        assert!(check_binary(&deep, &nested).unwrap_err().contains("recursion"));
    }

    #[test]
    fn definitions_that_are_none_say_why() {
        let deep = format!("syntax = \"proto3\"; {}{}", "message A {".repeat(10_000), "}".repeat(10_000));
        for (definition, text) in [
            ("message {", "an identifier"),
            (r#"syntax = "proto3"; message A { B b = 1; }"#, "B"),
            (r#"syntax = "proto3"; message A {} message B {}"#, "more than one"),
            (r#"syntax = "proto3"; enum E { A = 0; }"#, "no message"),
            (r#"syntax = "proto3"; import "other.proto"; message A {}"#, "other.proto"),
            (&deep, "nested deeper"),
        ] {
            let error = parse(definition).unwrap_err();
            assert!(error.contains(text), "{definition:.60}: {error}");
        }
    }
}
