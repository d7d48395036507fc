//! Getting messages: what the machine leases, with its content from the log.

use std::sync::Arc;
use std::time::Duration;

use millrace_model::{MessageBatch, MessageId, Offset, ReadLimit, Source as _, SourceError};

use super::Subscription;
use crate::ack_id;
use crate::error::PubsubError;
use crate::machine::{Delivery, Holder, Room, Ticket};
use crate::proto::v1;
use crate::subscription::Settings;

/// Messages that are looked at together when a filter lets few of them through.
const FILTER_MESSAGES: usize = 512;
/// Bytes of them.
const FILTER_BYTES: usize = 1 << 20;
/// How often one fetch looks on when nothing it saw may be delivered. Then others get their turn.
const LOOKS_MAX: usize = 32;
/// Messages this near to each other are read in one go.
const GAP_MESSAGES_MAX: u64 = 32;
/// Bytes that are read in one go then.
const READ_BYTES_MAX: usize = 4 << 20;

/// What a fetch brought.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) messages: Vec<v1::ReceivedMessage>,
    /// There are messages, but no room for them: the holder has too much.
    pub(crate) is_full: bool,
}

enum Step {
    Nothing {
        is_full: bool,
    },
    /// These are leased.
    Read(Vec<Delivery>, Ticket),
    /// Nothing of what was looked at may be delivered: look at more.
    Look {
        from: u64,
        messages_max: usize,
        bytes_max: usize,
    },
}

impl Subscription {
    /// Leases messages to a holder for `lease`, as many as there are and `room` allows; none when there
    /// are none now. Who drops the future may leave messages leased.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        holder: Holder,
        room: Room,
        lease: Duration,
    ) -> Result<Fetched, PubsubError> {
        let turn = self.turn.lock().await;
        let this = Arc::clone(self);
        // The log may have to read from the disk.
        let fetching = tokio::task::spawn_blocking(move || this.fetch_now(holder, room, lease));
        let fetched = fetching.await.map_err(|error| PubsubError::internal(error.to_string()))?;
        drop(turn);
        if fetched.as_ref().is_ok_and(|fetched| !fetched.messages.is_empty()) {
            // There may be more, for another one.
            self.available.notify_one();
        }
        fetched
    }

    fn fetch_now(&self, holder: Holder, room: Room, lease: Duration) -> Result<Fetched, PubsubError> {
        let settings = self.settings();
        for _ in 0..LOOKS_MAX {
            match self.next_step(holder, room, lease, &settings) {
                Step::Nothing { is_full } => return Ok(Fetched { messages: Vec::new(), is_full }),
                Step::Read(deliveries, ticket) => {
                    let read = self.read(&deliveries, ticket, &settings)?;
                    if let Some(fetched) = self.handed_over(read, &settings)? {
                        return Ok(fetched);
                    }
                }
                Step::Look { from, messages_max, bytes_max } => {
                    let limit = ReadLimit { messages_max, bytes_max, end: None };
                    let batch = match self.topic.read(Offset(from), limit) {
                        Ok(batch) if batch.is_empty() => return Ok(Fetched::default()),
                        Ok(batch) => batch,
                        Err(SourceError::Expired { start, .. }) => {
                            self.expire_before(start);
                            continue;
                        }
                        Err(error) => return Err(self.unreadable(&error)),
                    };
                    let (deliveries, ticket) = self.look_at(&batch, holder, room, lease, &settings);
                    if !deliveries.is_empty() {
                        let read = self.received(&batch, &deliveries, ticket, &settings)?;
                        if let Some(fetched) = self.handed_over(read, &settings)? {
                            return Ok(fetched);
                        }
                    }
                }
            }
        }
        self.available.notify_one();
        Ok(Fetched::default())
    }

    /// What goes to the subscriber; `None` when the transforms have left nothing, so that others are looked
    /// at.
    fn handed_over(
        &self,
        read: Vec<v1::ReceivedMessage>,
        settings: &Settings,
    ) -> Result<Option<Fetched>, PubsubError> {
        let messages = self.transformed(read, settings)?;
        self.count("millrace_pubsub_delivered_total", messages.len() as u64);
        let is_left = !messages.is_empty() || settings.transforms.is_none();
        Ok(is_left.then_some(Fetched { messages, is_full: false }))
    }

    fn next_step(&self, holder: Holder, room: Room, lease: Duration, settings: &Settings) -> Step {
        let end = self.topic.bounds().end.0;
        let (step, _) = self.change(|machine, now| {
            machine.expire(now);
            let deliveries = machine.deliver(holder, now.saturating_add(lease), room);
            if !deliveries.is_empty() {
                return Step::Read(deliveries, machine.ticket(0, 0));
            }
            let at_most = machine.look_at_most();
            match machine.next_to_look_at().filter(|next| *next < end && machine.has_room(holder, room)) {
                None => Step::Nothing { is_full: machine.has_ready() },
                Some(from) => {
                    let room = machine.room_of(holder, room);
                    let (mut messages, mut bytes) =
                        (room.messages, usize::try_from(room.bytes).unwrap_or(usize::MAX).max(1));
                    if settings.filter.is_some() {
                        (messages, bytes) = (messages.max(FILTER_MESSAGES), bytes.max(FILTER_BYTES));
                    }
                    Step::Look { from, messages_max: messages.min(at_most), bytes_max: bytes }
                }
            }
        });
        step
    }

    fn look_at(
        &self,
        batch: &MessageBatch,
        holder: Holder,
        room: Room,
        lease: Duration,
        settings: &Settings,
    ) -> (Vec<Delivery>, Ticket) {
        let passes: Option<Vec<bool>> = settings
            .filter
            .as_ref()
            .map(|filter| batch.iter().map(|message| filter.passes(message.attributes)).collect());
        let ((deliveries, ticket), _) = self.change(|machine, now| {
            for (index, message) in batch.iter().enumerate() {
                if passes.as_ref().is_none_or(|passes| passes[index]) {
                    machine.look_at(message.offset.0, batch.size_of(index), message.ordering_key);
                } else {
                    machine.skip(message.offset.0);
                }
            }
            let deliveries = machine.deliver(holder, now.saturating_add(lease), room);
            (deliveries, machine.ticket(0, 0))
        });
        (deliveries, ticket)
    }

    /// Reads messages that were looked at before: they come again, or had to wait.
    fn read(
        &self,
        deliveries: &[Delivery],
        ticket: Ticket,
        settings: &Settings,
    ) -> Result<Vec<v1::ReceivedMessage>, PubsubError> {
        let mut received = Vec::with_capacity(deliveries.len());
        let mut rest = deliveries;
        while let Some(first) = rest.first() {
            let run = &rest[..near(rest)];
            let end = run[run.len() - 1].offset + 1;
            // Between them lie messages of any size that are done with.
            let limit =
                ReadLimit { messages_max: usize::MAX, bytes_max: READ_BYTES_MAX, end: Some(Offset(end)) };
            let read_to = match self.topic.read(Offset(first.offset), limit) {
                Ok(batch) => {
                    let read_to = batch.next_offset().map_or(end, |next| next.0);
                    let found = run.iter().take_while(|delivery| delivery.offset < read_to);
                    received.extend(
                        found.filter_map(|delivery| self.message(&batch, delivery, ticket, settings)),
                    );
                    read_to
                }
                Err(SourceError::Expired { start, .. }) => {
                    self.expire_before(start);
                    if start.0 < end {
                        // What is left of the run is delivered anew.
                        self.change(|machine, _| machine.take_back(run));
                        self.available.notify_one();
                    }
                    end
                }
                Err(error) => {
                    self.change(|machine, _| machine.take_back(rest));
                    if received.is_empty() {
                        return Err(self.unreadable(&error));
                    }
                    return Ok(received);
                }
            };
            rest = &rest[rest.partition_point(|delivery| delivery.offset < read_to)..];
        }
        Ok(received)
    }

    /// Messages of a batch that were just leased. Those that another fetch looked at are read by themselves.
    fn received(
        &self,
        batch: &MessageBatch,
        deliveries: &[Delivery],
        ticket: Ticket,
        settings: &Settings,
    ) -> Result<Vec<v1::ReceivedMessage>, PubsubError> {
        let mut received = Vec::with_capacity(deliveries.len());
        let mut missing = Vec::new();
        for delivery in deliveries {
            match self.message(batch, delivery, ticket, settings) {
                Some(message) => received.push(message),
                None => missing.push(*delivery),
            }
        }
        if !missing.is_empty() {
            received.extend(self.read(&missing, ticket, settings)?);
            // The order of an ordering key is that of the topic.
            received.sort_by_cached_key(|one| ack_id::read(&one.ack_id).map(|(_, ticket)| ticket.offset));
        }
        Ok(received)
    }

    fn message(
        &self,
        batch: &MessageBatch,
        delivery: &Delivery,
        ticket: Ticket,
        settings: &Settings,
    ) -> Option<v1::ReceivedMessage> {
        let index = batch.index_of(Offset(delivery.offset))?;
        let message = batch.get(index);
        let ticket = Ticket { offset: delivery.offset, delivery: delivery.delivery, ..ticket };
        let attributes = message.attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let has_policy = settings.dead_letter_topic.is_some();
        let attempt = i32::try_from(delivery.attempt).unwrap_or(i32::MAX);
        Some(v1::ReceivedMessage {
            ack_id: ack_id::write(self.uid, ticket),
            message: Some(v1::PubsubMessage {
                data: batch.data(index),
                attributes,
                message_id: MessageId { topic: batch.topic(), offset: message.offset }.to_string(),
                publish_time: Some(timestamp(message.publish_time)),
                ordering_key: String::from_utf8_lossy(message.ordering_key).into_owned(),
            }),
            delivery_attempt: if has_policy { attempt } else { 0 },
        })
    }

    fn unreadable(&self, error: &SourceError) -> PubsubError {
        tracing::error!(subscription = %self.name, %error, "a topic cannot be read");
        PubsubError::unavailable(format!("{}: {error}", self.name))
    }
}

/// How many of the first deliveries are so near to each other that they are read in one go.
fn near(deliveries: &[Delivery]) -> usize {
    let mut pairs = deliveries.windows(2);
    let gap = pairs.position(|pair| pair[1].offset - pair[0].offset > GAP_MESSAGES_MAX);
    gap.map_or(deliveries.len(), |index| index + 1)
}

/// A moment as protobuf has it.
pub(crate) fn timestamp(time: millrace_model::Micros) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.0.rem_euclid(1_000_000)).unwrap_or(0) * 1_000;
    prost_types::Timestamp { seconds: time.0.div_euclid(1_000_000), nanos }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use millrace_disk::sim::SimDisk;
    use millrace_log::{Log, LogConfig};

    use super::*;
    use crate::{Broker, PubsubConfig};

    /// Scenario: of two messages that are leased together one is not in the batch that was read, because it
    /// came back from another subscriber in between.
    /// Guarantees: they are handed over in the topic's order all the same.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_came_back_in_between_keeps_its_place() {
        let disk = Arc::new(SimDisk::new(3).process());
        let log = Arc::new(Log::open(disk.clone(), Path::new("log"), LogConfig::default()).unwrap());
        let (config, runtime) = (PubsubConfig::new("p".to_owned()), tokio::runtime::Handle::current());
        let broker = Broker::open(config, disk, Path::new("pubsub"), log, runtime).unwrap();
        let (topic, name) = ("projects/p/topics/top".to_owned(), "projects/p/subscriptions/sub".to_owned());
        let made = v1::Topic { name: topic.clone(), ..Default::default() };
        let resource = v1::Subscription { name: name.clone(), topic: topic.clone(), ..Default::default() };
        crate::broker::blocking(&broker, |broker| {
            broker.create_topic(made)?;
            broker.create_subscription(resource)
        })
        .await
        .unwrap();
        let message =
            |data: &'static str| v1::PubsubMessage { data: data.as_bytes().into(), ..Default::default() };
        let request = v1::PublishRequest { topic, messages: vec![message("first"), message("second")] };
        broker.publish(request).await.unwrap();
        let subscription = broker.subscription(&name).unwrap();
        let limit = ReadLimit { messages_max: 1, bytes_max: 1, end: None };
        let batch = subscription.topic.read(Offset(1), limit).unwrap();
        let deliveries = [0, 1].map(|offset| Delivery { offset, delivery: 1, attempt: 1 });
        let ticket = Ticket { offset: 0, delivery: 0, epoch: 0, generation: 0 };
        let settings = subscription.settings();
        let received = subscription.received(&batch, &deliveries, ticket, &settings).unwrap();
        let data: Vec<Bytes> = received.into_iter().map(|one| one.message.unwrap().data).collect();
        assert_eq!(data, ["first", "second"]);
    }
}
