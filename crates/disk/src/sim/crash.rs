//! What is left of unsynced changes.

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::world::{FileChange, Inode, World};

/// A write is torn at sectors, or at any byte where the file's end moved.
const SECTOR_BYTES: usize = 512;

/// The power goes: decides for every unsynced change whether it survives, then forgets all else.
pub(super) fn lose_power(world: &mut World) {
    for change in std::mem::take(&mut world.pending_names) {
        if world.rng.random() {
            change.apply(&mut world.durable_names);
        }
    }
    world.names = world.durable_names.clone();
    let linked: BTreeSet<u64> = world.names.values().copied().collect();
    world.inodes.retain(|inode, _| linked.contains(inode));
    for inode in world.inodes.values_mut() {
        let mut pending = std::mem::take(&mut inode.pending);
        pending.shuffle(&mut world.rng);
        pending.iter().for_each(|change| survive(&mut world.rng, change, &mut inode.durable));
        inode.current = inode.durable.clone();
    }
}

/// A sync failed: its pages count as clean although chance decided what of them was written. Lengths
/// stay pending: they are in the journal, which the next sync writes.
pub(super) fn fail_sync(rng: &mut StdRng, inode: &mut Inode) {
    let (writes, lengths): (Vec<_>, Vec<_>) = std::mem::take(&mut inode.pending)
        .into_iter()
        .partition(|change| matches!(change, FileChange::Write { .. }));
    writes.iter().for_each(|change| survive(rng, change, &mut inode.durable));
    if inode.durable.len() < inode.current.len() && rng.random() {
        inode.durable.resize(inode.current.len(), 0);
    }
    inode.pending = lengths;
}

fn survive(rng: &mut StdRng, change: &FileChange, durable: &mut Vec<u8>) {
    match (change, rng.random_range(0..10)) {
        (_, 0..4) => change.apply(durable),
        (FileChange::Write { position, bytes }, 4..6) => {
            let kept = rng.random_range(0..=bytes.len());
            FileChange::Write { position: *position, bytes: bytes[..kept].to_vec() }.apply(durable);
        }
        (FileChange::Write { position, bytes }, 6..8) => {
            for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if rng.random() {
                    let position = position + number * SECTOR_BYTES;
                    FileChange::Write { position, bytes: sector.to_vec() }.apply(durable);
                }
            }
        }
        _ => {}
    }
}
