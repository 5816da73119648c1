//! Containers without some of their entries, at their old place.

use crate::Container;
use std::ops::Range;

/// How a container changes. Offsets are bytes in the slice that it was found in.
///
/// It begins where it began, since wrappers hold its address, and is what NVIDIA's own tools would
/// have made of the entries that stay: their bytes are the same, one after the other, and its
/// header says how many bytes they are. What is left to its old end is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Where the eight bytes of its new size go, and the size.
    pub size: (u64, u64),
    /// Bytes that move towards its beginning, in the order in which they have to.
    pub moves: Vec<(Range<u64>, u64)>,
    /// Bytes that become zero.
    pub zeros: Range<u64>,
}

impl Edit {
    /// Makes the change in `data`, the slice that the container was found in; false, and nothing
    /// is done, where it does not fit.
    pub fn apply(&self, data: &mut [u8]) -> bool {
        let end = self.zeros.end.max(self.size.0.saturating_add(8));
        if end > data.len() as u64 {
            return false;
        }
        for (from, to) in &self.moves {
            data.copy_within(from.start as usize..from.end as usize, *to as usize);
        }
        let at = self.size.0 as usize;
        data[at..at + 8].copy_from_slice(&self.size.1.to_le_bytes());
        data[self.zeros.start as usize..self.zeros.end as usize].fill(0);
        true
    }
}

/// `container` with those entries for which `stays` holds; `None` where nothing changes, or
/// where it is malformed.
///
/// One without entries stays a container: a driver that looks for code in it finds none, as it
/// does where there are only entries for other GPUs.
pub fn without(container: &Container, stays: &[bool]) -> Option<Edit> {
    let all = container.entries.iter().zip(stays);
    if container.malformed.is_some() || all.clone().all(|(_, stays)| *stays) {
        return None;
    }
    let start = container.offset + Container::HEADER_SIZE;
    let mut next = start;
    let mut moves: Vec<(Range<u64>, u64)> = Vec::new();
    for (entry, _) in all.filter(|(_, stays)| **stays) {
        let range = entry.range();
        match moves.last_mut() {
            Some((from, _)) if from.end == range.start => from.end = range.end,
            _ => moves.push((range.clone(), next)),
        }
        next += range.end - range.start;
    }
    moves.retain(|(from, to)| from.start != *to);
    let size = (container.offset + Container::SIZE_AT, next - start);
    Some(Edit { size, moves, zeros: next..container.range().end })
}
