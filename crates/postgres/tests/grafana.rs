//! Every query of the dashboards in `deploy/grafana`, as Grafana sends it, on recorded data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Server, failure, lines};
use serde_json::Value;
use tokio_postgres::Client;

/// Panels of events that the recordings used here do not have: their queries must run, and give no rows.
const EMPTY: [&str; 3] = [
    "sessions-and-conversations: Conversations",
    "sessions-and-conversations: Conversations a day",
    "sessions-and-conversations: Turns of a conversation",
];

fn dashboards() -> Vec<(String, Value)> {
    let folder = std::fs::read_dir("../../deploy/grafana/dashboards").unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read =
        |path: &std::path::Path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    files.iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), read(path))).collect()
}

/// What the time picker says, as Grafana writes it.
struct Range {
    from: String,
    to: String,
}

/// What Grafana's Postgres data source makes of a panel's text: its macros, then its variables.
fn expanded(sql: &str, range: &Range, variables: &BTreeMap<String, String>) -> String {
    let mut sql = sql.to_owned();
    // Calls first, those inside others last.
    while let Some(start) = sql.find("$__time").filter(|start| sql[*start..].contains('(')) {
        let open = start + sql[start..].find('(').unwrap();
        let close = open + sql[open..].find(')').unwrap();
        let arguments: Vec<_> = sql[open + 1..close].split(',').map(str::trim).collect();
        let name = &sql[start..open];
        let grouped = |alias: &str| {
            let seconds = match arguments[1].trim_matches('\'') {
                "1d" => 86_400,
                "$__interval" => 60,
                other => panic!("interval {other}"),
            };
            format!("floor(extract(epoch from {})/{seconds})*{seconds}{alias}", arguments[0])
        };
        let expanded = match name {
            "$__timeFilter" => format!("{} BETWEEN '{}' AND '{}'", arguments[0], range.from, range.to),
            "$__timeFrom" => format!("'{}'", range.from),
            "$__timeTo" => format!("'{}'", range.to),
            "$__timeGroup" => grouped(""),
            "$__timeGroupAlias" => grouped(" AS \"time\""),
            other => panic!("unknown macro {other}"),
        };
        sql.replace_range(start..=close, &expanded);
    }
    for (name, value) in variables {
        sql = sql.replace(&format!("${{{name}:raw}}"), value.trim_matches('\''));
        sql = sql.replace(&format!("'${name}'"), value).replace(&format!("${name}"), value);
    }
    assert!(!sql.contains('$'), "something is not expanded: {sql}");
    sql
}

/// The variables of a dashboard with all of their values, quoted as for IN (...).
async fn variables(
    client: &Client,
    board: &str,
    dashboard: &Value,
    range: &Range,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let sql = expanded(variable["query"].as_str().unwrap(), range, &variables);
        let values = match lines(client, &sql).await {
            Ok(values) => values,
            Err(error) => panic!("{board}, variable {name}: {:?}\n{sql}", failure(&error)),
        };
        assert!(!values.is_empty(), "{board}: variable {name} has no values");
        let quoted: Vec<_> = values.iter().map(|value| format!("'{value}'")).collect();
        let chosen = if variable["multi"] == true { quoted.join(",") } else { quoted[0].clone() };
        variables.insert(name.to_owned(), chosen);
    }
    variables
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something() {
    let server = Server::default().await;
    let client = server.connect().await;
    let ends = "SELECT to_char(min(timestamp), '%Y-%m-%dT%H:%M:%SZ'), to_char(max(timestamp) + INTERVAL '1 second', '%Y-%m-%dT%H:%M:%SZ') \
                FROM gemini_analytics_view";
    let ends = lines(&client, ends).await.unwrap().remove(0);
    let (from, to) = ends.split_once(" | ").unwrap();
    let range = Range { from: from.to_owned(), to: to.to_owned() };
    let (mut panels, mut empty, mut failed) = (0, BTreeSet::new(), Vec::new());
    for (board, dashboard) in dashboards() {
        let variables = variables(&client, &board, &dashboard, &range).await;
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = format!("{board}: {}", panel["title"].as_str().unwrap());
            assert_eq!(panel["datasource"]["uid"], "millrace", "{title}");
            for target in panel["targets"].as_array().unwrap() {
                panels += 1;
                let sql = expanded(target["rawSql"].as_str().unwrap(), &range, &variables);
                // Older versions of Grafana ask in the simple protocol, newer ones in the extended.
                let rows = match lines(&client, &sql).await {
                    Ok(rows) => rows,
                    Err(error) => {
                        failed.push(format!("{title}: {:?}\n{sql}", failure(&error)));
                        continue;
                    }
                };
                let prepared = client.query(&sql, &[]).await;
                match prepared {
                    Ok(prepared) => {
                        assert_eq!(prepared.len(), rows.len(), "{title}");
                        check_time(&title, target, &prepared);
                    }
                    Err(error) => failed.push(format!("{title}, prepared: {:?}\n{sql}", failure(&error))),
                }
                if rows.iter().all(|row| row.split(" | ").all(|cell| cell == "NULL")) {
                    empty.insert(title.clone());
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(panels > 40, "{panels}");
    let expected: BTreeSet<_> = EMPTY.map(str::to_owned).into();
    assert_eq!(empty, expected, "panels without rows");
}

/// A panel over time has a column of that name, of a type that Grafana takes for a time.
fn check_time(title: &str, target: &Value, rows: &[tokio_postgres::Row]) {
    let Some(row) = rows.first() else { return };
    if target["format"] == "time_series" {
        let time = row.columns().iter().find(|column| column.name() == "time");
        let time = time.unwrap_or_else(|| panic!("{title} has no column time"));
        assert!(["timestamptz", "float8"].contains(&time.type_().name()), "{title}: {:?}", time.type_());
        assert!(row.columns().len() > 1, "{title}");
    }
}

#[test]
fn dashboards_have_names_and_places_of_their_own() {
    let (mut uids, mut panels) = (BTreeSet::new(), 0);
    for (board, dashboard) in dashboards() {
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()), "{board}");
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            panels += 1;
            let place = &panel["gridPos"];
            let number = |name: &str| place[name].as_u64().unwrap();
            assert!(number("x") + number("w") <= 24, "{board}: {panel}");
            for x in number("x")..number("x") + number("w") {
                for y in number("y")..number("y") + number("h") {
                    assert!(taken.insert((x, y)), "{board}: {} lies on another panel", panel["title"]);
                }
            }
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{board}");
        }
    }
    assert_eq!(uids.len(), 7);
    assert!(panels > 40, "{panels}");
}

/// What Grafana's query editor asks to offer tables and columns.
#[tokio::test(flavor = "multi_thread")]
async fn the_query_editor_finds_tables_and_columns() {
    let server = Server::default().await;
    let client = server.connect().await;
    let path = "SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END FROM \
                generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), \
                array_upper(string_to_array(current_setting('search_path'),','),1)) as i, \
                string_to_array(current_setting('search_path'),',') s";
    let tables = format!(
        "SELECT CASE WHEN quote_ident(table_schema) IN ({path}) THEN quote_ident(table_name) \
         ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\" \
         FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', \
         '_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config', \
         'timescaledb_information', 'timescaledb_experimental') \
         ORDER BY CASE WHEN quote_ident(table_schema) IN ({path}) THEN 0 ELSE 1 END, 1"
    );
    let tables = lines(&client, &tables).await.unwrap();
    assert!(tables.iter().any(|table| table.ends_with("gemini_analytics_view")), "{tables:?}");
    let columns = "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns \
                   WHERE CASE WHEN array_length(parse_ident('telemetry.daily_metrics'),1) = 2 \
                   THEN quote_ident(table_schema) = (parse_ident('telemetry.daily_metrics'))[1] \
                   AND quote_ident(table_name) = (parse_ident('telemetry.daily_metrics'))[2] \
                   ELSE quote_ident(table_name) = 'telemetry.daily_metrics' END";
    let columns = lines(&client, columns).await.unwrap();
    assert!(columns.contains(&"total_tokens | bigint".to_owned()), "{columns:?}");
}
