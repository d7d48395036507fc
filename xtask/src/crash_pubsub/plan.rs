//! What happens in each round, decided by the seed alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Starts in a round that kills starts: each is over in a tenth of a second.
pub const STARTS_PER_ROUND: usize = 3;

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// kill -9 so long after the server was ready, while publishers and subscribers work.
    KillBusy(Duration),
    /// Starts that are killed so long after the process was made, ready or not.
    KillStarting([Duration; STARTS_PER_ROUND]),
    /// SIGTERM so long after the server was ready: a clean stop must hold as well.
    Stop(Duration),
}

/// The rounds of a run. Kinds come in fixed shares and random order, so that short runs have them all.
pub fn rounds(seed: u64, count: usize) -> Vec<Round> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut rounds: Vec<Round> = (0..count).map(|index| round(&mut random, index)).collect();
    rounds.shuffle(&mut random);
    rounds
}

/// The generator of one task of the run.
pub fn random(seed: u64, task: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ (task + 1).wrapping_mul(0xd134_2543_de82_ef95))
}

fn round(random: &mut StdRng, index: usize) -> Round {
    let mut millis = |range: std::ops::Range<u64>| Duration::from_millis(random.random_range(range));
    match index % 10 {
        0..7 => Round::KillBusy(millis(100..2_000)),
        7 | 8 => Round::KillStarting([millis(0..30), millis(20..150), millis(0..400)]),
        _ => Round::Stop(millis(200..1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_plan_and_a_short_run_has_every_kind() {
        assert_eq!(rounds(1, 10), rounds(1, 10));
        assert_ne!(rounds(1, 10), rounds(2, 10));
        let plan = rounds(1, 10);
        let count = |is: fn(&Round) -> bool| plan.iter().filter(|round| is(round)).count();
        assert_eq!(count(|round| matches!(round, Round::KillBusy(_))), 7);
        assert_eq!(count(|round| matches!(round, Round::KillStarting(_))), 2);
        assert_eq!(count(|round| matches!(round, Round::Stop(_))), 1);
    }
}
