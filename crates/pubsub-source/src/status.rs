//! What the outside is told of a source.

/// How a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// It has not reached the service yet.
    Connecting,
    /// It reads.
    Running,
    /// It has messages that the log does not take now. They are kept, and tried again.
    Holding,
    /// It cannot read, and tries again; the error says why.
    Failing,
    /// It was stopped.
    Stopped,
}

impl SourceState {
    /// The word used in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Running => "running",
            Self::Holding => "holding",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
        }
    }
}

/// Totals since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages received, those that came again included.
    pub received: u64,
    /// Messages stored in the topic.
    pub appended: u64,
    /// Messages that the topic had already.
    pub duplicates: u64,
    /// Messages acknowledged; of an exactly-once subscription only those that the service confirmed.
    pub acks: u64,
    /// Acks that an exactly-once subscription did not confirm: the message comes again, and is recognised.
    pub ack_failures: u64,
    /// Messages given back.
    pub nacks: u64,
    /// Streams opened after the first.
    pub reconnects: u64,
    /// Times that an append was put off because the log did not take it.
    pub holds: u64,
    /// Messages whose id and publish time found no room among their attributes.
    pub metadata_left_out: u64,
}

/// What a source reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// The subscription that it reads, a temporary one too.
    pub subscription: String,
    /// The topic that it fills.
    pub topic: String,
    /// Whether a message is acknowledged when it is synced; else when its row is committed.
    pub durable: bool,
    /// How it is doing.
    pub state: SourceState,
    /// Why it is not running.
    pub error: Option<String>,
    /// Totals.
    pub counts: Counts,
    /// Messages received and not answered yet.
    pub outstanding: u64,
    /// Seconds since the service last answered: with a message, or when asked whether it is there.
    pub stalled_seconds: u64,
}
