//! Pseudonyms: no e-mail comes out of any view.

use std::collections::BTreeSet;

use millrace_sql::{Engine, EngineConfig, Pseudonyms};
use serde_json::json;

use crate::analytics_view::odd_entries;
use crate::common::cells;
use crate::common::recorded::Entry;
use crate::expect::{event, user};
use crate::made::{all_entries, engine_over};
use crate::spellings::view_names;

/// Entries with e-mail addresses wherever texts are passed through.
fn entries_full_of_emails() -> Vec<Entry> {
    let text = "mail\njane.doe@example.com\\dev@example.org é.x@example.com";
    let mut all = all_entries();
    all.extend(odd_entries());
    for event in
        ["x", "gemini_cli.api_error", "gemini_cli.tool_call", "gemini_cli.model_routing", "gemini_cli.config"]
    {
        all.push(Entry {
            insert_id: format!("hidden in {event}"),
            resource: json!({"labels": {"team": "team@example.com"}}),
            labels: json!({"owner": "a@b.example.com"}),
            payload: json!({
                "event.name": event, "user.email": "ann@example.com", "prompt": text, "error": "to a@b.example.com",
                "status_code": 429, "success": false, "function_args": json!({"to": text}).to_string(),
                "decision_source": text, "extensions": text, "approval_mode": text,
            }),
            ..Entry::default()
        });
    }
    all
}

fn engine(entries: &[Entry], pseudonyms: Pseudonyms) -> Engine {
    engine_over(entries, EngineConfig { pseudonyms, ..EngineConfig::default() })
}

/// All cells of a view that an e-mail address is in.
async fn emails(engine: &Engine, view: &str) -> Vec<String> {
    let (columns, rows) = cells(engine, &format!("SELECT * FROM {view}")).await.unwrap();
    let texts = columns.into_iter().chain(rows.into_iter().flatten().flatten());
    texts.filter(|text| text.contains("@example.") || text.contains("@b.example")).collect()
}

#[tokio::test]
async fn no_cell_of_any_view_has_an_email() {
    let entries = entries_full_of_emails();
    let (clear, hidden) = (engine(&entries, Pseudonyms::Off), engine(&entries, Pseudonyms::Sha256));
    let mut named = 0;
    for name in view_names(&clear) {
        named += usize::from(!emails(&clear, &name).await.is_empty());
        let found = emails(&hidden, &name).await;
        assert!(found.is_empty(), "{name}: {found:?}");
        let (columns, _) = cells(&hidden, &format!("SELECT * FROM {name} LIMIT 0")).await.unwrap();
        assert!(!columns.contains(&"user_email STRING".to_owned()), "{name}: {columns:?}");
    }
    assert!(named > 10, "only {named} views name anyone in clear: nothing would be proved");
}

#[tokio::test]
async fn what_is_blanked_is_still_json_and_people_are_told_apart() {
    let entries = entries_full_of_emails();
    let engine = engine(&entries, Pseudonyms::Sha256);
    let sql = "SELECT COUNT(*), COUNTIF(jsonPayload_json IS NOT NULL), COUNTIF(payload IS NOT NULL) FROM gemini_analytics_view";
    let (_, rows) = cells(&engine, sql).await.unwrap();
    assert_eq!(rows[0], [(); 3].map(|()| Some(entries.len().to_string())));
    let sql =
        "SELECT COUNT(*) FROM gemini_analytics_view WHERE user_pseudonym = TO_HEX(SHA256('dev@example.com'))";
    let dev = entries.iter().filter(|entry| user(entry).as_deref() == Some("dev@example.com")).count();
    assert_eq!(cells(&engine, sql).await.unwrap().1, [[Some(dev.to_string())]]);
    let (_, rows) = cells(&engine, "SELECT user_pseudonym FROM vw_user_activity").await.unwrap();
    let people: BTreeSet<_> = entries.iter().map(user).collect();
    assert_eq!(rows.len(), people.len());
    // Requests and their errors are the same whoever made them.
    let sql = "SELECT SUM(request_count), SUM(error_count) FROM daily_metrics";
    let requests = entries.iter().filter(|entry| event(entry) == "gemini_cli.api_response").count();
    let errors = entries.iter().filter(|entry| event(entry) == "gemini_cli.api_error").count();
    let expected = [requests + errors, errors].map(|count| Some(count.to_string()));
    assert_eq!(cells(&engine, sql).await.unwrap().1, [expected]);
}
