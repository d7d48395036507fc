//! File descriptors: each connection takes one, and systems give a process 1,024 unless it asks for more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// For files of the log and the tables, and what queries spill.
const FILES: u64 = 1024;
/// Ports that take up to `server.connections_max` connections each.
const PORTS: u64 = 4;

/// Lets this process open as many files as the system allows it, and warns when the connection limits promise more.
pub fn raise(config: &Config) {
    let needed = needed(config);
    let limit = getrlimit(Resource::Nofile);
    // Some systems refuse "no limit" here, and take a number.
    for wanted in [limit.maximum, Some(needed)] {
        let is_more = limit.current.is_some_and(|current| wanted.is_none_or(|wanted| wanted > current));
        if !is_more || setrlimit(Resource::Nofile, Rlimit { current: wanted, ..limit }).is_ok() {
            break;
        }
    }
    let current = getrlimit(Resource::Nofile).current;
    if let Some(current) = current
        && current < needed
    {
        tracing::warn!(
            limit = current,
            needed,
            "fewer files may be open than server.connections_max promises: raise the hard limit (ulimit -Hn, \
             LimitNOFILE= of systemd), or lower server.connections_max"
        );
    }
}

fn needed(config: &Config) -> u64 {
    let server = &config.server;
    u64::from(server.connections_max) * PORTS + u64::from(server.postgres_connections_max) + FILES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let low = before.maximum.map_or(512, |maximum| maximum.min(512));
        setrlimit(Resource::Nofile, Rlimit { current: Some(low), ..before }).unwrap();
        raise(&Config::default());
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        assert!(
            after.current == after.maximum || after.current >= Some(needed(&Config::default())),
            "{after:?}"
        );
    }
}
