//! BigQuery subscriptions, over an exporter that keeps what it is asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use millrace_disk::sim::SimDisk;
use millrace_model::{Micros, Offset, ReadLimit, Source as _};
use serde_json::json;
use tonic::Code;

use super::{SUBSCRIPTION, Server, TOPIC, texts};
use crate::proto::v1;
use crate::{Export, ExportFault, ExportHook, Exporter, PubsubConfig, export_records};

/// Tables are there unless their name says otherwise.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) open: Mutex<BTreeMap<String, (Export, Offset)>>,
    calls: Mutex<Vec<String>>,
    pub(super) written: Mutex<BTreeMap<String, Offset>>,
    /// One that has come since.
    pub(super) declared: Mutex<Option<String>>,
}

impl Tables {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    pub(super) fn write_up_to(&self, position: u64) {
        let mut open = self.open.lock().unwrap();
        open.get_mut(SUBSCRIPTION).unwrap().1 = Offset(position);
    }

    pub(super) fn export(&self) -> Export {
        self.open.lock().unwrap()[SUBSCRIPTION].0.clone()
    }

    fn fault(&self, export: &Export) -> Result<(), ExportFault> {
        let table = export.table.clone();
        if self.declared.lock().unwrap().as_ref() == Some(&table) {
            return Ok(());
        }
        match table.split_once('.').unwrap().1 {
            "missing" => Err(ExportFault::NotFound(format!("there is no table {table}"))),
            "other" => Err(ExportFault::SchemaMismatch(format!("{table} has no column data"))),
            "taken" => Err(ExportFault::PermissionDenied(format!("{table} is written by another"))),
            _ => Ok(()),
        }
    }
}

impl Exporter for Tables {
    fn check(&self, export: &Export) -> Result<(), ExportFault> {
        self.fault(export)
    }

    fn written(&self, export: &Export) -> Result<Option<Offset>, ExportFault> {
        Ok(self.written.lock().unwrap().get(&export.table).copied())
    }

    fn open(&self, export: Export) {
        if self.fault(&export).is_err() {
            return;
        }
        self.note(format!("open {} from {}", export.table, export.start));
        let start = export.start;
        self.open.lock().unwrap().insert(export.subscription.clone(), (export, start));
    }

    fn close(&self, subscription: &str) -> Option<Offset> {
        let (export, position) = self.open.lock().unwrap().remove(subscription)?;
        self.note(format!("close {} at {position}", export.table));
        Some(position)
    }

    fn state(&self, subscription: &str) -> Result<(), ExportFault> {
        let open = self.open.lock().unwrap();
        let missing = || ExportFault::NotFound(format!("{subscription} is not written"));
        open.get(subscription).map_or_else(|| Err(missing()), |(export, _)| self.fault(export))
    }

    fn position(&self, subscription: &str) -> Option<Offset> {
        self.open.lock().unwrap().get(subscription).map(|(_, position)| *position)
    }
}

pub(super) fn with(tables: &Arc<Tables>) -> impl FnOnce(&mut PubsubConfig) + use<> {
    let exporter: Arc<dyn Exporter> = Arc::<Tables>::clone(tables);
    move |config| config.exports = ExportHook::new(exporter)
}

pub(super) fn config(table: &str) -> Option<v1::BigQueryConfig> {
    Some(v1::BigQueryConfig { table: table.to_owned(), use_table_schema: true, ..Default::default() })
}

pub(super) fn subscription(change: impl FnOnce(&mut v1::Subscription)) -> v1::Subscription {
    let mut subscription = v1::Subscription {
        name: SUBSCRIPTION.to_owned(),
        topic: TOPIC.to_owned(),
        bigquery_config: config("local.lake.rows"),
        ..v1::Subscription::default()
    };
    change(&mut subscription);
    subscription
}

pub(super) fn update(
    paths: &[&str],
    change: impl FnOnce(&mut v1::Subscription),
) -> v1::UpdateSubscriptionRequest {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    let update_mask = Some(prost_types::FieldMask { paths });
    v1::UpdateSubscriptionRequest { subscription: Some(subscription(change)), update_mask }
}

/// Scenario: settings that contradict each other, tables that are not there or do not fit, and a server
/// without tables.
/// Guarantees: each is refused with its code and the reason, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_refused() {
    type Change = fn(&mut v1::Subscription);
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    let cases: [(Change, Code, &str); 9] = [
        (|own| own.bigquery_config = config("lake.rows"), Code::InvalidArgument, "PROJECT.DATASET.TABLE"),
        (
            |own| own.bigquery_config = config("local.lake.missing"),
            Code::NotFound,
            "there is no table lake.missing",
        ),
        (|own| own.bigquery_config = config("local.lake.other"), Code::InvalidArgument, "has no column data"),
        (|own| own.bigquery_config = config("local.lake.taken"), Code::PermissionDenied, "by another"),
        (|own| own.enable_exactly_once_delivery = true, Code::InvalidArgument, "exclude each other"),
        (
            |own| {
                let push_endpoint = "http://127.0.0.1:1/".to_owned();
                own.push_config = Some(v1::PushConfig { push_endpoint, ..Default::default() });
            },
            Code::InvalidArgument,
            "push_config exclude each other",
        ),
        (
            |own| own.bigquery_config.as_mut().unwrap().use_topic_schema = true,
            Code::InvalidArgument,
            "cannot be enabled at the same time",
        ),
        (
            |own| {
                let own = own.bigquery_config.as_mut().unwrap();
                (own.use_topic_schema, own.use_table_schema) = (true, false);
            },
            Code::Unimplemented,
            "set use_table_schema",
        ),
        (
            |own| own.message_transforms = vec![v1::MessageTransform::default()],
            Code::Unimplemented,
            "message_transforms",
        ),
    ];
    for (change, code, text) in cases {
        let error = server.subscriber().create_subscription(subscription(change)).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(text), "{error}");
    }
    assert!(tables.calls().is_empty());
    assert!(server.broker.figures().is_empty());
    let cursors = server.log.topics().iter().map(|topic| topic.cursors().len()).sum::<usize>();
    assert_eq!(cursors, 0);
    let without = Server::start();
    without.topic(TOPIC).await;
    let error = without.subscriber().create_subscription(subscription(|_| {})).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error}");
}

/// Scenario: a BigQuery subscription on a topic with a message; more are published, some are written; the
/// power goes; all the ways in which a client may ask for messages.
/// Guarantees: it is written from where it was made, also after the restart; what is written counts as
/// acked; nobody else gets or acks its messages; it is written down for who only reads.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_written_from_where_it_was_made() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    server.publish(TOPIC, &[("before", "")]).await;
    let made = server.subscriber().create_subscription(subscription(|_| {})).await.unwrap().into_inner();
    assert_eq!(made.bigquery_config.unwrap().state(), v1::big_query_config::State::Active);
    assert_eq!(tables.calls(), ["open lake.rows from 1"]);
    let export = tables.export();
    assert_eq!(
        (export.project.as_str(), export.use_table_schema, export.write_metadata),
        ("local", true, false)
    );
    server.publish(TOPIC, &[("a", ""), ("b", ""), ("c", "")]).await;
    let pull =
        v1::PullRequest { subscription: SUBSCRIPTION.to_owned(), max_messages: 1, ..Default::default() };
    let acknowledge =
        v1::AcknowledgeRequest { subscription: SUBSCRIPTION.to_owned(), ack_ids: vec!["x".to_owned()] };
    let modify = v1::ModifyAckDeadlineRequest {
        subscription: SUBSCRIPTION.to_owned(),
        ack_ids: vec!["x".to_owned()],
        ack_deadline_seconds: 10,
    };
    let target = Some(v1::seek_request::Target::Time(prost_types::Timestamp::default()));
    let seek = v1::SeekRequest { subscription: SUBSCRIPTION.to_owned(), target };
    let open = v1::StreamingPullRequest {
        subscription: SUBSCRIPTION.to_owned(),
        stream_ack_deadline_seconds: 10,
        ..Default::default()
    };
    let mut subscriber = server.subscriber();
    for refused in [
        subscriber.pull(pull).await.map(|_| ()),
        subscriber.acknowledge(acknowledge).await.map(|_| ()),
        subscriber.modify_ack_deadline(modify).await.map(|_| ()),
        subscriber.seek(seek).await.map(|_| ()),
        subscriber.streaming_pull(tokio_stream::iter([open])).await.map(|_| ()),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.message().contains("is a BigQuery subscription"), "{error}");
    }
    assert_eq!(server.broker.figures()[0].backlog_messages, 3);
    tables.write_up_to(3);
    server.broker.maintain(Micros::now());
    assert_eq!(server.broker.figures()[0].backlog_messages, 1);
    let server = server.restart_with(with(&tables));
    assert_eq!(tables.calls(), ["open lake.rows from 1"]);
    // What was not written down before the power went, the table says again.
    tables.write_up_to(3);
    server.broker.maintain(Micros::now());
    assert_eq!(server.broker.figures()[0].backlog_messages, 1);
    let records = export_records(Arc::new(server.disk.process()), Path::new("pubsub")).unwrap();
    let record = &records[0];
    assert_eq!(
        (records.len(), record.subscription.as_str(), record.topic.as_str()),
        (1, SUBSCRIPTION, "p~top")
    );
    assert_eq!((record.start, record.table.as_str()), (Offset(1), "lake.rows"));
}

/// Scenario: a table that is gone at the restart.
/// Guarantees: the subscription is there, says why it is not written, and holds its messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_is_told_by_the_state() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    server.subscriber().create_subscription(subscription(|_| {})).await.unwrap();
    server.publish(TOPIC, &[("a", "")]).await;
    tables.open.lock().unwrap().get_mut(SUBSCRIPTION).unwrap().0.table = "lake.missing".to_owned();
    for path in ["/v1/projects/p/subscriptions/sub", "/v1/projects/p/subscriptions"] {
        let (status, shown) = server.rest("GET", path, None).await;
        let shown = if shown["subscriptions"].is_null() { shown } else { shown["subscriptions"][0].clone() };
        assert_eq!((status, &shown["state"]), (200, &json!("RESOURCE_ERROR")), "{shown}");
        assert_eq!(shown["bigqueryConfig"]["state"], "NOT_FOUND", "{shown}");
    }
    server.broker.maintain(Micros::now());
    assert_eq!(server.broker.figures()[0].backlog_messages, 1);
}

/// Scenario: other settings, another table, settings that are none of the table's, and another kind of
/// subscription.
/// Guarantees: it goes on where it was, with another table from there; what is refused changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn changes_go_on_from_where_it_was() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    server.subscriber().create_subscription(subscription(|_| {})).await.unwrap();
    server.publish(TOPIC, &[("a", ""), ("b", ""), ("c", "")]).await;
    tables.calls();
    tables.write_up_to(2);
    let mut subscriber = server.subscriber();
    let labels = update(&["labels"], |own| own.labels = [("a".to_owned(), "b".to_owned())].into());
    subscriber.update_subscription(labels).await.unwrap();
    assert!(tables.calls().is_empty());
    let metadata = update(&["bigquery_config.write_metadata"], |own| {
        own.bigquery_config.as_mut().unwrap().write_metadata = true;
    });
    subscriber.update_subscription(metadata).await.unwrap();
    assert_eq!(tables.calls(), ["close lake.rows at 2", "open lake.rows from 0"]);
    assert!(tables.export().write_metadata);
    tables.write_up_to(2);
    let missing = update(&["bigquery_config"], |own| own.bigquery_config = config("local.lake.missing"));
    let error = subscriber.update_subscription(missing).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(tables.calls().is_empty());
    server.disk.fail_next_syncs(1);
    let another = || update(&["bigquery_config"], |own| own.bigquery_config = config("local.lake.more"));
    let error = subscriber.update_subscription(another()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_eq!(tables.calls(), ["close lake.rows at 2", "open lake.rows from 0"]);
    tables.write_up_to(2);
    subscriber.update_subscription(another()).await.unwrap();
    assert_eq!(tables.calls(), ["close lake.rows at 2", "open lake.more from 2"]);
    for change in [None, Some(v1::BigQueryConfig::default())] {
        let cleared = update(&["bigquery_config"], move |own| own.bigquery_config = change);
        let error = subscriber.update_subscription(cleared).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    }
    drop(server.restart_with(with(&tables)));
    assert_eq!(tables.calls(), ["open lake.more from 2"]);
}

/// Scenario: one is detached, another deleted.
/// Guarantees: neither is written any more, and after a restart neither is again.
#[tokio::test(flavor = "multi_thread")]
async fn detached_and_deleted_ones_are_not_written() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    let other = "projects/p/subscriptions/other";
    let mut subscriber = server.subscriber();
    subscriber.create_subscription(subscription(|_| {})).await.unwrap();
    let more = |own: &mut v1::Subscription| {
        (own.name, own.bigquery_config) = (other.to_owned(), config("local.lake.more"));
    };
    subscriber.create_subscription(subscription(more)).await.unwrap();
    tables.calls();
    let detach = v1::DetachSubscriptionRequest { subscription: SUBSCRIPTION.to_owned() };
    server.publisher().detach_subscription(detach).await.unwrap();
    subscriber
        .delete_subscription(v1::DeleteSubscriptionRequest { subscription: other.to_owned() })
        .await
        .unwrap();
    assert_eq!(tables.calls(), ["close lake.rows at 0", "close lake.more at 0"]);
    let get = v1::GetSubscriptionRequest { subscription: SUBSCRIPTION.to_owned() };
    let shown = subscriber.get_subscription(get).await.unwrap().into_inner();
    assert!(shown.detached && shown.bigquery_config.unwrap().state == 0);
    let server = server.restart_with(with(&tables));
    assert!(tables.calls().is_empty());
    assert!(export_records(Arc::new(server.disk.process()), Path::new("pubsub")).unwrap().is_empty());
}

/// Scenario: a message that cannot be written, with a dead-letter policy; then without its topic.
/// Guarantees: it is in the dead-letter topic with where it comes from and why; a failure is told.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_goes_to_the_dead_letter_topic() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    let dead = "projects/p/topics/dead";
    server.topic(TOPIC).await;
    server.topic(dead).await;
    let policy = v1::DeadLetterPolicy { dead_letter_topic: dead.to_owned(), max_delivery_attempts: 0 };
    let own = subscription(|own| own.dead_letter_policy = Some(policy));
    server.subscriber().create_subscription(own).await.unwrap();
    let watch = "projects/p/subscriptions/watch";
    let of_dead = v1::Subscription { name: watch.to_owned(), topic: dead.to_owned(), ..Default::default() };
    server.subscriber().create_subscription(of_dead).await.unwrap();
    server.publish(TOPIC, &[("bad", "k")]).await;
    let export = tables.export();
    let limit = ReadLimit { messages_max: 1, bytes_max: 1, end: None };
    let batch = export.topic.read(Offset(0), limit).unwrap();
    let letters = export.dead_letters.unwrap();
    let reason = format!("{}é", "x".repeat(1023));
    let (again, twice) = (letters.clone(), batch.clone());
    tokio::task::spawn_blocking(move || letters.forward(&batch, [(0, reason.as_str())].into_iter()))
        .await
        .unwrap()
        .unwrap();
    let received = server.pull_late(watch).await;
    assert_eq!(texts(&received), ["bad"]);
    let message = received[0].message.clone().unwrap();
    assert_eq!((message.ordering_key.as_str(), message.attributes["kind"].as_str()), ("k", "bad"));
    let attribute = |end: &str| &message.attributes[&format!("CloudPubSubDeadLetterSource{end}")];
    assert_eq!((attribute("Subscription").as_str(), attribute("SubscriptionProject").as_str()), ("sub", "p"));
    assert_eq!(*attribute("DeliveryErrorMessage"), "x".repeat(1023));
    server.publisher().delete_topic(v1::DeleteTopicRequest { topic: dead.to_owned() }).await.unwrap();
    let error = tokio::task::spawn_blocking(move || again.forward(&twice, [(0, "")].into_iter()))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}
