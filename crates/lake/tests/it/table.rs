//! What a table promises to pipelines, queries and other Delta readers while nothing goes wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{TOPIC, all_offsets, eager, open, position, query, query_number, rows, runtime, window};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use millrace_disk::sim::SimDisk;
use millrace_disk::{Disk, OpenMode, StdDisk};
use millrace_lake::{Lake, LakeConfig, LakeError};
use millrace_model::{Offset, TopicId};
use millrace_pipeline::{Commit, Sink as _, SinkError};
use serde_json::Value;

fn read(disk: &dyn Disk, path: &str) -> String {
    let file = disk.open(Path::new(path), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn names(disk: &dyn Disk, path: &str) -> Vec<String> {
    disk.read_dir(Path::new(path)).unwrap().into_iter().map(|entry| entry.name).collect()
}

fn data_files(disk: &dyn Disk) -> Vec<String> {
    let table = "lake/telemetry/events";
    let days = names(disk, table).into_iter().filter(|name| name.starts_with("_event_day="));
    days.flat_map(|day| {
        names(disk, &format!("{table}/{day}")).into_iter().map(move |name| format!("{table}/{day}/{name}"))
    })
    .collect()
}

/// Scenario: windows with rows, without rows, over several days, a row without a day.
/// Guarantees: rows and marks are read back here, after a restart, and by SQL; a window without rows
/// moves the marks.
#[test]
fn rows_and_marks_are_kept_together() {
    let disk = SimDisk::new(1);
    let (lake, table) = open(eager(Arc::new(disk.clone())));
    assert_eq!(position(&table), 0);
    table.commit(&window(0..10, |offset| Some(20_000 + (offset % 2) as i32))).unwrap();
    table.commit(&window(10..10, |_| None)).unwrap();
    table.commit(&window(10..13, |_| None)).unwrap();
    assert_eq!(position(&table), 13);
    assert_eq!(table.stats().rows, 13);
    assert_eq!((table.stats().version, table.stats().files), (3, 3));
    assert!(table.offsets(TopicId([8; 16]), Offset::ZERO, Offset(100)).unwrap().is_empty());
    assert_eq!(table.offsets(TOPIC, Offset(3), Offset(5)).unwrap(), [Offset(3), Offset(4)]);

    assert_eq!(query_number(&table, "select count(*) from events"), 13);
    assert_eq!(
        query_number(&table, "select sum(_offset) from events where _event_day = date '2024-10-04'"),
        20
    );
    assert_eq!(query_number(&table, "select sum(_offset) from events where _event_day is null"), 33);
    assert_eq!(query_number(&table, "select count(*) from events where name = 'row 7'"), 1);
    assert_eq!(query_number(&table, "select max(_offset) from events"), 12);

    drop((table, lake));
    let (_lake, table) = open(eager(Arc::new(disk)));
    assert_eq!(all_offsets(&table), (0..13).collect::<Vec<_>>());
    assert_eq!(position(&table), 13);
}

/// Scenario: the first entries of the log as plain JSON.
/// Guarantees: reader version 1 and writer version 2, the partition column, the schema with its GoogleSQL
/// types; an append names its files with statistics, and sets its marks, in one entry.
#[test]
fn the_log_is_plain_delta() {
    let disk = SimDisk::new(1);
    let (_lake, table) = open(eager(Arc::new(disk.clone())));
    table.commit(&window(0..10, |_| Some(20_000))).unwrap();
    let entry = |version: u64| -> Vec<Value> {
        let text = read(&disk, &format!("lake/telemetry/events/_delta_log/{version:020}.json"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let created = entry(0);
    let find =
        |entry: &[Value], action: &str| entry.iter().find_map(|line| line.get(action).cloned()).unwrap();
    assert_eq!(
        find(&created, "protocol"),
        serde_json::json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
    );
    let metadata = find(&created, "metaData");
    assert_eq!(metadata["partitionColumns"], serde_json::json!(["_event_day"]));
    assert_eq!(metadata["format"]["provider"], "parquet");
    let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    assert_eq!(schema["fields"][0]["type"], "timestamp");
    assert_eq!(
        schema["fields"][3],
        serde_json::json!({
            "name": "_offset", "type": "long", "nullable": false, "metadata": {},
        })
    );

    let append = entry(1);
    let marks: Vec<_> = append.iter().filter_map(|line| line.get("txn")).collect();
    assert_eq!(marks.len(), 2);
    assert_eq!((&marks[0]["appId"], &marks[0]["version"]), (&"test/position".into(), &10.into()));
    let add = find(&append, "add");
    assert_eq!(add["partitionValues"], serde_json::json!({ "_event_day": "2024-10-04" }));
    assert_eq!(add["dataChange"], true);
    let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 10);
    assert_eq!((&stats["minValues"]["_offset"], &stats["maxValues"]["_offset"]), (&0.into(), &9.into()));
    assert_eq!(stats["minValues"]["timestamp"], "2024-10-04T00:00:00.000001Z");
    assert_eq!(stats["nullCount"]["name"], 0);
}

/// Scenario: 10,000 different days in one window.
/// Guarantees: no more files than allowed, and no row lost.
#[test]
fn hostile_days_make_a_bounded_number_of_files() {
    let disk = SimDisk::new(1);
    let (_lake, table) = open(eager(Arc::new(disk)));
    table.commit(&window(0..10_000, |offset| Some(offset as i32))).unwrap();
    assert_eq!(table.stats().files, 4);
    assert_eq!(all_offsets(&table).len(), 10_000);
    assert_eq!(query_number(&table, "select count(*) from events where _event_day is null"), 9_997);
}

/// Scenario: many small windows over two days, compacted, checkpointed, vacuumed; a snapshot from before
/// is read meanwhile; the table is opened anew.
/// Guarantees: fewer files, the same rows once, in order of offset in each file, the same marks; removed
/// files are gone from the disk, the log is short, and so are nobody's temporary files left.
#[test]
fn maintenance_keeps_rows_and_marks() {
    let disk = SimDisk::new(1);
    let (lake, table) = open(eager(Arc::new(disk.clone())));
    for start in (0..120).step_by(3) {
        table.commit(&window(start..start + 3, |offset| Some((offset % 2) as i32))).unwrap();
    }
    let snapshot = table.provider();
    assert_eq!(table.stats().files, 80);
    let orphan = "lake/telemetry/events/_event_day=1970-01-01/part-orphan.zstd.parquet";
    disk.open(Path::new(orphan), OpenMode::CreateNew).unwrap();
    disk.open(Path::new("lake/telemetry/events/_delta_log/.tmp-left"), OpenMode::CreateNew).unwrap();

    let done = table.maintain_now().unwrap();
    assert!(done.compactions >= 8 && done.checkpointed, "{done:?}");
    assert!(done.vacuumed_files > 80 && done.log_files_removed > 30, "{done:?}");
    assert!(table.stats().files <= 8, "{:?}", table.stats());
    assert_eq!(data_files(&disk).len(), table.stats().files);
    assert!(!names(&disk, "lake/telemetry/events/_delta_log").contains(&".tmp-left".to_owned()));
    assert_eq!(all_offsets(&table), (0..120).collect::<Vec<_>>());
    assert_eq!(position(&table), 120);
    let batches = query(&table, "select _offset from events where _event_day = date '1970-01-02'");
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 60);

    // With no retention at all the snapshot's files are gone, and that is an error, never a wrong answer.
    let context = SessionContext::new();
    context.register_table("events", snapshot).unwrap();
    let stale =
        runtime().block_on(async { context.sql("select sum(_offset) from events").await?.collect().await });
    assert!(stale.is_err());

    drop((table, lake));
    let (_lake, table) = open(eager(Arc::new(disk)));
    assert_eq!(all_offsets(&table), (0..120).collect::<Vec<_>>());
    assert_eq!(position(&table), 120);
    table.commit(&window(120..123, |_| None)).unwrap();
    assert_eq!(all_offsets(&table).len(), 123);
}

/// Scenario: two topics' windows alternate, compaction puts them together.
/// Guarantees: rows stand in order of topic, then offset.
#[test]
fn compaction_orders_by_topic_and_offset() {
    let disk = SimDisk::new(1);
    let (_lake, table) = open(eager(Arc::new(disk)));
    for start in (0..30).step_by(5) {
        let batch = rows(start..start + 5, |_| Some(1));
        let topic = if start % 2 == 0 { "b" } else { "a" };
        let mut columns = batch.columns().to_vec();
        columns[2] = Arc::new(arrow::array::StringArray::from(vec![topic; 5]));
        let batch = arrow::array::RecordBatch::try_new(batch.schema(), columns).unwrap();
        table.commit(&Commit { rows: vec![batch], marks: vec![] }).unwrap();
    }
    assert_eq!(table.maintain_now().unwrap().compactions, 1);
    let context =
        SessionContext::new_with_config(datafusion::prelude::SessionConfig::new().with_target_partitions(1));
    context.register_table("events", table.provider()).unwrap();
    let batches = runtime()
        .block_on(async {
            context.sql("select _topic || ':' || _offset as k from events").await?.collect().await
        })
        .unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|key| key.contains(':'))
        .collect();
    let offsets = |keys: &[&str]| -> Vec<u32> { keys.iter().map(|key| key[2..].parse().unwrap()).collect() };
    assert!(
        keys[..15].iter().all(|key| key.starts_with('a'))
            && keys[15..].iter().all(|key| key.starts_with('b')),
        "{keys:?}"
    );
    assert!(offsets(&keys[..15]).is_sorted() && offsets(&keys[15..]).is_sorted(), "{keys:?}");
}

/// Scenario: a retention of an hour.
/// Guarantees: an old snapshot can be read after compaction and vacuum.
#[test]
fn snapshots_stay_readable_for_the_retention() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = eager(Arc::new(StdDisk));
    config.root = directory.path().to_owned();
    config.removed_file_retention = Duration::from_secs(3600);
    let (_lake, table) = open(config);
    for start in (0..30).step_by(3) {
        table.commit(&window(start..start + 3, |_| Some(1))).unwrap();
    }
    let context = SessionContext::new();
    context.register_table("events", table.provider()).unwrap();
    let done = table.maintain_now().unwrap();
    assert!(done.compactions > 0 && done.vacuumed_files == 0, "{done:?}");
    assert!(table.stats().removed_files >= 10);
    let batches = runtime()
        .block_on(async { context.sql("select count(name) from events").await.unwrap().collect().await })
        .unwrap();
    let count = batches[0].column(0).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap().value(0);
    assert_eq!(count, 30);
}

/// Scenario: a data file is removed, or cut, by hand.
/// Guarantees: asking for offsets fails and names the file.
#[test]
fn a_missing_or_damaged_data_file_is_told() {
    for cut in [false, true] {
        let disk = SimDisk::new(1);
        let (_lake, table) = open(eager(Arc::new(disk.clone())));
        table.commit(&window(0..10, |_| Some(1))).unwrap();
        let file = data_files(&disk).remove(0);
        if cut {
            disk.open(Path::new(&file), OpenMode::ReadWrite).unwrap().set_len(100).unwrap();
        } else {
            disk.remove_file(Path::new(&file)).unwrap();
        }
        let error = table.offsets(TOPIC, Offset::ZERO, Offset(100)).unwrap_err();
        let name = file.rsplit('/').next().unwrap();
        assert!(matches!(&error, SinkError::Broken { reason, .. } if reason.contains(name)), "{error}");
        assert!(
            table.offsets(TOPIC, Offset(50), Offset(100)).unwrap().is_empty(),
            "other files are not looked at"
        );
    }
}

/// Scenario: the declaration gains a column, then contradicts the table.
/// Guarantees: old rows have null in the new column, also after compaction; a contradiction is refused
/// and says what it is.
#[test]
fn declarations_may_add_columns_only() {
    let disk = SimDisk::new(1);
    let (lake, table) = open(eager(Arc::new(disk.clone())));
    table.commit(&window(0..4, |_| Some(1))).unwrap();
    table.commit(&window(4..8, |_| Some(1))).unwrap();
    drop((table, lake));

    let mut fields = crate::common::schema().fields().to_vec();
    fields.insert(2, Arc::new(Field::new("extra", DataType::Int64, true)));
    let wider: SchemaRef = Arc::new(Schema::new(fields.clone()));
    let lake = Lake::open(eager(Arc::new(disk.clone()))).unwrap();
    let table = lake.table_of("telemetry", "events", Arc::clone(&wider)).unwrap();
    let old = rows(8..12, |_| Some(1));
    let mut columns = old.columns().to_vec();
    columns.insert(2, Arc::new(arrow::array::Int64Array::from(vec![5; 4])));
    let batch = arrow::array::RecordBatch::try_new(wider, columns).unwrap();
    table.commit(&Commit { rows: vec![batch], marks: vec![] }).unwrap();
    for _ in 0..2 {
        assert_eq!(query_number(&table, "select count(extra) from events"), 4);
        assert_eq!(query_number(&table, "select count(*) from events where extra is null"), 8);
        table.maintain_now().unwrap();
    }
    assert_eq!(table.stats().files, 1);
    drop((table, lake));

    let lake = Lake::open(eager(Arc::new(disk))).unwrap();
    fields[2] = Arc::new(Field::new("extra", DataType::Utf8, true));
    let error = lake.table_of("telemetry", "events", Arc::new(Schema::new(fields))).unwrap_err();
    assert!(error.to_string().contains("column extra is stored as long"), "{error}");
    assert!(matches!(error, LakeError::Schema { .. }));
}

/// Scenario: a second process reads while the first writes, compacts, checkpoints and cleans its log.
/// Guarantees: a refresh shows the newest commit; nothing can be written through the reader.
#[test]
fn readers_follow_the_writer() {
    let disk = SimDisk::new(1);
    let reading = || LakeConfig { read_only: true, ..eager(Arc::new(disk.clone())) };
    let early = Lake::open(reading()).unwrap();
    assert!(matches!(
        early.table_of("telemetry", "events", crate::common::schema()),
        Err(LakeError::Missing(_))
    ));

    let (_lake, writer) = open(eager(Arc::new(disk.clone())));
    writer.commit(&window(0..3, |_| Some(1))).unwrap();
    let reader = early.table_of("telemetry", "events", crate::common::schema()).unwrap();
    assert_eq!(all_offsets(&reader), [0, 1, 2]);
    for start in (3..60).step_by(3) {
        writer.commit(&window(start..start + 3, |_| Some(1))).unwrap();
        if start % 4 == 0 {
            reader.refresh().unwrap();
            assert_eq!(all_offsets(&reader).len() as u64, start + 3);
        }
    }
    writer.maintain_now().unwrap();
    writer.commit(&window(60..63, |_| Some(1))).unwrap();
    reader.refresh().unwrap();
    assert_eq!(
        reader.stats(),
        millrace_lake::LakeTableStats { removed_files: reader.stats().removed_files, ..writer.stats() }
    );
    assert_eq!(position(&reader), 63);
    assert_eq!(query_number(&reader, "select count(*) from events"), 63);
    assert!(matches!(reader.commit(&window(63..64, |_| None)), Err(SinkError::Broken { .. })));
    assert!(matches!(reader.maintain_now(), Err(LakeError::ReadOnly(_))));
}

/// Scenario: another process takes the next version.
/// Guarantees: the commit is not made and asks for another try, which succeeds on top of the other's.
#[test]
fn a_version_taken_by_another_writer_is_not_written_over() {
    let disk = SimDisk::new(1);
    let (_one, first) = open(eager(Arc::new(disk.clone())));
    let (_two, second) = open(eager(Arc::new(disk)));
    first.commit(&window(0..3, |_| Some(1))).unwrap();
    assert!(matches!(second.commit(&window(0..3, |_| Some(1))), Err(SinkError::Retry { .. })));
    assert_eq!(position(&second), 3);
    second.commit(&window(3..5, |_| Some(1))).unwrap();
    assert_eq!(all_offsets(&second), [0, 1, 2, 3, 4]);
}

/// Scenario: 400 commits with maintenance now and then.
/// Guarantees: the number of disk operations of a commit does not depend on how many there were, and
/// the log that is read at the next start is short.
#[test]
fn a_commit_costs_the_same_at_the_first_and_the_four_hundredth() {
    let disk = SimDisk::new(1);
    let (_lake, table) = open(eager(Arc::new(disk.clone())));
    let mut costs = std::collections::BTreeSet::new();
    for start in 0..400 {
        let before = disk.operations();
        table.commit(&window(start..start + 1, |_| Some(1))).unwrap();
        if start > 0 {
            costs.insert(disk.operations() - before);
        }
        if start % 20 == 0 {
            table.maintain_now().unwrap();
        }
    }
    assert_eq!(costs.len(), 1, "{costs:?}");
    assert!(names(&disk, "lake/telemetry/events/_delta_log").len() < 40);
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    let lake = Lake::open(eager(Arc::new(SimDisk::new(1)))).unwrap();
    for name in ["", "..", "a/b", "a b", ".hidden", "naïve"] {
        assert!(
            matches!(lake.table_of("telemetry", name, crate::common::schema()), Err(LakeError::Name(_))),
            "{name}"
        );
        assert!(
            matches!(lake.table_of(name, "events", crate::common::schema()), Err(LakeError::Name(_))),
            "{name}"
        );
    }
}

#[test]
fn a_closed_lake_takes_no_commits_and_can_be_read() {
    let (lake, table) = open(eager(Arc::new(SimDisk::new(1))));
    table.commit(&window(0..3, |_| Some(1))).unwrap();
    lake.shutdown();
    assert!(matches!(table.commit(&window(3..4, |_| Some(1))), Err(SinkError::Broken { .. })));
    assert_eq!(query_number(&table, "select count(*) from events"), 3);
}
