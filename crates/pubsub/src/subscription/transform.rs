//! A subscription's transforms: between the log and the subscriber.

use std::time::Duration;

use millrace_model::{Micros, Offset};

use super::{Settings, Subscription};
use crate::ack_id;
use crate::error::PubsubError;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::machine::{Delivery, Ticket};
use crate::proto::v1;
use crate::transforms::{Item, Outcome};

/// How long a message waits whose transform failed, where neither a retry nor a dead-letter policy says.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

impl Subscription {
    /// What the subscriber gets of messages that were just leased. What a transform left out is done with; a
    /// message on which one failed is given back, which counts as an attempt.
    pub(super) fn transformed(
        &self,
        received: Vec<v1::ReceivedMessage>,
        settings: &Settings,
    ) -> Result<Vec<v1::ReceivedMessage>, PubsubError> {
        let Some(transforms) = &settings.transforms else { return Ok(received) };
        let tickets: Vec<Ticket> =
            received.iter().filter_map(|one| ack_id::read(&one.ack_id)).map(|(_, ticket)| ticket).collect();
        let items = received.iter().zip(&tickets).map(|(one, ticket)| item(one, ticket.offset)).collect();
        let bytes_max = usize::try_from(RESPONSE_BYTES_MAX).unwrap_or(usize::MAX);
        let outcomes = match transforms.run(self.topic.id(), items, bytes_max) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let all: Vec<Delivery> = tickets.iter().map(delivery).collect();
                self.change(|machine, _| machine.take_back(&all));
                return Err(error);
            }
        };
        let (mut good, mut left_out, mut failed, mut back) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        for ((one, ticket), outcome) in received.into_iter().zip(tickets).zip(outcomes) {
            match outcome {
                Outcome::Message(item) => {
                    bytes += item.size_bytes();
                    // They have grown: who takes one response may not take twice as much.
                    if bytes > bytes_max && !good.is_empty() {
                        back.push(delivery(&ticket));
                    } else {
                        good.push((ticket, changed(one, item)));
                    }
                }
                Outcome::LeftOut => left_out.push(ticket),
                Outcome::Failed(reason) => {
                    tracing::debug!(subscription = %self.name, offset = ticket.offset, %reason, "a transform failed");
                    failed.push(ticket);
                }
                Outcome::NotReached => back.push(delivery(&ticket)),
            }
        }
        self.change(|machine, now| {
            for ticket in &left_out {
                machine.ack(*ticket, now);
            }
            for ticket in &failed {
                machine.nack_for(*ticket, now, FAILED_PAUSE);
            }
            machine.take_back(&back);
            // A failed message takes later ones of its ordering key with it.
            good.retain(|(ticket, _)| machine.is_leased(*ticket));
        });
        self.count_resource("millrace_pubsub_transform_left_out_total", left_out.len());
        self.count_resource("millrace_pubsub_transform_errors_total", failed.len());
        if !back.is_empty() {
            self.available.notify_one();
        }
        Ok(good.into_iter().map(|(_, one)| one).collect())
    }

    /// These metrics are of topics, too.
    fn count_resource(&self, metric: &'static str, count: usize) {
        if count > 0 {
            metrics::counter!(metric, "resource" => self.name.to_string()).increment(count as u64);
        }
    }
}

fn delivery(ticket: &Ticket) -> Delivery {
    Delivery { offset: ticket.offset, delivery: ticket.delivery, attempt: 0 }
}

fn item(received: &v1::ReceivedMessage, offset: u64) -> Item {
    let message = received.message.clone().unwrap_or_default();
    let time = message.publish_time.unwrap_or_default();
    Item {
        offset: Offset(offset),
        publish_time: Micros(time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000),
        data: message.data,
        attributes: message.attributes,
        ordering_key: message.ordering_key,
    }
}

fn changed(received: v1::ReceivedMessage, item: Item) -> v1::ReceivedMessage {
    let message = received.message.unwrap_or_default();
    let message = v1::PubsubMessage { data: item.data, attributes: item.attributes, ..message };
    v1::ReceivedMessage { message: Some(message), ..received }
}
