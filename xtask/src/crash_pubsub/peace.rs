//! When faults are over: everything promised comes and is acked, and then nothing comes any more.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::message::is_bad;
use super::shared::{RETRY_PAUSE, Shared};
use super::subscriber::{Answer, give};
use super::topology::{Sub, pull_request};
use crate::pubsub::Clients;

/// How long everything that is left may take to come once faults are over.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);
/// So many empty answers in a row mean that there is nothing.
const EMPTY_ANSWERS: usize = 3;

/// Takes all that is left, once faults are over: everything promised must come, and is acked.
pub async fn drain(sub: Sub, shared: Arc<Shared>) -> Result<()> {
    let mut clients = Clients::new(&shared.address)?;
    let end = tokio::time::Instant::now() + DRAIN_LIMIT;
    let mut empty = 0;
    while empty < EMPTY_ANSWERS {
        let way = shared.way();
        let response = clients.subscriber.pull(pull_request(sub, 1_000, true)).await?.into_inner();
        let came = shared.oracle.came(sub, way, response.received_messages);
        if came.is_empty() {
            // Bad messages are delivered until they are all letters.
            let waits_for_letters = sub == Sub::Poison && !shared.oracle.open(Sub::Letters).is_empty();
            let is_done = !waits_for_letters && shared.oracle.open(sub).is_empty();
            empty = if is_done { empty + 1 } else { 0 };
            if tokio::time::Instant::now() > end {
                // The oracle says what is lost.
                return Ok(());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            continue;
        }
        empty = 0;
        let (nacked, acked) = came.into_iter().partition(|came| sub == Sub::Poison && is_bad(came.told.id));
        give(&mut clients, sub, &shared, Answer { acked, nacked, extended: Vec::new() }).await?;
    }
    Ok(())
}

/// After all acks were answered the server was killed once more: nothing may come again. Dead letters may, since
/// they are published again rather than lost.
pub async fn nothing_comes(sub: Sub, shared: Arc<Shared>) -> Result<()> {
    let mut clients = Clients::new(&shared.address)?;
    for _ in 0..EMPTY_ANSWERS {
        let way = shared.way();
        let response = clients.subscriber.pull(pull_request(sub, 1_000, true)).await?.into_inner();
        for came in shared.oracle.came(sub, way, response.received_messages) {
            let may_repeat = matches!(sub, Sub::Poison | Sub::Letters) && is_bad(came.told.id);
            if !may_repeat {
                let (id, offset) = (came.told.id, came.offset);
                shared.oracle.fault(format!(
                    "{}: id {id} (offset {offset}) came again after its ack was answered and the server killed",
                    sub.name()
                ));
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Ok(())
}
