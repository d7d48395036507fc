//! BigQuery subscriptions that could not be written, that are sent elsewhere, and that somebody else writes.

use std::sync::Arc;

use millrace_disk::sim::SimDisk;
use millrace_model::{Micros, Offset};
use tonic::Code;

use super::exports::{Tables, config, subscription, update, with};
use super::{SUBSCRIPTION, Server, TOPIC};
use crate::proto::v1;

/// Scenario: a table that is gone at a start, and comes back while the server runs.
/// Guarantees: the subscription says so, and is written again from where it began without anybody asking.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_written_is_tried_again() {
    let tables = Arc::new(Tables::default());
    let declare = |table: Option<&str>| *tables.declared.lock().unwrap() = table.map(str::to_owned);
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    server.publish(TOPIC, &[("before", "")]).await;
    declare(Some("lake.missing"));
    let own = subscription(|own| own.bigquery_config = config("local.lake.missing"));
    server.subscriber().create_subscription(own).await.unwrap();
    assert_eq!(tables.calls(), ["open lake.missing from 1"]);
    declare(None);
    tables.open.lock().unwrap().clear();
    let server = server.restart_with(with(&tables));
    server.broker.maintain(Micros::now());
    assert!(tables.calls().is_empty());
    declare(Some("lake.missing"));
    server.broker.maintain(Micros::now());
    assert_eq!(tables.calls(), ["open lake.missing from 1"]);
    server.broker.maintain(Micros::now());
    assert!(tables.calls().is_empty());
}

/// Scenario: a second subscription on the same topic and table, while the first one can be written and while
/// it cannot, and when it is detached.
/// Guarantees: there is one at a time, so that each message has one row.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_a_topics_messages_from_one_subscription() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    let mut subscriber = server.subscriber();
    subscriber.create_subscription(subscription(|_| {})).await.unwrap();
    let second = || subscription(|own| own.name = "projects/p/subscriptions/second".to_owned());
    for is_written in [true, false] {
        if !is_written {
            tables.open.lock().unwrap().clear();
        }
        let refused = subscriber.create_subscription(second()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains(SUBSCRIPTION), "{}", refused.message());
    }
    let detach = v1::DetachSubscriptionRequest { subscription: SUBSCRIPTION.to_owned() };
    server.publisher().detach_subscription(detach).await.unwrap();
    subscriber.create_subscription(second()).await.unwrap();
}

/// Scenario: a subscription is sent to a table that has later messages of its topic from an earlier one.
/// Guarantees: it is refused until it has come there itself; what is between would be in neither table.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_ahead_is_refused() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    server.subscriber().create_subscription(subscription(|_| {})).await.unwrap();
    server.publish(TOPIC, &[("a", ""), ("b", ""), ("c", "")]).await;
    tables.written.lock().unwrap().insert("lake.more".to_owned(), Offset(2));
    tables.write_up_to(1);
    let more = || update(&["bigquery_config"], |own| own.bigquery_config = config("local.lake.more"));
    let refused = server.subscriber().update_subscription(more()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("before offset 2"), "{}", refused.message());
    tables.calls();
    tables.write_up_to(2);
    server.subscriber().update_subscription(more()).await.unwrap();
    assert_eq!(tables.calls(), ["close lake.rows at 2", "open lake.more from 2"]);
    // Back again at once: the table that it has come to has not committed anything yet, and says where it was.
    tables.write_up_to(1);
    tables.written.lock().unwrap().insert("lake.rows".to_owned(), Offset(2));
    let back = update(&["bigquery_config"], |_| {});
    server.subscriber().update_subscription(back).await.unwrap();
    assert_eq!(tables.calls(), ["close lake.more at 1", "open lake.rows from 2"]);
}

/// Scenario: a subscription that could not be opened is sent to another table; its own has some messages
/// that the acks do not say.
/// Guarantees: it goes on where its table is.
#[tokio::test(flavor = "multi_thread")]
async fn where_it_goes_on_is_asked_of_the_table() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    server.subscriber().create_subscription(subscription(|_| {})).await.unwrap();
    server.publish(TOPIC, &[("a", ""), ("b", ""), ("c", "")]).await;
    tables.open.lock().unwrap().clear();
    tables.written.lock().unwrap().insert("lake.rows".to_owned(), Offset(2));
    tables.calls();
    let more = update(&["bigquery_config"], |own| own.bigquery_config = config("local.lake.more"));
    server.subscriber().update_subscription(more).await.unwrap();
    assert_eq!(tables.calls(), ["open lake.more from 2"]);
}

/// Scenario: a `bigquery_config` that names no table, and one that says nothing at all.
/// Guarantees: the first is refused, since messages would be kept for nobody; the second is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_names_its_table() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    let mut subscriber = server.subscriber();
    let refused = subscriber.create_subscription(subscription(|own| own.bigquery_config = config(""))).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("bigquery_config.table"), "{}", refused.message());
    let none = subscription(|own| own.bigquery_config = Some(v1::BigQueryConfig::default()));
    assert_eq!(subscriber.create_subscription(none).await.unwrap().into_inner().bigquery_config, None);
}

/// Scenario: dead letters would go to the subscription's own topic.
/// Guarantees: it is refused: each would be a dead letter again.
#[tokio::test(flavor = "multi_thread")]
async fn its_own_topic_is_no_dead_letter_topic() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    let policy = v1::DeadLetterPolicy { dead_letter_topic: TOPIC.to_owned(), max_delivery_attempts: 0 };
    let own = subscription(|own| own.dead_letter_policy = Some(policy));
    let refused = server.subscriber().create_subscription(own).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("own topic"), "{}", refused.message());
}

/// Scenario: the server ended in the middle of detaching: it is written down, and the cursor still there.
/// Guarantees: after a start the topic is not held back any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_a_detached_one_holds_nothing() {
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    server.subscriber().create_subscription(subscription(|_| {})).await.unwrap();
    let topic = tables.export().topic;
    let cursor = topic.cursors()[0].name().to_owned();
    let detach = v1::DetachSubscriptionRequest { subscription: SUBSCRIPTION.to_owned() };
    server.publisher().detach_subscription(detach).await.unwrap();
    assert!(topic.cursors().is_empty());
    let limits = server.broker.cursor_config();
    topic.create_cursor(&cursor, millrace_log::CursorStart::End, limits).unwrap();
    let name = topic.name().to_owned();
    drop(topic);
    let server = server.restart_with(with(&tables));
    assert!(server.broker.topics.log().topic(&name).unwrap().cursors().is_empty());
}

/// Scenario: nothing is published for longer than an unused subscription lives; once its pipeline is there, once
/// it is not.
/// Guarantees: one that is written stays.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_written_is_in_use() {
    let after = |days: i64, minutes: i64| Micros(Micros::now().0 + (days * 1_440 + minutes) * 60_000_000);
    let tables = Arc::new(Tables::default());
    let server = Server::on(SimDisk::new(11), with(&tables));
    server.topic(TOPIC).await;
    let own = subscription(|own| own.bigquery_config = config("local.lake.missing"));
    *tables.declared.lock().unwrap() = Some("lake.missing".to_owned());
    server.subscriber().create_subscription(own).await.unwrap();
    [0, 40, 80].iter().for_each(|minutes| server.broker.maintain(after(32, *minutes)));
    assert_eq!(server.broker.figures().len(), 1);
    *tables.declared.lock().unwrap() = None;
    tables.open.lock().unwrap().clear();
    [0, 40, 80].iter().for_each(|minutes| server.broker.maintain(after(64, *minutes)));
    assert!(server.broker.figures().is_empty());
}
