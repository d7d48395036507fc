//! What the template does and Millrace does otherwise: sections 1.3 to 1.6 of the template's facts, one row
//! each. What both do alike is not here.

use serde::Serialize;

/// How much a difference matters to who moves a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Rows or dead letters are others, or messages were lost.
    High,
    /// A failure goes another way, or what is kept of it differs.
    Medium,
    /// Operation: names, logs, timing.
    Low,
}

impl Severity {
    /// Its name in lists and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// Of which jobs a row is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    WithUdf,
    WithoutUdf,
    PathWithoutFunction,
    Reload,
    Flex,
    StreamingInserts,
    StorageWriteApi,
    StorageAtLeastOnce,
    AtLeastOnceMode,
    Topic,
}

/// One difference.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// Its name, for scripts: it does not change.
    pub id: &'static str,
    /// The section of the facts, `1.3` to `1.6`.
    pub section: &'static str,
    /// How much it matters.
    pub severity: Severity,
    pub(crate) when: When,
    /// What it is about.
    pub about: &'static str,
    /// What the template does.
    pub template: &'static str,
    /// What Millrace does in strict mode, the default.
    pub strict: &'static str,
    /// What it does in compatible mode, when that is something else.
    pub compatible: Option<&'static str>,
    /// The messages, or parts of messages, that the template loses silently.
    pub loses: Option<&'static str>,
}

const fn row(
    id: &'static str,
    section: &'static str,
    severity: Severity,
    when: When,
    texts: [&'static str; 3],
) -> Behaviour {
    let [about, template, strict] = texts;
    Behaviour { id, section, severity, when, about, template, strict, compatible: None, loses: None }
}

impl Behaviour {
    const fn compatible(self, text: &'static str) -> Self {
        Self { compatible: Some(text), ..self }
    }

    const fn loses(self, text: &'static str) -> Self {
        Self { loses: Some(text), ..self }
    }
}

use Severity::{High, Low, Medium};

/// Every difference, in the order of the sections.
#[rustfmt::skip]
pub const BEHAVIOURS: [Behaviour; 29] = [
    row("udf-returns-nothing", "1.3", High, When::WithUdf, [
        "the UDF returns null, undefined or \"\"",
        "dropped: no counter, no dead letter, no log",
        "filtered: counted, and in the audit",
    ]).loses("messages for which the UDF returns null, undefined or \"\""),
    row("empty-payload-udf", "1.3", High, When::WithUdf, [
        "a message with attributes only",
        "the UDF is called with \"\"; where it returns nothing for that, dropped",
        "a dead letter with its attributes",
    ]).compatible("as the template; counted as filtered")
      .loses("messages with attributes only, when the UDF returns nothing for \"\""),
    row("empty-payload", "1.3", High, When::WithoutUdf, [
        "a message with attributes only",
        "dropped: no counter, no dead letter, no log",
        "a dead letter with its attributes",
    ]).compatible("dropped; counted as filtered").loses("messages with attributes only"),
    row("payload-not-utf8", "1.3", High, When::Always, [
        "a payload that is not UTF-8",
        "goes on with U+FFFD in place of what is no text",
        "a dead letter with its bytes",
    ]).compatible("as the template; its bytes stay in the log until retention")
      .loses("the bytes of payloads that are not UTF-8"),
    row("path-without-function", "1.3", High, When::PathWithoutFunction, [
        "a script path without a function name",
        "messages pass through untransformed, silently",
        "does not start",
    ]).compatible("messages pass through untransformed; said at start")
      .loses("the transformation of every message"),
    row("udf-never-ends", "1.3", High, When::WithUdf, [
        "the UDF loops for ever, or takes all memory",
        "the bundle hangs, or the worker dies; the job stands still",
        "a dead letter after 500 ms of processor time or 64 MiB of heap",
    ]),
    row("udf-errors", "1.3", Medium, When::WithUdf, [
        "the UDF throws or returns no text",
        "a dead letter with a Java stack trace, or the name of a Java class",
        "a dead letter with the JavaScript error and its lines",
    ]),
    row("script-broken", "1.3", High, When::WithUdf, [
        "the script is missing, does not parse or has no such function",
        "every message goes to the error table and is acknowledged",
        "does not start",
    ]).compatible("every message is a dead letter; said at start"),
    row("script-files", "1.3", Low, When::WithUdf, [
        "several scripts under one path",
        "every .js that matches, in the order of the listing",
        "every .js that matches, in order of name; a folder stands for its .js files",
    ]),
    row("reload", "1.3", Medium, When::Reload, [
        "reloading the script",
        "read again after the interval, changed or not, each worker at its own time, untested",
        "looked at in the interval; a changed one is tried on the newest messages, refused when it does worse, \
         else taken by all workers between two windows; versions are kept, and one can go back",
    ]),
    row("concurrency", "1.3", Medium, When::WithUdf, [
        "global variables of the script",
        "one engine for each worker machine sees its messages one by one",
        "one engine for each core, each with globals of its own",
    ]),
    row("engine", "1.3", Low, When::WithUdf, [
        "the JavaScript",
        "Nashorn: ES5.1, part of ES6, Java classes",
        "QuickJS: ES2023, no Java classes",
    ]),
    row("counters", "1.3", Low, When::WithUdf, [
        "counters",
        "udf-transform-success-count, udf-transform-failed-count: dropped messages are in neither",
        "millrace_pipeline_*_total at /metrics: each message is in exactly one",
    ]),
    row("coercions", "1.4", Low, When::Always, [
        "values of another JSON type than the column",
        "as insertAll or the Storage Write API takes them; the two differ",
        "what either takes, as long as nothing is lost (docs/rows.md)",
    ]),
    row("table-missing", "1.4", Medium, When::Always, [
        "the table does not exist",
        "CREATE_NEVER: the job starts and cannot write",
        "does not start unless a schema is known (--schema)",
    ]),
    row("row-too-large", "1.4", Medium, When::StorageWriteApi, [
        "a row above 10 MB",
        "may be tried for ever",
        "a dead letter",
    ]),
    row("rejected-original", "1.5", High, When::Always, [
        "the dead letter of a row that the table refuses",
        "holds the transformed row, not the message",
        "holds the message, byte for byte, its attributes and ids",
    ]).loses("the original message and attributes of every row that BigQuery refuses"),
    row("dead-letter-attributes", "1.5", High, When::Flex, [
        "attributes of dead letters",
        "never filled by the flex template",
        "always filled",
    ]).loses("the attributes of every dead letter"),
    row("binary-payload", "1.5", High, When::Flex, [
        "a payload that is not UTF-8, as a dead letter",
        "payloadBytes is the text encoded again: the bytes are not those that were sent",
        "payloadBytes is the payload, byte for byte",
    ]).loses("the bytes of every dead-lettered payload that is not UTF-8"),
    row("dead-letter-ids", "1.5", Medium, When::Always, [
        "message id and ordering key of dead letters",
        "not kept",
        "columns message_id, topic, offset and ordering_key",
    ]).loses("the message id and ordering key of every dead letter"),
    row("dead-letter-columns", "1.5", Low, When::Always, [
        "columns of the dead-letter table",
        "six",
        "the same six, then nine nullable ones: stage, class, UDF version, attempts, ...",
    ]),
    row("insert-duplicates", "1.6", Medium, When::StreamingInserts, [
        "rows twice after a retry",
        "possible: insertId is best effort, for about a minute",
        "never: rows and position are one commit",
    ]),
    row("storage-duplicates", "1.6", Medium, When::StorageAtLeastOnce, [
        "rows twice after a retry",
        "possible: at least once was asked for",
        "never: rows and position are one commit",
    ]),
    row("streaming-mode", "1.6", Low, When::AtLeastOnceMode, [
        "streaming_mode_at_least_once",
        "faster and cheaper, with duplicates",
        "no such trade: always exactly once",
    ]),
    row("retries", "1.6", Medium, When::StreamingInserts, [
        "a row that is refused for a reason that is not final",
        "tried for ever; only invalid, invalidQuery, notImplemented, row-too-large and parseError end it",
        "what the table refuses is a dead letter; what is wrong with the disk is tried again",
    ]),
    row("storage-retries", "1.6", Medium, When::StorageWriteApi, [
        "an append that fails for another reason than its rows",
        "tried again; may block a key",
        "tried again; the log holds what follows, and the status says why",
    ]),
    row("bundle-retries", "1.6", Medium, When::Always, [
        "an exception in the pipeline itself",
        "the bundle is tried for ever",
        "the pipeline stops with the reason and goes on from its table at the next start",
    ]),
    row("dead-letter-stall", "1.6", Medium, When::Always, [
        "a dead letter that cannot be written",
        "tried for ever; may stall the job",
        "committed before the rows of its window; a full disk is waited for, and said",
    ]),
    row("topic-start", "1.6", Medium, When::Topic, [
        "where reading a topic begins",
        "at a temporary subscription that is made with the job",
        "at the oldest message that the topic holds (of the real service: at a temporary subscription); a new start goes on where the last one ended",
    ]),
];
