//! What the views must say, computed from the raw JSON: fields in all their spellings, groups, and the
//! comparison with what a view gives.

use std::collections::BTreeMap;

use millrace_sql::Engine;
use serde_json::Value;

use crate::common::cells;
use crate::common::recorded::{Entry, NO_TIME};

/// The cells that a row is known by, as text.
pub type Key = Vec<Option<String>>;

/// What a cell must be.
#[derive(Debug, Clone)]
pub enum Cell {
    /// This text, or NULL.
    Text(Option<String>),
    /// A FLOAT64 that may differ in its last digits: sums depend on the order of rows.
    Near(Option<f64>),
    /// A TIMESTAMP, in microseconds.
    Time(i64),
}

impl Cell {
    pub fn count(count: usize) -> Self {
        Self::Text(Some(count.to_string()))
    }

    pub fn number(number: i64) -> Self {
        Self::Text(Some(number.to_string()))
    }

    pub fn ratio(part: usize, whole: usize) -> Self {
        Self::Near((whole > 0).then(|| part as f64 / whole as f64))
    }

    fn fits(&self, given: Option<&str>) -> bool {
        match (self, given) {
            (Self::Text(expected), given) => expected.as_deref() == given,
            (Self::Near(None), given) => given.is_none(),
            (Self::Near(Some(expected)), Some(given)) => {
                given.parse::<f64>().is_ok_and(|given| (given - expected).abs() <= expected.abs() * 1e-9)
            }
            (Self::Time(expected), Some(given)) => time_micros(given) == *expected,
            (_, None) => false,
        }
    }
}

/// A TIMESTAMP as results show it, in microseconds.
fn time_micros(text: &str) -> i64 {
    chrono::DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").unwrap().timestamp_micros()
}

/// Compares a view's columns and rows with what is expected: by the cells at `key` the other cells, in
/// the columns' order.
pub async fn check(
    engine: &Engine,
    view: &str,
    columns: &str,
    key: &[usize],
    expected: BTreeMap<Key, Vec<Cell>>,
) {
    let sql = format!("SELECT * FROM {view}");
    let (head, rows) = cells(engine, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    assert_eq!(head.join(", "), columns, "{view}");
    let mut given: BTreeMap<Key, Vec<Option<String>>> = BTreeMap::new();
    for row in rows {
        let at = key.iter().map(|index| row[*index].clone()).collect();
        let others = row.iter().enumerate().filter(|(index, _)| !key.contains(index));
        let others = others.map(|(_, cell)| cell.clone()).collect();
        assert!(given.insert(at, others).is_none(), "{view}: two rows are alike: {row:?}");
    }
    for (at, cells) in &expected {
        let row = given.remove(at).unwrap_or_else(|| panic!("{view}: no row {at:?} in {given:?}"));
        assert_eq!(row.len(), cells.len(), "{view}");
        let fits = row.iter().zip(cells).all(|(given, cell)| cell.fits(given.as_deref()));
        assert!(fits, "{view} {at:?}\n  gives    {row:?}\n  expected {cells:?}");
    }
    assert!(given.is_empty(), "{view}: rows too many: {given:?}");
    assert!(!expected.is_empty(), "{view}: nothing was proved");
}

/// The text of a scalar; objects, arrays and null have none.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The first of the payload's fields that has a value: flat before nested, dots before underscores.
pub fn field(entry: &Entry, keys: &[&str]) -> Option<String> {
    let places = [&entry.payload, &entry.payload["attributes"]];
    places.into_iter().find_map(|place| {
        keys.iter().find_map(|key| {
            [(*key).to_owned(), key.replace('.', "_")].iter().find_map(|spelled| scalar(place.get(spelled)?))
        })
    })
}

fn label(entry: &Entry, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| scalar(entry.labels.get(key)?))
}

pub fn event(entry: &Entry) -> String {
    field(entry, &["event.name"]).unwrap_or_default()
}

pub fn is_request(entry: &Entry) -> bool {
    matches!(event(entry).as_str(), "gemini_cli.api_response" | "gemini_cli.api_error")
}

pub fn is_error(entry: &Entry) -> bool {
    event(entry) == "gemini_cli.api_error"
}

pub fn is_429(entry: &Entry) -> bool {
    is_error(entry) && integer(entry, &["status_code", "http.status_code"]) == Some(429)
}

pub fn day(entry: &Entry) -> Option<String> {
    let day = || chrono::NaiveDate::from_epoch_days(entry.day() as i32).unwrap().to_string();
    (entry.timestamp_micros != NO_TIME).then(day)
}

pub fn user(entry: &Entry) -> Option<String> {
    field(entry, &["user.email"]).or_else(|| label(entry, &["user_email", "user.email"]))
}

pub fn model(entry: &Entry) -> Option<String> {
    field(entry, &["model", "gen_ai.request.model"])
}

pub fn session(entry: &Entry) -> Option<String> {
    field(entry, &["session.id"])
}

pub fn cli_version(entry: &Entry) -> Option<String> {
    label(entry, &["cli_version"])
}

pub fn integer(entry: &Entry, keys: &[&str]) -> Option<i64> {
    field(entry, keys)?.parse().ok()
}

pub fn float(entry: &Entry, keys: &[&str]) -> Option<f64> {
    field(entry, keys)?.parse().ok()
}

pub fn truth(entry: &Entry, keys: &[&str]) -> Option<bool> {
    field(entry, keys)?.parse().ok()
}

pub fn duration(entry: &Entry) -> Option<f64> {
    float(entry, &["duration_ms", "duration"])
}

/// A count of tokens; what no request can have is none.
pub fn tokens(entry: &Entry, kind: &str) -> Option<i64> {
    integer(entry, &[&format!("{kind}_token_count")]).filter(|count| (0..=1_000_000_000).contains(count))
}

/// The entries that `which` lets pass, by a key.
pub fn groups(
    entries: &[Entry],
    which: impl Fn(&Entry) -> bool,
    key: impl Fn(&Entry) -> Key,
) -> BTreeMap<Key, Vec<&Entry>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| which(entry)) {
        groups.entry(key(entry)).or_default().push(entry);
    }
    groups
}

/// Each group's expected cells.
pub fn rows(
    groups: BTreeMap<Key, Vec<&Entry>>,
    row: impl Fn(&[&Entry]) -> Vec<Cell>,
) -> BTreeMap<Key, Vec<Cell>> {
    groups.into_iter().map(|(key, group)| (key, row(&group))).collect()
}

pub fn sum(group: &[&Entry], value: impl Fn(&Entry) -> Option<i64>) -> Cell {
    Cell::number(group.iter().filter_map(|entry| value(entry)).sum())
}

pub fn mean(group: &[&Entry], value: impl Fn(&Entry) -> Option<f64>) -> Cell {
    let values: Vec<_> = group.iter().filter_map(|entry| value(entry)).collect();
    Cell::Near((!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64))
}

pub fn count(group: &[&Entry], which: impl Fn(&Entry) -> bool) -> Cell {
    Cell::count(group.iter().filter(|entry| which(entry)).count())
}

/// How many different values there are; NULL is none.
pub fn distinct(group: &[&Entry], value: impl Fn(&Entry) -> Option<String>) -> Cell {
    let values: std::collections::BTreeSet<_> = group.iter().filter_map(|entry| value(entry)).collect();
    Cell::count(values.len())
}

/// The value of rank `percent` of a hundred, as docs/sql.md defines it for small groups.
pub fn percentile(group: &[&Entry], percent: usize) -> Cell {
    let mut values: Vec<_> = group.iter().filter_map(|entry| duration(entry)).collect();
    values.sort_by(f64::total_cmp);
    Cell::Near(values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied())
}
