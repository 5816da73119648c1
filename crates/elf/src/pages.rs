//! Sets of pages, the unit in which code is kept or left out.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Range;

/// Bytes in a page. x86-64 has no other base page size; libraries of other
/// machines are copied whole.
pub const PAGE: u64 = 4096;

/// The number of a page: an unrelocated virtual address divided by [`PAGE`].
pub type PageNumber = u64;

/// The highest page number that a set holds: 1 TiB of address space. A library
/// that claims more is refused before its pages are counted.
pub const MAX_PAGE: PageNumber = 1 << 28;

/// A set of page numbers of one library, kept as a bitmap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one page; true if it was not there. Pages past [`MAX_PAGE`] are ignored.
    pub fn insert(&mut self, page: PageNumber) -> bool {
        if page >= MAX_PAGE {
            return false;
        }
        let (word, bit) = ((page / 64) as usize, 1u64 << (page % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    /// Adds every page that the addresses `range` touch. An empty range adds none.
    pub fn insert_addresses(&mut self, range: Range<u64>) {
        if range.start < range.end {
            for page in range.start / PAGE..range.end.div_ceil(PAGE).min(MAX_PAGE) {
                self.insert(page);
            }
        }
    }

    /// Whether `page` is in the set.
    pub fn contains(&self, page: PageNumber) -> bool {
        self.words.get((page / 64) as usize).is_some_and(|word| word & (1 << (page % 64)) != 0)
    }

    /// Whether any page that the addresses `range` touch is in the set.
    pub fn touches(&self, range: Range<u64>) -> bool {
        range.start < range.end
            && (range.start / PAGE..range.end.div_ceil(PAGE)).any(|page| self.contains(page))
    }

    /// Adds every page of `other`.
    pub fn union(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    /// Takes every page of `other` out.
    pub fn remove(&mut self, other: &Self) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine &= !theirs;
        }
    }

    /// The number of pages.
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The pages in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = PageNumber> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros();
                    rest &= rest - 1;
                    index as u64 * 64 + u64::from(bit)
                })
            })
        })
    }

    /// The pages as maximal runs, ascending and disjoint.
    pub fn runs(&self) -> Vec<Range<PageNumber>> {
        let mut runs: Vec<Range<PageNumber>> = Vec::new();
        for page in self.iter() {
            match runs.last_mut() {
                Some(run) if run.end == page => run.end += 1,
                _ => runs.push(page..page + 1),
            }
        }
        runs
    }
}

impl FromIterator<PageNumber> for PageSet {
    fn from_iter<I: IntoIterator<Item = PageNumber>>(pages: I) -> Self {
        let mut set = Self::new();
        for page in pages {
            set.insert(page);
        }
        set
    }
}

impl std::fmt::Debug for PageSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.runs()).finish()
    }
}

/// Written as a flat list of numbers: first page, count, first page, count, …
impl Serialize for PageSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let flat: Vec<u64> =
            self.runs().into_iter().flat_map(|run| [run.start, run.end - run.start]).collect();
        flat.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PageSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let flat = Vec::<u64>::deserialize(deserializer)?;
        let mut set = Self::new();
        for pair in flat.chunks(2) {
            let [first, count] = *pair else {
                return Err(D::Error::custom("a page set is a list of pairs"));
            };
            match first.checked_add(count) {
                Some(end) if end <= MAX_PAGE => (first..end).for_each(|page| {
                    set.insert(page);
                }),
                _ => return Err(D::Error::custom("a page number is out of range")),
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_maximal_and_survive_serialisation() {
        let set: PageSet = [0, 1, 2, 63, 64, 65, 200].into_iter().collect();
        assert_eq!(set.runs(), [0..3, 63..66, 200..201]);
        assert_eq!(set.len(), 7);
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(text, "[0,3,63,3,200,1]");
        assert_eq!(serde_json::from_str::<PageSet>(&text).unwrap(), set);
        assert!(serde_json::from_str::<PageSet>("[1]").is_err());
        assert!(serde_json::from_str::<PageSet>("[18446744073709551615,2]").is_err());
    }

    #[test]
    fn addresses_cover_partial_pages() {
        let mut set = PageSet::new();
        set.insert_addresses(PAGE - 1..PAGE + 1);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1]);
        set.insert_addresses(5 * PAGE..5 * PAGE);
        assert_eq!(set.len(), 2);
        assert!(set.touches(0..1) && !set.touches(2 * PAGE..5 * PAGE));
    }
}
