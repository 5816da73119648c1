//! The window of one address space: which pages are protected.

use crate::filter::{WINDOW_END, WINDOW_START};
use elf::PAGE;
use std::collections::BTreeMap;
use std::ops::Range;

/// The protection bit for code.
pub const EXECUTE: u8 = libc::PROT_EXEC as u8;

/// One page of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// As the program asked; not watched.
    Plain,
    /// Inaccessible until it is touched; then it gets this protection.
    Closed(u8),
    /// Touched; it has this protection.
    Open(u8),
}

/// The mappings of one library.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Which library, an index that the engine gives.
    pub library: usize,
    /// Its load base: the address of unrelocated address 0.
    pub base: u64,
    pages: Vec<Page>,
}

/// What is in the window of one address space.
#[derive(Debug, Clone, Default)]
pub struct Space {
    slots: BTreeMap<u64, Slot>,
    /// Address of the code that opens a page and goes on; 0 until it is placed.
    pub stub: u64,
    /// Where the next library goes.
    pub next: u64,
    /// Pages that were opened one by one.
    pub opened: u64,
}

/// Whether `address` lies in the window.
pub fn in_window(address: u64) -> bool {
    (WINDOW_START..WINDOW_END).contains(&address)
}

impl Space {
    /// Adds a library's first mapping, `length` bytes at `start`.
    pub fn add(&mut self, start: u64, length: u64, library: usize, base: u64) {
        let pages = vec![Page::Plain; length.div_ceil(PAGE) as usize];
        self.slots.insert(start, Slot { library, base, pages });
    }

    fn slot_at(&mut self, address: u64) -> Option<(u64, &mut Slot)> {
        let (start, slot) = self.slots.range_mut(..=address).next_back()?;
        (address < start + slot.pages.len() as u64 * PAGE).then_some((*start, slot))
    }

    /// The page at `address`, with its library and unrelocated page number.
    pub fn page(&mut self, address: u64) -> Option<(Page, usize, u64)> {
        let (start, slot) = self.slot_at(address)?;
        let page = slot.pages[((address - start) / PAGE) as usize];
        Some((page, slot.library, address.wrapping_sub(slot.base) / PAGE))
    }

    /// Sets every page that the addresses `range` touch and a library has.
    pub fn set(&mut self, range: Range<u64>, to: Page) {
        let mut address = range.start & !(PAGE - 1);
        while address < range.end {
            let Some((start, slot)) = self.slot_at(address) else {
                address += PAGE;
                continue;
            };
            let first = ((address - start) / PAGE) as usize;
            let last = ((range.end - start).div_ceil(PAGE) as usize).min(slot.pages.len());
            slot.pages[first..last].fill(to);
            address = start + last as u64 * PAGE;
        }
    }

    /// Forgets what was unmapped.
    pub fn unmap(&mut self, range: Range<u64>) {
        let gone: Vec<u64> = self
            .slots
            .range(range.start..range.end)
            .filter(|(start, slot)| **start + slot.pages.len() as u64 * PAGE <= range.end)
            .map(|(start, _)| *start)
            .collect();
        for start in gone {
            self.slots.remove(&start);
        }
        self.set(range, Page::Plain);
    }

    /// The closed pages that the addresses `range` touch: runs with one protection.
    pub fn closed(&mut self, range: Range<u64>) -> Vec<(Range<u64>, u8)> {
        let mut runs: Vec<(Range<u64>, u8)> = Vec::new();
        let mut address = range.start & !(PAGE - 1);
        while address < range.end {
            if let Some((Page::Closed(protection), ..)) = self.page(address) {
                match runs.last_mut() {
                    Some((run, same)) if run.end == address && *same == protection => {
                        run.end += PAGE;
                    }
                    _ => runs.push((address..address + PAGE, protection)),
                }
            }
            address += PAGE;
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_close_open_and_disappear() {
        let mut space = Space::default();
        let start = WINDOW_START + (1 << 21);
        space.add(start, 10 * PAGE, 7, start);
        space.set(start..start + 4 * PAGE, Page::Closed(EXECUTE));
        space.set(start + 2 * PAGE..start + 3 * PAGE, Page::Open(EXECUTE));
        assert_eq!(space.page(start + 2 * PAGE + 5), Some((Page::Open(EXECUTE), 7, 2)));
        let runs = space.closed(start..start + 10 * PAGE);
        assert_eq!(runs.len(), 2);
        assert_eq!(runs[1].0, start + 3 * PAGE..start + 4 * PAGE);
        assert_eq!(space.page(start + 10 * PAGE), None);
        space.unmap(start..start + 10 * PAGE);
        assert_eq!(space.page(start), None);
    }
}
