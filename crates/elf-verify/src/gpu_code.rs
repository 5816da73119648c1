//! GPU code that leaves a library: what stays is where it can be found, and nothing else changed.
//!
//! This walks fat binaries and zstd frames by itself. Formats: see the crate `fatbin`, and
//! RFC 8878 for frames.

use crate::image::{u16_at, u32_at, u64_at};
use crate::{Fault, differs};
use std::ops::Range;

/// The first bytes of a fat binary: its magic, its version 1 and the 16 bytes of its header.
const CONTAINER: [u8; 8] = [0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0];

/// Bytes of the header of a fat binary, and of the fixed part of that of an entry.
const HEADER: usize = 16;
const ENTRY: usize = 64;

/// The first bytes of a frame.
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Checks that a library that is `seen` by a target is the one that is `installed` without GPU
/// code. `kept` are the places, ascending, of entries of fat binaries and of frames that stay:
/// each container holds those of its entries, in their order, with the same bytes, and then zeros
/// to its old end. All other bytes are the same, but for whole frames in no container, which may
/// be zeros.
///
/// # Errors
/// The first byte that is another one, as an offset in the file.
pub fn gpu_code(installed: &[u8], seen: &[u8], kept: &[u64]) -> Result<(), Fault> {
    if installed.len() != seen.len() {
        return Err(differs("the length of what a target sees", seen.len() as u64));
    }
    let mut found = 0;
    let mut at = 0;
    for place in memchr::memmem::find_iter(installed, &CONTAINER) {
        if place < at {
            continue;
        }
        let Some(entries) = entries(installed, place) else { continue };
        outside(installed, seen, at..place, kept, &mut found)?;
        at = container(installed, seen, place, &entries, kept, &mut found)?;
    }
    outside(installed, seen, at..installed.len(), kept, &mut found)?;
    if found != kept.len() {
        return Err(differs("the number of entries that stay", found as u64));
    }
    Ok(())
}

/// The entries of the container at `place`, and its end; `None` where it is not whole.
fn entries(data: &[u8], place: usize) -> Option<(Vec<Range<usize>>, usize)> {
    let size = usize::try_from(u64_at(data, place + 8)?).ok()?;
    let end = place.checked_add(HEADER)?.checked_add(size).filter(|end| *end <= data.len())?;
    let (mut at, mut all) = (place + HEADER, Vec::new());
    while at < end {
        let whole = || {
            let header = u32_at(data, at + 4)? as usize;
            let size = header.checked_add(usize::try_from(u64_at(data, at + 8)?).ok()?)?;
            let fits = header >= ENTRY && end - at >= ENTRY && size <= end - at;
            fits.then_some(at + size)
        };
        match whole() {
            Some(next) => {
                all.push(at..next);
                at = next;
            }
            None if data[at..end].iter().all(|byte| *byte == 0) => break,
            None => return None,
        }
    }
    Some((all, end))
}

/// Compares one container, and gives its end.
fn container(
    installed: &[u8],
    seen: &[u8],
    place: usize,
    (entries, end): &(Vec<Range<usize>>, usize),
    kept: &[u64],
    found: &mut usize,
) -> Result<usize, Fault> {
    let stays = |entry: &&Range<usize>| kept.binary_search(&(entry.start as u64)).is_ok();
    let all: Vec<&Range<usize>> = entries.iter().filter(stays).collect();
    *found += all.len();
    let same = |from: Range<usize>, to: usize| {
        let length = from.len();
        installed[from] == seen[to..to + length]
    };
    if all.len() == entries.len() {
        let whole = same(place..*end, place);
        return if whole {
            Ok(*end)
        } else {
            Err(differs("a fat binary that stays", place as u64))
        };
    }
    let mut next = place + HEADER;
    for entry in all {
        if !same(entry.clone(), next) {
            return Err(differs("an entry of a fat binary", entry.start as u64));
        }
        next += entry.len();
    }
    let size = u64_at(seen, place + 8);
    if !same(place..place + 8, place) || size != Some((next - place - HEADER) as u64) {
        return Err(differs("the header of a fat binary", place as u64));
    }
    match seen[next..*end].iter().position(|byte| *byte != 0) {
        Some(at) => Err(differs("what is behind a fat binary", (next + at) as u64)),
        None => Ok(*end),
    }
}

/// Compares what lies in no container.
fn outside(
    installed: &[u8],
    seen: &[u8],
    range: Range<usize>,
    kept: &[u64],
    found: &mut usize,
) -> Result<(), Fault> {
    let end = range.end as u64;
    let from = kept.partition_point(|place| *place < range.start as u64);
    // Containers come in their order: what lies between two was not counted with either.
    *found += kept[from..].iter().take_while(|place| **place < end).count();
    let mut at = range.start;
    while let Some(step) = difference(&installed[at..range.end], &seen[at..range.end]) {
        let byte = at + step;
        let fault = || differs("a byte outside of fat binaries", byte as u64);
        // A frame begins at its magic, all of which became zeros.
        let frame = frame_end(installed, byte).filter(|end| *end <= range.end).ok_or_else(fault)?;
        if kept.binary_search(&(byte as u64)).is_ok()
            || seen[byte..frame].iter().any(|one| *one != 0)
        {
            return Err(fault());
        }
        at = frame;
    }
    Ok(())
}

/// The first place where two slices of one length differ.
fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    const BLOCK: usize = 1 << 16;
    let blocks = one.chunks(BLOCK).zip(other.chunks(BLOCK));
    let (number, (one, other)) = blocks.enumerate().find(|(_, (one, other))| one != other)?;
    let at = one.iter().zip(other).position(|(one, other)| one != other)?;
    Some(number * BLOCK + at)
}

/// Where the frame at `at` ends, by the headers of its blocks (RFC 8878, 3.1.1).
fn frame_end(data: &[u8], at: usize) -> Option<usize> {
    if data.get(at..at + 4)? != FRAME {
        return None;
    }
    let descriptor = *data.get(at + 4)?;
    let single = descriptor >> 5 & 1;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = match descriptor >> 6 {
        0 => usize::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let mut next = at + 5 + usize::from(1 - single) + dictionary + size;
    loop {
        let header = u32::from(u16_at(data, next)?) | u32::from(*data.get(next + 2)?) << 16;
        let length = match header >> 1 & 3 {
            1 => 1,
            3 => return None,
            _ => header >> 3,
        };
        next = next.checked_add(3 + length as usize).filter(|next| *next <= data.len())?;
        if header & 1 != 0 {
            break;
        }
    }
    let checksum = if descriptor & 4 != 0 { 4 } else { 0 };
    Some(next + checksum).filter(|end| *end <= data.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![number; ENTRY + payload];
        bytes[4..8].copy_from_slice(&(ENTRY as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&(payload as u64).to_le_bytes());
        bytes
    }

    fn fat(entries: &[Vec<u8>]) -> Vec<u8> {
        let body = entries.concat();
        let mut bytes = CONTAINER.to_vec();
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// A frame of one raw block.
    fn frame(length: u32) -> Vec<u8> {
        let mut bytes = FRAME.to_vec();
        // The size of what it holds takes a byte.
        bytes.extend([0x20, length as u8]);
        bytes.extend(&(length << 3 | 1).to_le_bytes()[..3]);
        bytes.extend((0..length).map(|at| at as u8 | 1));
        bytes
    }

    #[test]
    fn only_what_leaves_may_be_another() {
        let entries = [entry(3, 24), entry(4, 40), entry(5, 8)];
        let mut installed = vec![9; 30];
        let first = installed.len();
        installed.extend(fat(&entries));
        installed.extend([9; 50]);
        let (one, two) = (installed.len(), installed.len() + frame(40).len() + 3);
        installed.extend(frame(40));
        installed.extend([9; 3]);
        installed.extend(frame(80));
        installed.extend([9; 30]);

        let kept = [(first + HEADER + ENTRY + 24) as u64, two as u64];
        let mut seen = installed.clone();
        let only = fat(&entries[1..2]);
        let old = fat(&entries).len();
        seen[first..first + old].fill(0);
        seen[first..first + only.len()].copy_from_slice(&only);
        seen[one..one + frame(40).len()].fill(0);
        gpu_code(&installed, &seen, &kept).unwrap();
        gpu_code(&installed, &installed, &[]).unwrap_err();

        for at in 0..seen.len() {
            let mut other = seen.clone();
            other[at] ^= 0x10;
            assert!(gpu_code(&installed, &other, &kept).is_err(), "byte {at}");
        }
        for other in [&kept[1..], &[kept[0], kept[1], installed.len() as u64]] {
            assert!(gpu_code(&installed, &seen, other).is_err(), "{other:?}");
        }
        assert!(gpu_code(&installed, &seen[1..], &kept).is_err());
    }
}
