//! How many there may be of everything.

use tonic::Code;

use super::{Rig, SUBSCRIPTION, TOPIC, refused, subscription, topic};
use crate::PubsubError;
use crate::limits::{LABELS_MAX, SCHEMA_REVISIONS_MAX};
use crate::proto::v1;

const DEFINITION: &str = r#"{"type": "record", "name": "R", "fields": []}"#;

impl Rig {
    fn schema(&self, id: &str) -> Result<v1::Schema, PubsubError> {
        self.broker.create_schema(v1::CreateSchemaRequest {
            parent: "projects/p".to_owned(),
            schema_id: id.to_owned(),
            schema: Some(avro("")),
        })
    }

    fn named_snapshot(&self, id: &str) -> Result<v1::Snapshot, PubsubError> {
        self.broker.create_snapshot(v1::CreateSnapshotRequest {
            name: format!("projects/p/snapshots/{id}"),
            subscription: SUBSCRIPTION.to_owned(),
            ..v1::CreateSnapshotRequest::default()
        })
    }
}

fn avro(name: &str) -> v1::Schema {
    let kind = v1::schema::Type::Avro.into();
    v1::Schema {
        name: name.to_owned(),
        r#type: kind,
        definition: DEFINITION.to_owned(),
        ..Default::default()
    }
}

/// Scenario: as many topics, subscriptions, snapshots and schemas as may be, and one more of each.
/// Guarantees: it is refused until another one is deleted, also after a restart.
#[test]
fn there_are_so_many_of_each_and_no_more() {
    let rig = Rig::with(|config| config.resources_max = 2);
    let full = |what: &str| format!("there are 2 {what}, which is the most");
    let one_more = |rig: &Rig| {
        let made = rig.broker.create_topic(topic("projects/p/topics/third"));
        refused(made, Code::ResourceExhausted, &full("topics"));
        let third = subscription(|own| own.name = format!("{SUBSCRIPTION}-3"));
        refused(rig.broker.create_subscription(third), Code::ResourceExhausted, &full("subscriptions"));
        refused(rig.named_snapshot("third"), Code::ResourceExhausted, &full("snapshots"));
        refused(rig.schema("third"), Code::ResourceExhausted, &full("schemas"));
    };
    rig.topic(TOPIC);
    rig.topic("projects/q/topics/top");
    rig.subscription(|_| {});
    rig.subscription(|own| own.name = format!("{SUBSCRIPTION}-2"));
    for id in ["first", "second"] {
        rig.named_snapshot(id).unwrap();
        rig.schema(id).unwrap();
    }
    one_more(&rig);
    let rig = rig.restart_with(|config| config.resources_max = 2);
    one_more(&rig);

    rig.broker.delete_topic("projects/q/topics/top").unwrap();
    rig.topic("projects/p/topics/third");
    rig.broker.delete_subscription(&format!("{SUBSCRIPTION}-2")).unwrap();
    rig.subscription(|own| own.name = format!("{SUBSCRIPTION}-3"));
    rig.broker.delete_snapshot("projects/p/snapshots/first").unwrap();
    rig.named_snapshot("third").unwrap();
    rig.broker.delete_schema("projects/p/schemas/first").unwrap();
    rig.schema("third").unwrap();
}

/// Scenario: as many revisions of a schema as may be, and one more, by a commit and by going back.
/// Guarantees: both are refused until a revision is deleted.
#[test]
fn a_schema_has_so_many_revisions() {
    let rig = Rig::new();
    let first = rig.schema("schema").unwrap();
    let name = first.name.as_str();
    let commit = || {
        let request = v1::CommitSchemaRequest { name: name.to_owned(), schema: Some(avro(name)) };
        rig.broker.commit_schema(request)
    };
    for _ in 1..SCHEMA_REVISIONS_MAX {
        commit().unwrap();
    }
    let full = format!("has {SCHEMA_REVISIONS_MAX} revisions");
    refused(commit(), Code::ResourceExhausted, &full);
    let back = v1::RollbackSchemaRequest { name: name.to_owned(), revision_id: first.revision_id.clone() };
    refused(rig.broker.rollback_schema(&back), Code::ResourceExhausted, &full);
    let name_of_first = format!("{name}@{}", first.revision_id);
    let delete = v1::DeleteSchemaRevisionRequest { name: name_of_first, ..Default::default() };
    rig.broker.delete_schema_revision(&delete).unwrap();
    commit().unwrap();
}

/// Scenario: as many labels as may be, and one more, on each kind of resource.
/// Guarantees: it is refused by the rule, at creation and by updates.
#[test]
fn a_resource_has_so_many_labels() {
    let labels = |count: usize| -> std::collections::BTreeMap<String, String> {
        (0..count).map(|number| (format!("label-{number}"), String::new())).collect()
    };
    let (most, too_many) = (labels(LABELS_MAX), labels(LABELS_MAX + 1));
    let rule = format!("at most {LABELS_MAX} labels, not {}", LABELS_MAX + 1);
    let rig = Rig::new();
    let with =
        |labels: &std::collections::BTreeMap<_, _>| v1::Topic { labels: labels.clone(), ..topic(TOPIC) };
    refused(rig.broker.create_topic(with(&too_many)), Code::InvalidArgument, &rule);
    rig.broker.create_topic(with(&most)).unwrap();
    refused(rig.update_topic("labels", with(&too_many)), Code::InvalidArgument, &rule);
    let own = |labels: &std::collections::BTreeMap<_, _>| {
        let labels = labels.clone();
        move |own: &mut v1::Subscription| own.labels = labels
    };
    refused(rig.broker.create_subscription(subscription(own(&too_many))), Code::InvalidArgument, &rule);
    rig.subscription(own(&most));
    refused(rig.update("labels", own(&too_many)), Code::InvalidArgument, &rule);
    let snapshot = |labels: &std::collections::BTreeMap<_, _>| v1::CreateSnapshotRequest {
        subscription: SUBSCRIPTION.to_owned(),
        labels: labels.clone(),
        ..v1::CreateSnapshotRequest::default()
    };
    refused(rig.broker.create_snapshot(snapshot(&too_many)), Code::InvalidArgument, &rule);
    rig.broker.create_snapshot(snapshot(&most)).unwrap();
}
