//! Runs of kept pages, joined until there are few enough.

use elf::{PAGE, PageSet, ProgramHeader};
use std::ops::Range;

/// The address ranges of a read-only segment that stay, clipped to it.
pub(crate) fn of_segment(load: &ProgramHeader, keep: &PageSet) -> Vec<Range<u64>> {
    let whole = load.file_addresses();
    let mut inside = PageSet::new();
    inside.insert_addresses(whole.clone());
    let kept: PageSet = inside.iter().filter(|page| keep.contains(*page)).collect();
    kept.runs()
        .into_iter()
        .map(|run| (run.start * PAGE).max(whole.start)..(run.end * PAGE).min(whole.end))
        .collect()
}

/// Joins neighbours over the smallest gaps until all segments together have at
/// most `limit` ranges, or none can be joined. Equal gaps are closed from the
/// lowest address, so that the result is the same each time.
pub(crate) fn join(segments: &mut [Vec<Range<u64>>], limit: usize) {
    let total: usize = segments.iter().map(Vec::len).sum();
    let Some(excess) = total.checked_sub(limit).filter(|excess| *excess > 0) else { return };
    let mut gaps: Vec<(u64, u64)> = segments
        .iter()
        .flat_map(|ranges| ranges.windows(2))
        .map(|pair| (pair[1].start - pair[0].end, pair[0].end))
        .collect();
    gaps.sort_unstable();
    gaps.truncate(excess);
    let mut closed: Vec<u64> = gaps.into_iter().map(|(_, end)| end).collect();
    closed.sort_unstable();
    for ranges in segments {
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges.drain(..) {
            match joined.last_mut() {
                Some(last) if closed.binary_search(&last.end).is_ok() => last.end = range.end,
                _ => joined.push(range),
            }
        }
        *ranges = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_gaps_close_first() {
        let mut segments = vec![vec![0..10, 12..20, 50..60], vec![100..110, 111..120]];
        join(&mut segments, 3);
        let shown = |segments: &[Vec<Range<u64>>]| format!("{segments:?}");
        assert_eq!(shown(&segments), "[[0..20, 50..60], [100..120]]");
        join(&mut segments, 1);
        assert_eq!(shown(&segments), "[[0..60], [100..120]]");
    }
}
