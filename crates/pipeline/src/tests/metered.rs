//! What the metrics say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use millrace_model::Offset;

use crate::fakes::{FakeSink, FakeSource, FakeTransforms, Fate, Fault, spec};
use crate::{DuplicatesProbe, Pipeline, PipelineConfig, PipelineState, Sink, SourceSlice};

/// Keeps every metric by its name and labels.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

struct Recorded(Arc<AtomicU64>);

impl HistogramFn for Recorded {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Kept {
    fn at(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    fn value(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).unwrap_or_else(|| panic!("no metric {name}")).load(Ordering::Relaxed)
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.at(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.at(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Recorded(self.at(key))))
    }
}

#[test]
fn every_fate_is_counted_under_its_name() {
    let kept = Kept::default();
    metrics::set_global_recorder(kept.clone()).unwrap_or_else(|_| panic!("another test has set a recorder"));
    crate::describe_metrics();
    let (source, rows, dead) = (FakeSource::new(30), FakeSink::new("rows"), FakeSink::new("rows_dead"));
    source.with(|state| state.start = 6);
    rows.with(|state| {
        state.refused = [6].into();
        state.faults.push_back(Fault::FailsBefore);
    });
    let judge = |offset| match offset % 3 {
        0 => Fate::Write,
        1 => Fate::Filter,
        _ => Fate::Fail,
    };
    let config = PipelineConfig {
        duplicates: DuplicatesProbe::new(|| 5),
        retry_delay_min: std::time::Duration::from_millis(1),
        ..PipelineConfig::new("metered")
    };
    let transforms = FakeTransforms::new("", judge);
    let (rows_sink, dead_sink): (Arc<dyn Sink>, Arc<dyn Sink>) = (rows, dead);
    let pipeline = Pipeline::start(config, source, transforms, spec(), rows_sink, dead_sink).unwrap();
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    assert_eq!(pipeline.status().duplicate, 5);
    let of = |name: &str| kept.value(&format!("millrace_{name} pipeline=metered"));
    let dead_lettered = |stage: &str, class: &str| {
        let labels = format!("pipeline=metered stage={stage} error_class={class}");
        kept.value(&format!("millrace_messages_dead_lettered_total {labels}"))
    };
    assert_eq!([of("messages_read_total"), of("messages_written_total")], [24, 7]);
    assert_eq!([of("messages_filtered_total"), of("messages_expired_total")], [8, 6]);
    assert_eq!([of("messages_duplicate_total"), of("commit_retries_total")], [5, 1]);
    assert_eq!([dead_lettered("udf", "udf_threw"), dead_lettered("sink", "sink_rejected")], [8, 1]);
    assert!(of("windows_total") >= 1 && of("commit_seconds") == of("windows_total"));
    assert!(of("transform_seconds") >= 1);
    drop(pipeline);
    nothing_before_a_stretch_has_expired(&kept);
    let described = include_str!("../../../../docs/metrics.md");
    for name in kept.0.lock().unwrap().keys() {
        let name = name.split(' ').next().unwrap_or_default();
        assert!(described.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

fn nothing_before_a_stretch_has_expired(kept: &Kept) {
    let (source, rows, dead) = (FakeSource::new(30), FakeSink::new("again"), FakeSink::new("again_dead"));
    source.with(|state| state.start = 12);
    let slice = Arc::new(SourceSlice::new(source, Offset(10), Offset(20)));
    let transforms = FakeTransforms::new("", |_| Fate::Write);
    let config = PipelineConfig::new("again");
    let pipeline = Pipeline::start(config, slice, transforms, spec(), rows, dead).unwrap();
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    let of = |name: &str| kept.value(&format!("millrace_{name} pipeline=again"));
    assert_eq!([of("messages_read_total"), of("messages_expired_total")], [8, 2]);
}
