//! Limits of this crate that are not configuration, each with its unit.

/// Deepest nesting of attribute values that is taken, in levels. What is written nests no deeper than
/// JSON parsers behind us take (128 levels is common), and no stack is at risk.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Most attributes in one list: of a resource, a record, a point, or in one value. Two bytes on the wire make
/// one, and each takes many times that in memory while its list is read.
pub const ATTRIBUTES_MAX: usize = 1 << 16;

/// Deepest nesting of JSON in fields that OTLP does not know, in levels.
pub const JSON_DEPTH_MAX: usize = 512;

/// Most routes, so that the routes of a record fit one word.
pub const ROUTES_MAX: usize = 64;

/// Most payload bytes handed to a topic in one append; a larger request becomes several.
pub const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest log name made from `service.name` or a scope, in bytes (Cloud Logging takes 511).
pub const LOG_NAME_BYTES_MAX: usize = 256;
