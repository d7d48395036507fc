//! Limits of the domain, each with its unit in its name. Limits of one room only live in that room.

/// Largest message a topic takes (Pub/Sub's limit is 10 MB for a publish request; OTLP records of
/// 12 MB were seen in tests, and an ingest that refuses them would lose them).
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most attributes on one message (Pub/Sub quota).
pub const ATTRIBUTES_PER_MESSAGE_MAX: usize = 100;

/// Longest attribute key in bytes (Pub/Sub quota).
pub const ATTRIBUTE_KEY_BYTES_MAX: usize = 256;

/// Longest attribute value in bytes (Pub/Sub quota).
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 1024;

/// Longest ordering key in bytes (Pub/Sub quota).
pub const ORDERING_KEY_BYTES_MAX: usize = 1024;
