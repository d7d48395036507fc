//! Who works: each user is made from the seed and a number when a session needs one, so a fleet costs eight
//! bytes a user.

use crate::calendar::{REGIONS, local_weight};
use crate::random::Random;

const FIRST: [&str; 32] = [
    "anna", "ben", "chloe", "david", "elena", "farid", "grace", "hugo", "ines", "jonas", "kaya", "liam",
    "maria", "noah", "olga", "paul", "qing", "rosa", "sam", "tara", "uma", "victor", "wei", "ximena",
    "yusuf", "zoe", "aiko", "bruno", "carla", "dimitri", "emma", "felix",
];
const LAST: [&str; 32] = [
    "meyer", "garcia", "smith", "rossi", "tanaka", "kumar", "novak", "silva", "dubois", "larsen", "kim",
    "chen", "popov", "haddad", "okafor", "jones", "weber", "moreau", "ricci", "sato", "patel", "costa",
    "nguyen", "brown", "fischer", "lopez", "wang", "khan", "ivanov", "berg", "olsen", "murphy",
];
const TEAMS: [&str; 8] =
    ["checkout", "payments", "search", "platform", "mobile", "data", "security", "growth"];
const PROJECTS: [&str; 16] = [
    "shopcart",
    "ledger",
    "indexer",
    "gateway",
    "storefront",
    "pipeline",
    "vault",
    "campaigns",
    "billing",
    "catalog",
    "scheduler",
    "webapp",
    "warehouse",
    "tokens",
    "loyalty",
    "console",
];
/// How many of a thousand use each, and the release that each names.
const SYSTEMS: [(&str, &str, u32); 3] =
    [("linux", "6.8.0-51-generic", 560), ("darwin", "24.6.0", 380), ("win32", "10.0.26100", 60)];
const AUTH: [(&str, u32); 3] = [("oauth-personal", 520), ("gemini-api-key", 330), ("vertex-ai", 150)];
pub(crate) const MODES: [&str; 4] = ["yolo", "default", "autoEdit", "plan"];
pub(crate) const MCP_SERVERS: [&str; 4] = ["inventory", "github", "jira", "postgres"];
pub(crate) const EXTENSIONS: [&str; 5] =
    ["code-review", "security-scan", "release-notes", "flutter", "cloud-run"];

/// The users, the busiest first.
pub(crate) struct Fleet {
    seed: u64,
    /// The sum of the weights up to each user.
    sums: Vec<u64>,
}

/// One user and the machine of theirs.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) email: String,
    pub(crate) account: String,
    pub(crate) installation: [u64; 2],
    pub(crate) host: String,
    pub(crate) team: &'static str,
    /// Hours ahead of UTC.
    pub(crate) ahead: i32,
    /// How many of a thousand sessions are interactive.
    pub(crate) interactive: u32,
    /// A place in the order of models that this user likes.
    pub(crate) taste: u32,
    /// Days until this user takes a new release.
    pub(crate) lag_days: i64,
    pub(crate) logs_prompts: bool,
    pub(crate) has_hooks: bool,
    pub(crate) has_ripgrep: bool,
    pub(crate) has_sandbox: bool,
    pub(crate) system: (&'static str, &'static str),
    pub(crate) auth: &'static str,
    /// The approval mode of most sessions.
    pub(crate) mode: usize,
    /// A bit for each of `MCP_SERVERS`.
    pub(crate) servers: u32,
    /// A bit for each of `EXTENSIONS`.
    pub(crate) extensions: u32,
    pub(crate) projects: [&'static str; 3],
}

impl Fleet {
    pub(crate) fn new(users: u32, seed: u64) -> Self {
        // Zipf's law with a flattened head: the busiest of a thousand users makes some 4 % of all work.
        let mut sum = 0;
        let sums = (0..u64::from(users)).map(|rank| {
            sum += 1_000_000_000 / (rank + 4);
            sum
        });
        Self { seed, sums: sums.collect() }
    }

    /// Somebody who is likely to be at work in this hour of UTC.
    pub(crate) fn at_work(&self, random: &mut Random, utc_hour: i32) -> User {
        let mut user = self.user(self.rank(random));
        for _ in 0..4 {
            if random.below(100) < local_weight(utc_hour, user.ahead) {
                break;
            }
            user = self.user(self.rank(random));
        }
        user
    }

    /// One of the three busiest: who runs loops of requests does so often.
    pub(crate) fn busy(&self, random: &mut Random) -> User {
        self.user(random.below(self.sums.len().min(3) as u32))
    }

    fn rank(&self, random: &mut Random) -> u32 {
        let total = self.sums.last().copied().unwrap_or(1);
        let hit = random.next() % total;
        self.sums.partition_point(|&sum| sum <= hit) as u32
    }

    fn user(&self, rank: u32) -> User {
        let mut random = Random::of(self.seed ^ 0x5eed_05e5, rank.into());
        let (first, last) = (random.pick(&FIRST), random.pick(&LAST));
        let team = random.below(8) as usize;
        let (name, release, _) = SYSTEMS[random.weighted(SYSTEMS.iter().map(|(_, _, weight)| *weight))];
        User {
            email: format!("{first}.{last}{rank}@example.com"),
            account: format!("{first}{rank}"),
            installation: [random.next(), random.next()],
            host: format!(
                "{}-{first}-{:03x}",
                if name == "darwin" { "mac" } else { "dev" },
                random.below(4_096)
            ),
            team: TEAMS[team],
            ahead: REGIONS[random.weighted(REGIONS.iter().map(|(_, users)| *users))].0,
            interactive: random.pick(&[0, 120, 200, 300, 600]),
            taste: random.below(1_000),
            lag_days: i64::from(random.below(24).saturating_sub(3)),
            logs_prompts: random.per_mille(890),
            has_hooks: random.per_mille(900),
            has_ripgrep: random.per_mille(60),
            has_sandbox: random.per_mille(450),
            system: (name, release),
            auth: AUTH[random.weighted(AUTH.iter().map(|(_, weight)| *weight))].0,
            mode: random.weighted([600, 260, 100, 40].into_iter()),
            servers: (random.next() & random.next()) as u32 & 15,
            extensions: (random.next() & random.next()) as u32 & 31,
            projects: [PROJECTS[team], PROJECTS[team + 8], random.pick(&PROJECTS)],
        }
    }
}

/// The CLI's version that somebody so many days behind runs on a day: a minor release each Tuesday, 0.61 in
/// the week of the recordings.
pub(crate) fn cli_version(day: i64, lag_days: i64) -> (i64, i64) {
    /// 2026-11-17 in days since 1970.
    const RECORDED: i64 = 20_774;
    let age = day - lag_days - RECORDED;
    let minor = 61 + age.div_euclid(7);
    // A patch on Friday of every second week.
    let patch = i64::from(minor.rem_euclid(2) == 1 && age.rem_euclid(7) >= 3);
    if minor < 1 { (1, 0) } else { (minor, patch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shared_unevenly_and_nobody_is_beyond_the_end() {
        let fleet = Fleet::new(1_000, 3);
        let mut random = Random::new(1);
        let ranks: Vec<u32> = (0..20_000).map(|_| fleet.rank(&mut random)).collect();
        let first = ranks.iter().filter(|rank| **rank == 0).count();
        assert!((500..1_200).contains(&first), "{first}");
        assert!(ranks.iter().any(|rank| *rank > 900));
        assert!(ranks.iter().all(|rank| *rank < 1_000));
        assert_eq!(Fleet::new(1, 3).rank(&mut random), 0);
    }

    #[test]
    fn a_user_is_always_the_same() {
        let fleet = Fleet::new(10, 3);
        assert_eq!(fleet.user(4).email, fleet.user(4).email);
        assert_ne!(fleet.user(4).installation, fleet.user(5).installation);
    }

    #[test]
    fn versions_go_up_with_the_days() {
        assert_eq!(cli_version(20_779, 0), (61, 1));
        assert_eq!(cli_version(20_779, 6), (60, 0));
        assert_eq!(cli_version(0, 0), (1, 0));
        assert!((0..100).all(|day| cli_version(20_700 + day, 0) <= cli_version(20_701 + day, 0)));
    }
}
