//! The paths whose values the lake keeps beside the JSON text, in hidden columns, because the views read
//! them: a query that asks for these does not touch the text.
//!
//! What is kept is the exact text that JSON_VALUE gives, so a query's result does not depend on it. The
//! usual spelling of a path has a column of its own. The other spellings that the views accept, of older
//! collectors and hand-made entries, are rare: those found in a row go together into
//! [`COLUMN_ALTERNATES`], a JSON object of [`Alternate::key`] to value, nothing in nearly every row.

pub use millrace_model::names::{COLUMN_ALTERNATES, COLUMN_TYPED};

use crate::Step;

/// Raised whenever the list below changes: rows of another version are read from their JSON text until
/// compaction has written them again.
pub const VERSION: i64 = 1;

/// A path whose values have a hidden column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedPath {
    /// The hidden column.
    pub name: String,
    /// The column of JSON text.
    pub column: &'static str,
    /// The path in it.
    pub path: String,
}

/// A path whose values, if there are any, are kept in [`COLUMN_ALTERNATES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternate {
    /// The column of JSON text.
    pub column: &'static str,
    /// The path in it.
    pub path: String,
}

impl Alternate {
    /// The key of its value in the object of alternates: the column and the steps of the path.
    #[must_use]
    pub fn key(&self) -> String {
        let mut key = self.column.to_owned();
        for step in crate::parse(&self.path).unwrap_or_default() {
            key.push('/');
            match step {
                Step::Key(name) => key.push_str(&name),
                Step::Item(index) => key.push_str(&index.to_string()),
            }
        }
        key
    }
}

const PAYLOAD: &str = "jsonPayload_json";
const LABELS: &str = "labels_json";
const RESOURCE: &str = "resource_json";

/// Members of the payload as the CLI writes them: flat, with dotted keys. Long texts (prompts, answers,
/// arguments of tools) are left out: a second copy would cost more than reading the first.
const PAYLOAD_KEYS: &[&str] = &[
    // event and who
    "event.name",
    "event.domain",
    "event.timestamp",
    "session.id",
    "installation.id",
    "user.email",
    "auth_type",
    "interactive",
    "prompt_id",
    "prompt_length",
    "service.name",
    "service.version",
    "team.name",
    "team.id",
    "team",
    "department",
    "cost_center",
    // request
    "model",
    "model_name",
    "role",
    "duration_ms",
    "duration",
    "status_code",
    "http.status_code",
    "error",
    "error.message",
    "error_message",
    "error.type",
    "error_type",
    "finish_reason",
    "gen_ai.operation.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.request.top_k",
    "gen_ai.request.max_tokens",
    // tokens
    "input_token_count",
    "output_token_count",
    "cached_content_token_count",
    "thoughts_token_count",
    "tool_token_count",
    "total_token_count",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    // tools, agents, hooks, files
    "function_name",
    "tool_name",
    "success",
    "decision",
    "tool_type",
    "mcp_server_name",
    "content_length",
    "metadata",
    "extension_name",
    "agent_name",
    "agent_id",
    "hook_event_name",
    "exit_code",
    "operation",
    "lines",
    "mimetype",
    "extension",
    "programming_language",
    // routing, retries, compression, loops
    "decision_model",
    "decision_source",
    "routing_latency_ms",
    "failed",
    "attempt_number",
    "retry_delay_ms",
    "total_attempts",
    "final_error_type",
    "tokens_before",
    "tokens_after",
    "loop_type",
    "reason",
    "terminate_reason",
    // settings and conversations
    "approval_mode",
    "approvalMode",
    "turnCount",
    "turn_count",
    "mode",
    "from_mode",
    "to_mode",
    "sandbox_enabled",
    "log_user_prompts_enabled",
    "output_format",
    "extensions",
    "extensions_count",
    "mcp_servers",
    "mcp_servers_count",
    "command",
    "subcommand",
    "status",
];

/// Members of the payload that only hand-made entries have.
const PAYLOAD_RARE: &[&str] = &["temperature", "top_p", "top_k", "max_output_tokens"];

/// First elements of arrays in the payload.
const PAYLOAD_FIRSTS: &[&str] = &["finish_reasons", "gen_ai.response.finish_reasons"];

/// What the views read of the other columns.
const OTHERS: &[(&str, &str, &str)] = &[
    ("_labels_cli_version", LABELS, "$.cli_version"),
    ("_resource_project_id", RESOURCE, "$.labels.project_id"),
];

/// What names a team, when a collector has put it into the labels of the entry or of its resource.
const TEAM_KEYS: &[&str] =
    &["team.name", "team_name", "team", "team.id", "team_id", "department", "cost_center"];

/// Rare spellings in other columns than the payload.
const OTHER_ALTERNATES: &[(&str, &str)] = &[
    (LABELS, "$.user_email"),
    (LABELS, "$.\"user.email\""),
    (LABELS, "$.installation_id"),
    (LABELS, "$.\"installation.id\""),
];

/// All paths that have a column of their own, in the order of the columns.
#[must_use]
pub fn typed_paths() -> Vec<TypedPath> {
    let payload = |name: String, path: String| TypedPath { name, column: PAYLOAD, path };
    let keys = PAYLOAD_KEYS.iter().map(|key| payload(hidden_name(key), format!("$.{}", step(key))));
    let firsts = PAYLOAD_FIRSTS
        .iter()
        .map(|key| payload(format!("{}_0", hidden_name(key)), format!("$.{}[0]", step(key))));
    let others = OTHERS.iter().map(|(name, column, path)| TypedPath {
        name: (*name).to_owned(),
        column,
        path: (*path).to_owned(),
    });
    keys.chain(firsts).chain(others).collect()
}

/// All paths whose values are kept together.
#[must_use]
pub fn alternates() -> Vec<Alternate> {
    let mut found = Vec::new();
    let keys = PAYLOAD_KEYS.iter().map(|key| (key, "")).chain(PAYLOAD_FIRSTS.iter().map(|key| (key, "[0]")));
    for (key, rest) in keys {
        let flat = key.replace('.', "_");
        let mut add = |path: String| found.push(Alternate { column: PAYLOAD, path });
        if flat != **key {
            if !PAYLOAD_KEYS.contains(&flat.as_str()) {
                add(format!("$.{flat}{rest}"));
            }
            add(format!("$.attributes.{}{rest}", step(key)));
        }
        if flat == **key || !PAYLOAD_KEYS.contains(&flat.as_str()) {
            add(format!("$.attributes.{flat}{rest}"));
        }
    }
    for key in PAYLOAD_RARE {
        found.extend(
            ["$.", "$.attributes."].map(|at| Alternate { column: PAYLOAD, path: format!("{at}{key}") }),
        );
    }
    for key in TEAM_KEYS {
        found.extend(
            [(LABELS, "$."), (RESOURCE, "$.labels.")]
                .map(|(column, at)| Alternate { column, path: format!("{at}{}", step(key)) }),
        );
    }
    let others = OTHER_ALTERNATES.iter();
    found.extend(others.map(|(column, path)| Alternate { column, path: (*path).to_owned() }));
    found
}

/// A key as a step of a path.
fn step(key: &str) -> String {
    if key.contains('.') { format!("\"{key}\"") } else { key.to_owned() }
}

/// The hidden column of a member of the payload.
fn hidden_name(key: &str) -> String {
    format!("_payload_{}", key.replace('.', "__"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_is_kept_once() {
        let mut keys = BTreeSet::new();
        let mut names = BTreeSet::from([COLUMN_TYPED.to_owned(), COLUMN_ALTERNATES.to_owned()]);
        let mut paths = BTreeSet::new();
        for typed in typed_paths() {
            assert!(names.insert(typed.name.to_lowercase()), "{}", typed.name);
            assert!(paths.insert((typed.column, crate::parse(&typed.path).unwrap())), "{}", typed.path);
        }
        for alternate in alternates() {
            let steps = crate::parse(&alternate.path).unwrap();
            assert!(paths.insert((alternate.column, steps)), "{}", alternate.path);
            assert!(keys.insert(alternate.key()), "{}", alternate.key());
        }
    }

    #[test]
    fn the_spellings_of_a_dotted_key() {
        let spellings: Vec<_> = alternates()
            .into_iter()
            .map(|found| found.path)
            .filter(|path| path.contains("event.name") || path.contains("event_name"))
            .collect();
        assert_eq!(
            spellings,
            [
                "$.event_name",
                "$.attributes.\"event.name\"",
                "$.attributes.event_name",
                "$.attributes.hook_event_name"
            ]
        );
    }
}
