//! Ranges of bytes that do not overlap.

use std::ops::Range;

/// The parts of `range` that lie in none of `taken`, which ascend and do not overlap.
pub(crate) fn gaps(range: Range<u64>, taken: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut free = Vec::new();
    let mut at = range.start;
    for other in &taken[first_after(taken, range.start)..] {
        if other.start >= range.end {
            break;
        }
        if other.start > at {
            free.push(at..other.start);
        }
        at = at.max(other.end);
    }
    if at < range.end {
        free.push(at..range.end);
    }
    free
}

/// How many bytes of `range` lie in `taken`, which ascend and do not overlap.
pub(crate) fn covered(range: &Range<u64>, taken: &[Range<u64>]) -> u64 {
    let free: u64 = gaps(range.clone(), taken).iter().map(|gap| gap.end - gap.start).sum();
    range.end.saturating_sub(range.start) - free
}

/// The index of the first of `taken` that ends behind `at`.
fn first_after(taken: &[Range<u64>], at: u64) -> usize {
    taken.partition_point(|other| other.end <= at)
}

/// Cuts `named` so that no two overlap and none is empty or leaves `0..limit`: bytes
/// belong to the range that starts first, and of those that start together to the
/// longest. The result ascends.
pub(crate) fn divide<T>(mut named: Vec<(Range<u64>, T)>, limit: u64) -> Vec<(Range<u64>, T)> {
    named.sort_by(|(a, _), (b, _)| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    let mut at = 0;
    named
        .into_iter()
        .filter_map(|(range, name)| {
            let cut = range.start.max(at)..range.end.min(limit);
            if cut.start >= cut.end {
                return None;
            }
            at = cut.end;
            Some((cut, name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{covered, divide, gaps};

    #[test]
    fn overlaps_are_cut_in_favour_of_the_first() {
        let cut =
            divide(vec![(5..9, 'b'), (0..6, 'a'), (1..3, 'c'), (8..40, 'd'), (4..4, 'e')], 20);
        assert_eq!(cut, [(0..6, 'a'), (6..9, 'b'), (9..20, 'd')]);
    }

    #[test]
    fn gaps_and_covered_bytes_add_up() {
        let taken = [2..4, 6..9, 12..30];
        assert_eq!(gaps(0..14, &taken), [0..2, 4..6, 9..12]);
        assert_eq!(gaps(7..8, &taken), []);
        assert_eq!(gaps(3..7, &taken), vec![4..6]);
        assert_eq!(covered(&(3..7), &taken), 2);
        assert_eq!(covered(&(0..40), &taken), 23);
    }
}
