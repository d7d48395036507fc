//! Limits of the service that clients may count on, each with its unit. Where the real service has the
//! same, it is its quota (<https://cloud.google.com/pubsub/quotas>).

/// Largest message, and largest publish request as sent, in bytes.
pub const PUBLISH_BYTES_MAX: usize = 10_000_000;
/// Most messages of one publish request.
pub const PUBLISH_MESSAGES_MAX: usize = 1_000;
/// Longest definition of a schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 300 * 1024;
/// Most revisions of a schema.
pub const SCHEMA_REVISIONS_MAX: usize = 20;
/// Longest URL of an endpoint that is pushed to, in bytes.
pub const PUSH_ENDPOINT_BYTES_MAX: usize = 2_048;
/// Most message transforms of a topic or subscription.
pub const TRANSFORMS_MAX: usize = 5;
/// Longest text of an error, in bytes: gRPC sends it in a header, and clients take 8 KB of those. What a
/// request got wrong may be as large as the request.
pub const ERROR_BYTES_MAX: usize = 2_000;
/// Largest request of any kind that is read at all, in bytes. Above the limit for publishing, so that a
/// request that is somewhat too large is answered with the rule.
pub const REQUEST_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Largest Acknowledge or ModifyAckDeadline request, in bytes.
pub const ACK_REQUEST_BYTES_MAX: usize = 524_288;
/// Largest request of a stream, in bytes: it carries acks and deadlines, each as a request of its own may.
pub const STREAM_REQUEST_BYTES_MAX: usize = 2 * ACK_REQUEST_BYTES_MAX;
/// Most messages of one response.
pub const RESPONSE_MESSAGES_MAX: usize = 1_000;
/// Most bytes of data, attributes and ordering keys of one response, a larger single message excepted. gRPC
/// clients take 4 MB unless they are told otherwise.
pub const RESPONSE_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Shortest and longest ack deadline in seconds.
pub const ACK_DEADLINE_SECONDS: std::ops::RangeInclusive<i32> = 10..=600;
/// Ack deadline in seconds where none is given.
pub const ACK_DEADLINE_SECONDS_DEFAULT: i32 = 10;
/// Most delivery attempts before a dead letter may be made.
pub const DELIVERY_ATTEMPTS: std::ops::RangeInclusive<i32> = 5..=100;
/// Shortest and longest time that messages are kept, in seconds.
pub const RETENTION_SECONDS: std::ops::RangeInclusive<i64> = 600..=31 * 86_400;
/// How long a subscription keeps messages where nothing is said, in seconds.
pub const RETENTION_SECONDS_DEFAULT: i64 = 7 * 86_400;
/// How long a subscription that nobody uses lives where nothing is said, in seconds.
pub const EXPIRATION_SECONDS_DEFAULT: i64 = 31 * 86_400;
/// The least and the most of that which may be set, in seconds: the most is what protobuf's durations hold
/// (<https://protobuf.dev/reference/protobuf/google.protobuf/#duration>).
pub const EXPIRATION_SECONDS: std::ops::RangeInclusive<i64> = 86_400..=315_576_000_000;
/// How exactly it is known over a restart when a subscription was last used, in seconds. It lives that much
/// longer, and that long after a start: whoever could not use it while the server was down may come back.
pub const LAST_USED_SECONDS: u64 = 3_600;
/// Longest backoff, in seconds.
pub const BACKOFF_SECONDS_MAX: i64 = 600;
/// Most labels of a resource.
pub const LABELS_MAX: usize = 64;
/// Longest key or value of a label, in characters.
pub const LABEL_CHARACTERS_MAX: usize = 63;
/// Most entries of one page of a list.
pub const PAGE_ENTRIES_MAX: usize = 1_000;
/// How long a snapshot lives at most, in seconds, less the age of its oldest message.
pub const SNAPSHOT_SECONDS_MAX: i64 = 7 * 86_400;
/// A snapshot that would live shorter is refused, in seconds.
pub const SNAPSHOT_SECONDS_MIN: i64 = 3_600;
