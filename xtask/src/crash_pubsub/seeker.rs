//! The only subscriber of a subscription that is sent back to snapshots. It knows what it has acked and when a
//! snapshot was made, so it knows exactly what must come again after a seek, and what must not.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context, Result, bail};
use rand::Rng as _;
use rand::rngs::StdRng;
use tonic::{Code, Status};

use super::ledger::Ledger;
use super::oracle::Came;
use super::plan;
use super::shared::{RETRY_PAUSE, Shared};
use super::topology::{Sub, pull_request, snapshot_request};
use crate::pubsub::v1::{
    AcknowledgeRequest, DeleteSnapshotRequest, ModifyAckDeadlineRequest, SeekRequest, seek_request::Target,
};
use crate::pubsub::{Clients, is_lost};

/// Empty answers in a row, once faults are over, that mean that nothing more comes.
const EMPTY_ANSWERS: usize = 100;

/// Subscribers end: what was begun is finished in the end.
struct Ending;

/// The subscriber.
pub struct Seeker {
    random: StdRng,
    clients: Clients,
    shared: Arc<Shared>,
    ledger: Ledger,
    snapshots: u64,
    /// A seek was begun, and its answer has not come.
    is_seeking: bool,
    /// The life of the server when the snapshot was made.
    snapshot_life: u64,
    /// Messages that must come again that had been acked.
    again: usize,
}

impl Seeker {
    /// A subscriber with its own connection.
    pub fn new(task: u64, shared: &Arc<Shared>) -> Result<Self> {
        Ok(Self {
            random: plan::random(shared.oracle.seed(), task),
            clients: Clients::new(&shared.address)?,
            shared: Arc::clone(shared),
            ledger: Ledger::default(),
            snapshots: 0,
            is_seeking: false,
            snapshot_life: 0,
            again: 0,
        })
    }

    /// Works until subscribers end.
    pub async fn run(mut self) -> Self {
        while self.cycle().await.is_ok() {}
        self
    }

    /// Makes a snapshot, works on, goes back to it once or twice.
    async fn cycle(&mut self) -> Result<(), Ending> {
        self.work().await?;
        self.take_snapshot().await?;
        for _ in 0..self.random.random_range(1..=2) {
            self.work().await?;
            self.seek().await?;
            self.settle().await?;
        }
        self.delete_snapshot().await
    }

    async fn work(&mut self) -> Result<(), Ending> {
        for _ in 0..self.random.random_range(2..8) {
            self.pull(200).await?;
        }
        Ok(())
    }

    /// Until all that must come again has come.
    async fn settle(&mut self) -> Result<(), Ending> {
        while !self.ledger.owed().is_empty() {
            self.pull(1_000).await?;
        }
        self.note_settled();
        Ok(())
    }

    fn note_settled(&mut self) {
        self.shared.oracle.sought_back(std::mem::take(&mut self.again));
    }

    /// One pull and the answers to it. Whatever goes wrong, the ack ids of a pull are not used after the next one:
    /// a stale one would be taken for good, as it should be where deliveries are at least once.
    async fn pull(&mut self, messages_max: i32) -> Result<(), Ending> {
        if self.shared.is_ending() {
            return Err(Ending);
        }
        let way = self.shared.way();
        match self.clients.subscriber.pull(pull_request(Sub::Sought, messages_max, false)).await {
            Ok(response) => {
                let came = self.shared.oracle.came(Sub::Sought, way, response.into_inner().received_messages);
                self.note(&came);
                let (acked, others): (Vec<Came>, Vec<Came>) =
                    came.into_iter().partition(|_| self.random.random_bool(0.7));
                let (nacked, _): (Vec<Came>, Vec<Came>) =
                    others.into_iter().partition(|_| self.random.random_bool(0.7));
                self.ack(acked).await;
                self.nack(nacked).await;
            }
            Err(status) => self.put_off("a pull", &status).await,
        }
        Ok(())
    }

    fn note(&mut self, came: &[Came]) {
        for came in came {
            if !self.ledger.came(came.offset) {
                let (id, offset) = (came.told.id, came.offset);
                self.shared.oracle.fault(format!(
                    "sought: id {id} (offset {offset}) came again, though its ack was answered and nothing was sought since"
                ));
            }
        }
    }

    async fn ack(&mut self, came: Vec<Came>) {
        if came.is_empty() {
            return;
        }
        self.shared.oracle.ack_sent(Sub::Sought, &came);
        let request = AcknowledgeRequest { subscription: Sub::Sought.path(), ack_ids: ids(&came) };
        let offsets = came.iter().map(|came| came.offset);
        match self.clients.subscriber.acknowledge(request).await {
            Ok(_) => self.ledger.acked(offsets),
            Err(status) => {
                self.ledger.perhaps_acked(offsets);
                self.put_off("an ack", &status).await;
            }
        }
    }

    async fn nack(&mut self, came: Vec<Came>) {
        if came.is_empty() {
            return;
        }
        let request = ModifyAckDeadlineRequest {
            subscription: Sub::Sought.path(),
            ack_ids: ids(&came),
            ack_deadline_seconds: 0,
        };
        if let Err(status) = self.clients.subscriber.modify_ack_deadline(request).await {
            self.put_off("a nack", &status).await;
        }
    }

    /// Nothing is acked between the attempts, so it does not matter which of them made the snapshot.
    async fn take_snapshot(&mut self) -> Result<(), Ending> {
        self.snapshots += 1;
        while !self.shared.is_ending() {
            let life = self.shared.way().life;
            match self.clients.subscriber.create_snapshot(snapshot_request(self.snapshots)).await.err() {
                Some(status) if status.code() != Code::AlreadyExists => {
                    self.put_off("a snapshot", &status).await;
                }
                _ => {
                    self.ledger.snapshot_taken();
                    self.snapshot_life = life;
                    self.shared.counts.snapshots.fetch_add(1, Relaxed);
                    return Ok(());
                }
            }
        }
        Err(Ending)
    }

    async fn seek(&mut self) -> Result<(), Ending> {
        self.is_seeking = true;
        while !self.shared.is_ending() {
            let life = self.shared.way().life;
            match self.send_seek().await {
                Ok(()) => {
                    self.shared.counts.seeks.fetch_add(1, Relaxed);
                    let is_over = u64::from(life > self.snapshot_life);
                    self.shared.counts.seeks_over_restarts.fetch_add(is_over, Relaxed);
                    return Ok(());
                }
                Err(status) => self.put_off("a seek", &status).await,
            }
        }
        Err(Ending)
    }

    async fn send_seek(&mut self) -> Result<(), Status> {
        let request = SeekRequest {
            subscription: Sub::Sought.path(),
            target: Some(Target::Snapshot(snapshot_request(self.snapshots).name)),
        };
        self.clients.subscriber.seek(request).await?;
        self.is_seeking = false;
        self.again += self.ledger.sought_snapshot();
        Ok(())
    }

    async fn delete_snapshot(&mut self) -> Result<(), Ending> {
        while !self.shared.is_ending() {
            let request = DeleteSnapshotRequest { snapshot: snapshot_request(self.snapshots).name };
            match self.clients.subscriber.delete_snapshot(request).await.err() {
                Some(status) if status.code() != Code::NotFound => {
                    self.put_off("deleting a snapshot", &status).await;
                }
                _ => return Ok(()),
            }
        }
        Err(Ending)
    }

    async fn put_off(&self, what: &str, status: &Status) {
        if !is_lost(status) {
            self.shared.oracle.fault(format!("sought: {what} was refused: {status}"));
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }

    /// Once faults are over: finishes a seek, and takes and acks all that is left.
    pub async fn drain(&mut self) -> Result<()> {
        if self.is_seeking {
            self.send_seek().await.context("a seek fails, though faults are over")?;
        }
        self.take_all().await
    }

    /// Goes back to before the first message: all there ever was comes again.
    pub async fn from_the_beginning(&mut self) -> Result<()> {
        let time = prost_types::Timestamp::default();
        let request = SeekRequest { subscription: Sub::Sought.path(), target: Some(Target::Time(time)) };
        self.clients.subscriber.seek(request).await?;
        self.again += self.ledger.sought_beginning();
        self.take_all().await
    }

    async fn take_all(&mut self) -> Result<()> {
        let mut empty = 0;
        while empty < EMPTY_ANSWERS {
            let way = self.shared.way();
            let request = pull_request(Sub::Sought, 1_000, true);
            let response = self.clients.subscriber.pull(request).await?.into_inner();
            let came = self.shared.oracle.came(Sub::Sought, way, response.received_messages);
            if came.is_empty() {
                let is_done =
                    self.ledger.owed().is_empty() && self.shared.oracle.open(Sub::Sought).is_empty();
                // Done, a few more are asked for, in case something comes that must not.
                empty += if is_done { EMPTY_ANSWERS / 3 } else { 1 };
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            empty = 0;
            self.note(&came);
            self.ack(came).await;
        }
        let owed = self.ledger.owed();
        if !owed.is_empty() {
            let first: Vec<_> = owed.iter().take(10).collect();
            bail!("{} messages did not come again after a seek, of them at offsets {first:?}", owed.len());
        }
        self.note_settled();
        Ok(())
    }
}

fn ids(came: &[Came]) -> Vec<String> {
    came.iter().map(|came| came.ack_id.clone()).collect()
}
