//! OTLP 1.x as tables: field numbers, JSON names and types of every message that Millrace takes
//! (<https://github.com/open-telemetry/opentelemetry-proto>, stable packages). They drive the reading of
//! OTLP JSON and the writing of metrics and spans; unknown fields are skipped by both.

/// A field's type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A trace or span id, hexadecimal in OTLP JSON.
    Id,
    Bool,
    Int32,
    Uint32,
    Sint32,
    Uint64,
    /// `AnyValue.int_value`: an out-of-range JSON number becomes the double that its producer had.
    AnyInt,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    /// A nested message.
    Message(&'static Message),
    /// Nested key/value pairs: a JSON object when Millrace writes them.
    Attributes,
    /// An `AnyValue`.
    AnyValue,
}

/// One field of a message.
#[derive(Debug)]
pub(crate) struct FieldSchema {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// Whether its default value differs from its absence (proto3 `optional`, members of a `oneof`).
    pub(crate) presence: bool,
}

/// One message type.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) fields: &'static [FieldSchema],
}

impl Message {
    /// The field of that JSON name; `snake_case` (the .proto's own spelling) is taken too, as protobuf's
    /// JSON mapping asks of parsers.
    pub(crate) fn by_name(&self, name: &str) -> Option<&'static FieldSchema> {
        let exact = self.fields.iter().find(|field| field.name == name);
        exact.or_else(|| {
            let camel = name.contains('_').then(|| camel_case(name))?;
            self.fields.iter().find(|field| field.name == camel)
        })
    }
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

const fn one(number: u32, name: &'static str, kind: Kind) -> FieldSchema {
    FieldSchema { number, name, kind, repeated: false, presence: false }
}

const fn maybe(number: u32, name: &'static str, kind: Kind) -> FieldSchema {
    FieldSchema { number, name, kind, repeated: false, presence: true }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> FieldSchema {
    FieldSchema { number, name, kind, repeated: true, presence: false }
}

use Kind::{
    AnyInt, AnyValue, Attributes, Bool, Bytes, Double, Fixed32, Fixed64, Id, Int32, Message as Nested,
    Sfixed64, Sint32, Text, Uint32, Uint64,
};

/// `AnyValue`: numbers of its variants.
pub(crate) mod any {
    pub(crate) const STRING: u32 = 1;
    pub(crate) const BOOL: u32 = 2;
    pub(crate) const INT: u32 = 3;
    pub(crate) const DOUBLE: u32 = 4;
    pub(crate) const ARRAY: u32 = 5;
    pub(crate) const KVLIST: u32 = 6;
    pub(crate) const BYTES: u32 = 7;
    /// Ours, outside OTLP's numbers: stands for a value that was nested too deeply to be read, so that
    /// only the record that holds it is refused.
    pub(crate) const TOO_DEEP: u32 = (1 << 29) - 1;
}

pub(crate) static ANY_VALUE: Message = Message {
    fields: &[
        maybe(any::STRING, "stringValue", Text),
        maybe(any::BOOL, "boolValue", Bool),
        maybe(any::INT, "intValue", AnyInt),
        maybe(any::DOUBLE, "doubleValue", Double),
        maybe(any::ARRAY, "arrayValue", Nested(&ARRAY_VALUE)),
        maybe(any::KVLIST, "kvlistValue", Nested(&KEY_VALUE_LIST)),
        maybe(any::BYTES, "bytesValue", Bytes),
    ],
};
static ARRAY_VALUE: Message = Message { fields: &[many(1, "values", AnyValue)] };
static KEY_VALUE_LIST: Message = Message { fields: &[many(1, "values", Attributes)] };
pub(crate) static KEY_VALUE: Message = Message { fields: &[one(1, "key", Text), one(2, "value", AnyValue)] };

pub(crate) static RESOURCE: Message =
    Message { fields: &[many(1, "attributes", Attributes), one(2, "droppedAttributesCount", Uint32)] };
pub(crate) static SCOPE: Message = Message {
    fields: &[
        one(1, "name", Text),
        one(2, "version", Text),
        many(3, "attributes", Attributes),
        one(4, "droppedAttributesCount", Uint32),
    ],
};

/// `ExportLogsServiceRequest`.
pub(crate) static LOGS_REQUEST: Message =
    Message { fields: &[many(1, "resourceLogs", Nested(&RESOURCE_LOGS))] };
static RESOURCE_LOGS: Message = Message {
    fields: &[
        one(1, "resource", Nested(&RESOURCE)),
        many(2, "scopeLogs", Nested(&SCOPE_LOGS)),
        one(3, "schemaUrl", Text),
    ],
};
static SCOPE_LOGS: Message = Message {
    fields: &[
        one(1, "scope", Nested(&SCOPE)),
        many(2, "logRecords", Nested(&LOG_RECORD)),
        one(3, "schemaUrl", Text),
    ],
};
static LOG_RECORD: Message = Message {
    fields: &[
        one(1, "timeUnixNano", Fixed64),
        one(11, "observedTimeUnixNano", Fixed64),
        one(2, "severityNumber", Int32),
        one(3, "severityText", Text),
        one(5, "body", AnyValue),
        many(6, "attributes", Attributes),
        one(7, "droppedAttributesCount", Uint32),
        one(8, "flags", Fixed32),
        one(9, "traceId", Id),
        one(10, "spanId", Id),
        one(12, "eventName", Text),
    ],
};

/// `ExportMetricsServiceRequest`.
pub(crate) static METRICS_REQUEST: Message =
    Message { fields: &[many(1, "resourceMetrics", Nested(&RESOURCE_METRICS))] };
static RESOURCE_METRICS: Message = Message {
    fields: &[
        one(1, "resource", Nested(&RESOURCE)),
        many(2, "scopeMetrics", Nested(&SCOPE_METRICS)),
        one(3, "schemaUrl", Text),
    ],
};
static SCOPE_METRICS: Message = Message {
    fields: &[
        one(1, "scope", Nested(&SCOPE)),
        many(2, "metrics", Nested(&METRIC)),
        one(3, "schemaUrl", Text),
    ],
};
static METRIC: Message = Message {
    fields: &[
        one(1, "name", Text),
        one(2, "description", Text),
        one(3, "unit", Text),
        one(5, "gauge", Nested(&NUMBER_DATA)),
        one(7, "sum", Nested(&NUMBER_DATA)),
        one(9, "histogram", Nested(&HISTOGRAM_DATA)),
        one(10, "exponentialHistogram", Nested(&EXPONENTIAL_DATA)),
        one(11, "summary", Nested(&SUMMARY_DATA)),
        many(12, "metadata", Attributes),
    ],
};
/// What a metric says of itself besides its points.
pub(crate) static METRIC_DESCRIPTION: Message = Message {
    fields: &[
        one(1, "name", Text),
        one(2, "description", Text),
        one(3, "unit", Text),
        many(12, "metadata", Attributes),
    ],
};
// A gauge is a sum without its two last fields.
static NUMBER_DATA: Message = Message {
    fields: &[
        many(1, "dataPoints", Nested(&NUMBER_POINT)),
        one(2, "aggregationTemporality", Int32),
        one(3, "isMonotonic", Bool),
    ],
};
static HISTOGRAM_DATA: Message = Message {
    fields: &[many(1, "dataPoints", Nested(&HISTOGRAM_POINT)), one(2, "aggregationTemporality", Int32)],
};
static EXPONENTIAL_DATA: Message = Message {
    fields: &[many(1, "dataPoints", Nested(&EXPONENTIAL_POINT)), one(2, "aggregationTemporality", Int32)],
};
static SUMMARY_DATA: Message = Message { fields: &[many(1, "dataPoints", Nested(&SUMMARY_POINT))] };
pub(crate) static NUMBER_POINT: Message = Message {
    fields: &[
        many(7, "attributes", Attributes),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        maybe(4, "asDouble", Double),
        maybe(6, "asInt", Sfixed64),
        many(5, "exemplars", Nested(&EXEMPLAR)),
        one(8, "flags", Uint32),
    ],
};
pub(crate) static HISTOGRAM_POINT: Message = Message {
    fields: &[
        many(9, "attributes", Attributes),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        maybe(5, "sum", Double),
        many(6, "bucketCounts", Fixed64),
        many(7, "explicitBounds", Double),
        many(8, "exemplars", Nested(&EXEMPLAR)),
        one(10, "flags", Uint32),
        maybe(11, "min", Double),
        maybe(12, "max", Double),
    ],
};
pub(crate) static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        many(1, "attributes", Attributes),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        maybe(5, "sum", Double),
        one(6, "scale", Sint32),
        one(7, "zeroCount", Fixed64),
        one(8, "positive", Nested(&BUCKETS)),
        one(9, "negative", Nested(&BUCKETS)),
        one(10, "flags", Uint32),
        many(11, "exemplars", Nested(&EXEMPLAR)),
        maybe(12, "min", Double),
        maybe(13, "max", Double),
        one(14, "zeroThreshold", Double),
    ],
};
static BUCKETS: Message = Message { fields: &[one(1, "offset", Sint32), many(2, "bucketCounts", Uint64)] };
pub(crate) static SUMMARY_POINT: Message = Message {
    fields: &[
        many(7, "attributes", Attributes),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        maybe(5, "sum", Double),
        many(6, "quantileValues", Nested(&QUANTILE)),
        one(8, "flags", Uint32),
    ],
};
static QUANTILE: Message = Message { fields: &[one(1, "quantile", Double), one(2, "value", Double)] };
static EXEMPLAR: Message = Message {
    fields: &[
        many(7, "filteredAttributes", Attributes),
        one(2, "timeUnixNano", Fixed64),
        maybe(3, "asDouble", Double),
        maybe(6, "asInt", Sfixed64),
        one(4, "spanId", Id),
        one(5, "traceId", Id),
    ],
};

/// `ExportTraceServiceRequest`.
pub(crate) static TRACES_REQUEST: Message =
    Message { fields: &[many(1, "resourceSpans", Nested(&RESOURCE_SPANS))] };
static RESOURCE_SPANS: Message = Message {
    fields: &[
        one(1, "resource", Nested(&RESOURCE)),
        many(2, "scopeSpans", Nested(&SCOPE_SPANS)),
        one(3, "schemaUrl", Text),
    ],
};
static SCOPE_SPANS: Message = Message {
    fields: &[one(1, "scope", Nested(&SCOPE)), many(2, "spans", Nested(&SPAN)), one(3, "schemaUrl", Text)],
};
pub(crate) static SPAN: Message = Message {
    fields: &[
        one(1, "traceId", Id),
        one(2, "spanId", Id),
        one(3, "traceState", Text),
        one(4, "parentSpanId", Id),
        one(16, "flags", Fixed32),
        one(5, "name", Text),
        one(6, "kind", Int32),
        one(7, "startTimeUnixNano", Fixed64),
        one(8, "endTimeUnixNano", Fixed64),
        many(9, "attributes", Attributes),
        one(10, "droppedAttributesCount", Uint32),
        many(11, "events", Nested(&EVENT)),
        one(12, "droppedEventsCount", Uint32),
        many(13, "links", Nested(&LINK)),
        one(14, "droppedLinksCount", Uint32),
        one(15, "status", Nested(&STATUS)),
    ],
};
static EVENT: Message = Message {
    fields: &[
        one(1, "timeUnixNano", Fixed64),
        one(2, "name", Text),
        many(3, "attributes", Attributes),
        one(4, "droppedAttributesCount", Uint32),
    ],
};
static LINK: Message = Message {
    fields: &[
        one(1, "traceId", Id),
        one(2, "spanId", Id),
        one(3, "traceState", Text),
        many(4, "attributes", Attributes),
        one(5, "droppedAttributesCount", Uint32),
        one(6, "flags", Fixed32),
    ],
};
static STATUS: Message = Message { fields: &[one(2, "message", Text), one(3, "code", Int32)] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_find_a_field() {
        assert_eq!(LOG_RECORD.by_name("timeUnixNano").unwrap().number, 1);
        assert_eq!(LOG_RECORD.by_name("time_unix_nano").unwrap().number, 1);
        assert!(LOG_RECORD.by_name("time_unix_nanos").is_none() && LOG_RECORD.by_name("_").is_none());
    }
}
