//! Inputs for the tests that hold the targets' properties without libFuzzer: the seeds, then a few hundred
//! of them with bytes changed, cut, doubled and put in, the same on every run.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Larger recordings are too slow to try hundreds of times.
const SEED_BYTES_MAX: u64 = 64 * 1024;

/// The files of a folder of the repository whose names hold `part`.
pub fn seeds(folder: &str, part: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains(part) && path.metadata().unwrap().len() <= SEED_BYTES_MAX
    });
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Calls `property` with each seed, then with `cases` changed ones. `words` are put in here and there.
pub fn try_all(seeds: Vec<Vec<u8>>, words: &[&'static str], cases: u32, property: fn(&[u8])) {
    seeds.iter().for_each(|seed| property(seed));
    let mut words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    words.extend([vec![0], vec![0xff; 10], "(".repeat(300).into_bytes(), "[".repeat(20_000).into_bytes()]);
    let change = (0_u8..6, any::<Index>(), any::<Index>(), any::<u8>(), select(words));
    let strategy = (select(seeds.clone()), select(seeds), vec(change, 1..6));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let tried = TestRunner::new_with_rng(config, rng).run(&strategy, |(mut data, other, changes)| {
        for (kind, at, to, byte, word) in changes {
            let (at, to) = (at.index(data.len() + 1), to.index(data.len() + 1));
            let (from, end) = (at.min(to), at.max(to));
            match kind {
                0 => data.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
                1 => drop(data.splice(at..at, word)),
                2 => drop(data.drain(from..end.min(from + 16))),
                3 => drop(data.splice(at..at, data[from..end].to_vec())),
                4 => data.truncate(end),
                _ => drop(data.splice(from..end, other[from.min(other.len())..].to_vec())),
            }
            data.truncate(4 * SEED_BYTES_MAX as usize);
        }
        property(&data);
        Ok(())
    });
    if let Err(failure) = tried {
        panic!("{failure}");
    }
}
