//! Cancel requests: they come over connections of their own and name a session by its number and secret.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use millrace_sql::SessionControl;
use pgwire::api::cancel::CancelHandler;
use pgwire::messages::ProtocolVersion;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::SecretKey;

type Key = (i32, Bytes);

/// The sessions that are open, by what a cancel request must show.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    sessions: Mutex<HashMap<Key, Arc<SessionControl>>>,
    next_pid: AtomicI32,
}

/// A session's entry; gone when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    key: Key,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.key);
    }
}

impl Registry {
    /// A number for a new session; the secret comes with [`Registry::register`].
    pub(crate) fn next_pid(&self) -> i32 {
        // Positive, and not so small that it is taken for a process of the system's.
        self.next_pid.fetch_add(1, Ordering::Relaxed).rem_euclid(1 << 30) + 1000
    }

    /// Enters a session under a fresh secret, as long as the protocol's version allows.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub(crate) fn register(
        self: &Arc<Self>,
        pid: i32,
        version: ProtocolVersion,
        control: Arc<SessionControl>,
    ) -> Result<(SecretKey, Registered), getrandom::Error> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let secret = match version {
            ProtocolVersion::PROTOCOL3_0 => {
                SecretKey::I32(i32::from_be_bytes([random[0], random[1], random[2], random[3]]))
            }
            _ => SecretKey::Bytes(Bytes::copy_from_slice(&random)),
        };
        let key = (pid, secret.to_bytes());
        self.lock().insert(key.clone(), control);
        Ok((secret, Registered { registry: Arc::clone(self), key }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<SessionControl>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CancelHandler for Registry {
    async fn on_cancel_request(&self, request: CancelRequest) {
        // A wrong secret is answered like a right one: not at all.
        if let Some(control) = self.lock().get(&(request.pid, request.secret_key.to_bytes())) {
            control.cancel();
        }
    }
}
