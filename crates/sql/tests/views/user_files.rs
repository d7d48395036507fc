//! Views out of the user's own files, and hidden columns behind views.

use millrace_sql::{EngineConfig, ViewOrigin};

use crate::analytics_view::odd_entries;
use crate::common::lines;
use crate::made::engine_over;

#[tokio::test]
async fn user_files_become_views() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        use std::io::Write;
        std::fs::File::create(folder.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    };
    write(
        "events.sql",
        "-- mine\nSELECT event_name, COUNT(*) AS n FROM `${project}.${dataset}.gemini_analytics_view` GROUP BY 1",
    );
    write(
        "top_event.sql",
        "CREATE OR REPLACE VIEW top_event AS SELECT * FROM events QUALIFY ROW_NUMBER() OVER (ORDER BY n DESC, event_name) = 1",
    );
    write("loop.sql", "SELECT * FROM telemetry.loop");
    write("broken.sql", "SELECT FROM WHERE");
    write("evil.sql", "DROP TABLE gemini_raw_logs");
    write("daily_metrics.sql", "SELECT 1 AS x");
    write("notes.txt", "not a view");
    let config = EngineConfig { user_views_dir: Some(folder.path().to_owned()), ..EngineConfig::default() };
    let engine = engine_over(&odd_entries(), config);
    let views = engine.views();
    let names: Vec<_> = views.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(names[..2], ["gemini_analytics_view", "daily_metrics"]);
    let own = ["broken", "daily_metrics.sql", "events", "evil", "loop", "top_event"];
    assert_eq!(names[names.len() - own.len()..], own);
    assert!(
        views[0].origin == ViewOrigin::BuiltIn && views[0].sql.contains("`local.telemetry.gemini_raw_logs`")
    );
    let broken: Vec<_> =
        views.iter().filter(|view| view.error.is_some()).map(|view| view.name.as_str()).collect();
    assert_eq!(broken, ["broken", "daily_metrics.sql", "evil"]);
    assert_eq!(lines(&engine, "SELECT * FROM top_event").await.unwrap().len(), 2);
    assert!(lines(&engine, "SELECT * FROM loop").await.unwrap_err().message.contains("stands on itself"));
    assert!(lines(&engine, "SELECT * FROM broken").await.unwrap_err().message.contains("syntax error"));
}

#[tokio::test]
async fn hidden_columns_stay_behind_views() {
    let engine = engine_over(&odd_entries(), EngineConfig::default());
    let lines = lines(&engine, "SELECT a.* FROM gemini_raw_logs AS a JOIN (SELECT _offset, insertId FROM gemini_raw_logs) AS b ON a._offset = b._offset WHERE b.insertId = '3'").await.unwrap();
    assert_eq!(lines.len(), 2);
    assert!(!lines[0].contains("_offset") && lines[0].ends_with("jsonPayload_json STRING"), "{}", lines[0]);
}
