//! `millrace topic`, `millrace subscription` and `millrace snapshot`: the Pub/Sub port's REST API of the running server.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::cli::{CreateSubscription, Format, Snapshot, Subscription, Topic};
use crate::client::Client;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::output;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Runs a command on topics.
///
/// # Errors
/// When no server runs, or what it says.
pub fn topic(config: &Config, command: &Topic) -> Result<()> {
    let client = client(config)?;
    match command {
        Topic::List { project, format } => {
            let project = project.as_ref().unwrap_or(&config.project);
            let topics = list(&client, project, "topics")?;
            let row = |topic: &Value| vec![topic["name"].clone(), topic["messageRetentionDuration"].clone()];
            output::print(*format, &["name", "retention"], &topics.iter().map(row).collect::<Vec<_>>())
        }
        Topic::Create { name, retention_seconds } => {
            let name = whole(config, "topics", name)?;
            let retention = retention_seconds.map(|seconds| format!("{seconds}s"));
            let body = retention
                .map_or_else(|| json!({}), |retention| json!({"messageRetentionDuration": retention}));
            let _: Value = client.put(&path(&name), &body)?;
            println!("{name} is there");
            Ok(())
        }
        Topic::Delete { name } => delete(&client, &whole(config, "topics", name)?),
        Topic::Publish { name, data, attribute, ordering_key } => {
            let name = whole(config, "topics", name)?;
            let mut message = json!({"data": STANDARD.encode(data), "attributes": attributes(attribute)?});
            if let Some(key) = ordering_key {
                message["orderingKey"] = json!(key);
            }
            let body = json!({"messages": [message]}).to_string();
            let answer: Value = client.post(&format!("{}:publish", path(&name)), JSON, &body)?;
            println!("{}", answer["messageIds"][0].as_str().unwrap_or_default());
            Ok(())
        }
    }
}

/// Runs a command on subscriptions.
///
/// # Errors
/// When no server runs, or what it says.
pub fn subscription(config: &Config, command: &Subscription) -> Result<()> {
    let client = client(config)?;
    match command {
        Subscription::List { project, format } => {
            let project = project.as_ref().unwrap_or(&config.project);
            list_subscriptions(*format, &list(&client, project, "subscriptions")?)
        }
        Subscription::Create(create) => {
            let name = whole(config, "subscriptions", &create.name)?;
            let _: Value = client.put(&path(&name), &resource(config, create)?)?;
            println!("{name} is there");
            Ok(())
        }
        Subscription::Delete { name } => delete(&client, &whole(config, "subscriptions", name)?),
        Subscription::Pull { name, limit, ack, format } => {
            pull(&client, &whole(config, "subscriptions", name)?, *limit, *ack, *format)
        }
        Subscription::Seek { name, time, snapshot } => {
            let name = whole(config, "subscriptions", name)?;
            let body = match (time, snapshot) {
                (Some(time), _) => json!({"time": time}),
                (None, Some(snapshot)) => json!({"snapshot": whole(config, "snapshots", snapshot)?}),
                (None, None) => bail!("give --time or --snapshot"),
            };
            let _: Value = client.post(&format!("{}:seek", path(&name)), JSON, &body.to_string())?;
            println!("{name} was sent there");
            Ok(())
        }
    }
}

/// Runs a command on snapshots.
///
/// # Errors
/// When no server runs, or what it says.
pub fn snapshot(config: &Config, command: &Snapshot) -> Result<()> {
    let client = client(config)?;
    match command {
        Snapshot::List { project, format } => {
            let project = project.as_ref().unwrap_or(&config.project);
            let snapshots = list(&client, project, "snapshots")?;
            let row = |snapshot: &Value| {
                vec![snapshot["name"].clone(), snapshot["topic"].clone(), snapshot["expireTime"].clone()]
            };
            let rows: Vec<_> = snapshots.iter().map(row).collect();
            output::print(*format, &["name", "topic", "expire_time"], &rows)
        }
        Snapshot::Create { name, subscription } => {
            let name = whole(config, "snapshots", name)?;
            let body = json!({"subscription": whole(config, "subscriptions", subscription)?});
            let _: Value = client.put(&path(&name), &body)?;
            println!("{name} is there");
            Ok(())
        }
        Snapshot::Delete { name } => delete(&client, &whole(config, "snapshots", name)?),
    }
}

fn client(config: &Config) -> Result<Client> {
    let data = DataDir::new(&config.data_dir);
    let server = data.running_server()?.context(
        "no server runs in this data directory: start `millrace run`, or name the directory with --data-dir",
    )?;
    let base = server.pubsub.context("the running server has no Pub/Sub port: set server.pubsub_port")?;
    Client::new(config, &base)
}

/// The whole name of a resource of a kind.
fn whole(config: &Config, kind: &str, name: &str) -> Result<String> {
    let parts: Vec<_> = name.split('/').collect();
    match parts[..] {
        [id] => Ok(format!("projects/{}/{kind}/{id}", config.project)),
        ["projects", _, of_kind, _] if of_kind == kind => Ok(name.to_owned()),
        _ => bail!("{name:?} must be an id, or whole: projects/PROJECT/{kind}/ID"),
    }
}

/// A resource's path in the API. What a name must not hold is for the server to say.
fn path(name: &str) -> String {
    let mut path = "/v1/".to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

fn list(client: &Client, project: &str, kind: &str) -> Result<Vec<Value>> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let token_part = if token.is_empty() {
            String::new()
        } else {
            format!("?pageToken={}", token.replace('%', "%25"))
        };
        let page: Map<String, Value> = client.get(&format!("/v1/projects/{project}/{kind}{token_part}"))?;
        all.extend(page.get(kind).and_then(Value::as_array).into_iter().flatten().cloned());
        match page.get("nextPageToken").and_then(Value::as_str) {
            Some(next) if !next.is_empty() => next.clone_into(&mut token),
            _ => return Ok(all),
        }
    }
}

fn delete(client: &Client, name: &str) -> Result<()> {
    if !client.delete(&path(name))? {
        bail!("there is no {name}");
    }
    println!("{name} is deleted");
    Ok(())
}

fn attributes(pairs: &[String]) -> Result<Map<String, Value>> {
    let pair = |pair: &String| {
        let (key, value) = pair.split_once('=').with_context(|| format!("{pair:?} is not key=value"))?;
        Ok((key.to_owned(), json!(value)))
    };
    pairs.iter().map(pair).collect()
}

fn resource(config: &Config, create: &CreateSubscription) -> Result<Value> {
    let mut resource = json!({
        "topic": whole(config, "topics", &create.topic)?,
        "ackDeadlineSeconds": create.ack_deadline_seconds,
        "enableMessageOrdering": create.ordered,
        "enableExactlyOnceDelivery": create.exactly_once,
        "filter": create.filter.clone().unwrap_or_default(),
    });
    if let Some(topic) = &create.dead_letter_topic {
        resource["deadLetterPolicy"] = json!({"deadLetterTopic": whole(config, "topics", topic)?});
    }
    if let Some(table) = &create.bigquery_table {
        // Two names are dataset and table.
        let is_short = table.split(['.', ':']).count() == 2;
        let table = if is_short { format!("{}.{table}", config.project) } else { table.clone() };
        resource["bigqueryConfig"] = json!({
            "table": table,
            "useTableSchema": create.use_table_schema,
            "writeMetadata": create.write_metadata,
            "dropUnknownFields": create.drop_unknown_fields,
        });
    }
    Ok(resource)
}

fn list_subscriptions(format: Format, subscriptions: &[Value]) -> Result<()> {
    let columns = [
        "name",
        "topic",
        "ack_deadline_seconds",
        "ordered",
        "exactly_once",
        "filter",
        "dead_letter_topic",
        "detached",
        "bigquery_table",
        "state",
    ];
    let row = |subscription: &Value| {
        let flag = |name: &str| json!(subscription[name].as_bool().unwrap_or(false));
        vec![
            subscription["name"].clone(),
            subscription["topic"].clone(),
            subscription["ackDeadlineSeconds"].clone(),
            flag("enableMessageOrdering"),
            flag("enableExactlyOnceDelivery"),
            subscription["filter"].clone(),
            subscription["deadLetterPolicy"]["deadLetterTopic"].clone(),
            flag("detached"),
            subscription["bigqueryConfig"]["table"].clone(),
            subscription["bigqueryConfig"]["state"]
                .as_str()
                .map_or(subscription["state"].clone(), |own| json!(own)),
        ]
    };
    output::print(format, &columns, &subscriptions.iter().map(row).collect::<Vec<_>>())
}

fn pull(client: &Client, name: &str, limit: u32, ack: bool, format: Format) -> Result<()> {
    let body = json!({"maxMessages": limit, "returnImmediately": true}).to_string();
    let answer: Value = client.post(&format!("{}:pull", path(name)), JSON, &body)?;
    let received = answer["receivedMessages"].as_array().cloned().unwrap_or_default();
    let row = |received: &Value| {
        let message = &received["message"];
        let data = STANDARD.decode(message["data"].as_str().unwrap_or_default()).unwrap_or_default();
        vec![
            message["messageId"].clone(),
            message["publishTime"].clone(),
            json!(message["attributes"].as_object().map(|all| Value::Object(all.clone()).to_string())),
            message["orderingKey"].clone(),
            json!(String::from_utf8_lossy(&data)),
        ]
    };
    let columns = ["message_id", "publish_time", "attributes", "ordering_key", "data"];
    output::print(format, &columns, &received.iter().map(row).collect::<Vec<_>>())?;
    if ack && !received.is_empty() {
        let ids: Vec<&Value> = received.iter().map(|received| &received["ackId"]).collect();
        let body = json!({"ackIds": ids}).to_string();
        let _: Value = client.post(&format!("{}:acknowledge", path(name)), JSON, &body)?;
    }
    Ok(())
}
