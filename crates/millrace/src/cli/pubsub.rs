//! What `millrace topic`, `millrace subscription` and `millrace snapshot` take.

use clap::{Args, Subcommand};

use super::Format;

/// Names are ids of the configured project, or whole: projects/PROJECT/topics/ID.
#[derive(Debug, Subcommand)]
pub enum Topic {
    /// The topics of a project.
    List {
        /// The project (default: that of the configuration).
        #[arg(long)]
        project: Option<String>,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Make a topic.
    Create {
        name: String,
        /// How long it keeps messages, in seconds, for seeks into the past.
        #[arg(long)]
        retention_seconds: Option<u64>,
    },
    /// Delete a topic; its subscriptions keep what they have.
    Delete { name: String },
    /// Publish one message, and print its id when it is durable.
    Publish {
        name: String,
        /// Its data.
        data: String,
        /// An attribute, as key=value; may be given more than once.
        #[arg(long)]
        attribute: Vec<String>,
        /// Messages of one key are delivered in order.
        #[arg(long)]
        ordering_key: Option<String>,
    },
}

/// Names are ids of the configured project, or whole: projects/PROJECT/subscriptions/ID.
#[derive(Debug, Subcommand)]
pub enum Subscription {
    /// The subscriptions of a project.
    List {
        /// The project (default: that of the configuration).
        #[arg(long)]
        project: Option<String>,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Make a subscription to what is published from now on.
    Create(CreateSubscription),
    /// Delete a subscription, and what it has not delivered.
    Delete { name: String },
    /// Print messages, and ack them if asked to; else they come again after their deadline.
    Pull {
        name: String,
        /// At most so many.
        #[arg(long, default_value_t = 10)]
        limit: u32,
        /// Ack them.
        #[arg(long)]
        ack: bool,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Send a subscription to a moment or a snapshot.
    Seek {
        name: String,
        /// As 2026-11-22T10:00:00Z: what was published before counts as acked, all else does not.
        #[arg(long, required_unless_present = "snapshot")]
        time: Option<String>,
        /// A snapshot of the same topic.
        #[arg(long, conflicts_with = "time")]
        snapshot: Option<String>,
    },
}

/// Names are ids of the configured project, or whole: projects/PROJECT/snapshots/ID.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// The snapshots of a project.
    List {
        /// The project (default: that of the configuration).
        #[arg(long)]
        project: Option<String>,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Keep what a subscription has acked now, for `millrace subscription seek`; 7 days at most.
    Create {
        name: String,
        /// The subscription.
        #[arg(long)]
        subscription: String,
    },
    /// Delete a snapshot, so that it holds no messages back any more.
    Delete { name: String },
}

#[derive(Debug, Args)]
pub struct CreateSubscription {
    pub name: String,
    /// Its topic.
    #[arg(long)]
    pub topic: String,
    /// How long a subscriber has to ack, 10 to 600.
    #[arg(long, default_value_t = 10, allow_negative_numbers = true)]
    pub ack_deadline_seconds: u32,
    /// Only messages whose attributes pass, for instance: attributes.kind = "a".
    #[arg(long)]
    pub filter: Option<String>,
    /// Deliver messages of one ordering key in order.
    #[arg(long)]
    pub ordered: bool,
    /// No redelivery after an ack, none before the deadline.
    #[arg(long)]
    pub exactly_once: bool,
    /// Where messages go that are not acked after five deliveries.
    #[arg(long)]
    pub dead_letter_topic: Option<String>,
    /// Write to this declared table, dataset.table, and deliver to nobody: a BigQuery subscription.
    #[arg(long)]
    pub bigquery_table: Option<String>,
    /// The fields of each message, a JSON object, go to the columns of their names.
    #[arg(long, requires = "bigquery_table")]
    pub use_table_schema: bool,
    /// Fill subscription_name, message_id, publish_time and attributes, too.
    #[arg(long, requires = "bigquery_table")]
    pub write_metadata: bool,
    /// Leave fields out that the table has not; else such a message is a dead letter.
    #[arg(long, requires = "use_table_schema")]
    pub drop_unknown_fields: bool,
}
