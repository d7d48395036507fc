//! One meaning in several spellings, and records beside one another that must be counted once.

use millrace_sql::{Engine, EngineConfig};

use crate::common::cells;
use crate::common::recorded::Entry;
use crate::expect::event;
use crate::made::{all_entries, engine_over, nested, underscored};

type Rows = Vec<Vec<Option<String>>>;

/// The rows of all views that group or choose records, in an order of their own.
async fn all_rows(entries: &[Entry]) -> Vec<(String, Rows)> {
    // One partition, so that sums are made in the same order each time.
    let engine = engine_over(entries, EngineConfig { partitions: 1, ..EngineConfig::default() });
    let mut all = Vec::new();
    for name in view_names(&engine).into_iter().filter(|name| name != "gemini_analytics_view") {
        all.push((name.clone(), rows(&engine, &format!("SELECT * FROM {name}")).await));
    }
    all
}

pub fn view_names(engine: &Engine) -> Vec<String> {
    let names: Vec<_> = engine.views().into_iter().map(|view| view.name).collect();
    assert_eq!(names.len(), 19, "{names:?}");
    names
}

async fn rows(engine: &Engine, sql: &str) -> Rows {
    let (_, mut rows) = cells(engine, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.sort();
    rows
}

#[tokio::test]
async fn underscores_and_nesting_mean_the_same() {
    let entries = all_entries();
    let expected = all_rows(&entries).await;
    let wide = "SELECT * EXCEPT (jsonPayload_json, payload) FROM gemini_analytics_view";
    let flat = rows(&engine_over(&entries, EngineConfig::default()), wide).await;
    let spellings: [fn(&Entry) -> Entry; 3] = [underscored, nested, |entry| nested(&underscored(entry))];
    for (index, spell) in spellings.iter().enumerate() {
        let spelled: Vec<_> = entries.iter().map(spell).collect();
        for ((name, given), (_, expected)) in all_rows(&spelled).await.iter().zip(&expected) {
            assert_eq!(given, expected, "{name} in spelling {index}");
        }
        let given = rows(&engine_over(&spelled, EngineConfig::default()), wide).await;
        assert_eq!(given, flat, "spelling {index}");
    }
}

#[tokio::test]
async fn twins_change_nothing() {
    let entries = all_entries();
    let without: Vec<_> = entries
        .iter()
        .filter(|entry| event(entry) != "gen_ai.client.inference.operation.details")
        .cloned()
        .collect();
    assert!(entries.len() - without.len() > 100);
    for ((name, given), (_, expected)) in all_rows(&entries).await.iter().zip(&all_rows(&without).await) {
        assert_eq!(given, expected, "{name}");
    }
}
