//! What happens in each round, decided by the seed alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// A start is over in a tenth of a second, so a round that kills starts does it several times, and mostly
/// early.
pub const STARTS_PER_ROUND: usize = 4;
/// The same of a load, which is over in some tenths of a second.
pub const LOADS_PER_ROUND: usize = 4;

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// kill -9 so long after the server was ready, while producers send.
    KillBusy(Duration),
    /// Starts that are killed so long after the process was made, ready or not.
    KillStarting([Duration; STARTS_PER_ROUND]),
    /// The server is down; `millrace load` of one file is killed over and over so long after its start,
    /// then it may finish.
    KillLoading([Duration; LOADS_PER_ROUND]),
    /// `millrace load` hands its file to the running server, which is killed so long after that; then the
    /// file is loaded again.
    KillServerLoading(Duration),
    /// SIGTERM so long after the server was ready: the clean stop must hold as well.
    Stop(Duration),
}

/// What is changed in the running server before it is killed or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// Nothing.
    Nothing,
    /// The script's file, and the server is told to look.
    Script,
    /// Back to the version that ran before.
    Rollback,
    /// Another version runs in the shadow, and is promoted.
    Promote,
    /// Windows and workers.
    Update,
    /// The pipeline is cancelled and resumed.
    Drain,
    /// Dead letters are replayed with a version that makes rows of the flipping kind.
    Replay,
}

/// One round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// How it ends.
    pub action: Action,
    /// Whether the script is replaced before the start.
    pub new_script: bool,
    /// What is changed once it runs, in rounds that kill or stop a ready server.
    pub live: Live,
    /// Whether the audit must balance while nothing runs afterwards.
    pub audit_after: bool,
}

/// About half of the rounds change nothing.
const LIVE: [Live; 13] = [
    Live::Script,
    Live::Nothing,
    Live::Rollback,
    Live::Nothing,
    Live::Promote,
    Live::Nothing,
    Live::Update,
    Live::Nothing,
    Live::Replay,
    Live::Nothing,
    Live::Drain,
    Live::Nothing,
    Live::Replay,
];

/// The rounds of a run. Kinds come in fixed shares and random order, so that short runs have them all.
pub fn rounds(seed: u64, count: usize) -> Vec<Round> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut rounds: Vec<Round> = (0..count)
        .map(|index| Round {
            action: action(&mut random, index),
            new_script: random.random_bool(0.4),
            live: LIVE[index % LIVE.len()],
            audit_after: random.random_bool(0.3),
        })
        .collect();
    rounds.shuffle(&mut random);
    rounds
}

fn action(random: &mut StdRng, index: usize) -> Action {
    let mut millis = |range: std::ops::Range<u64>| Duration::from_millis(random.random_range(range));
    match index % 10 {
        0..6 => Action::KillBusy(millis(50..1_800)),
        6 | 7 => Action::KillStarting([millis(0..20), millis(10..60), millis(30..150), millis(0..400)]),
        8 if index % 20 > 10 => Action::KillServerLoading(millis(10..300)),
        8 => Action::KillLoading([millis(5..60), millis(30..150), millis(50..250), millis(100..500)]),
        _ => Action::Stop(millis(100..1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_plan_and_a_short_run_has_every_kind() {
        assert_eq!(rounds(1, 20), rounds(1, 20));
        assert_ne!(rounds(1, 20), rounds(2, 20));
        let plan = rounds(1, 20);
        let count = |is: fn(&Action) -> bool| plan.iter().filter(|round| is(&round.action)).count();
        assert_eq!(count(|action| matches!(action, Action::KillBusy(_))), 12);
        assert_eq!(count(|action| matches!(action, Action::KillStarting(_))), 4);
        assert_eq!(count(|action| matches!(action, Action::KillLoading(..))), 1);
        assert_eq!(count(|action| matches!(action, Action::KillServerLoading(_))), 1);
        assert_eq!(count(|action| matches!(action, Action::Stop(_))), 2);
    }
}
