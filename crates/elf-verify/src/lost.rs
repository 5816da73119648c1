//! Functions that are neither in the file nor in the store.
//!
//! Where such a function begins on a page that is there for another's sake, its first byte is
//! [`format::TRAP`], so that a call of it is noticed and what is left of it does not run.

use crate::dynamic::Dynamic;
use crate::entries::{Function, within};
use elf::{PAGE, PageSet};
use format::TRAP;

/// Where functions that are lost begin, ascending.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Where the first byte may be another.
    may: Vec<u64>,
    /// Where it has to be.
    must: Vec<u64>,
}

impl Lost {
    /// Those of `functions` that are not all on pages that are `planned`. Of those, the ones that
    /// are named in `dynamic` and whose end is not `present` have to be stopped.
    pub fn of(
        functions: &[Function],
        dynamic: &Dynamic<'_>,
        planned: &PageSet,
        present: &PageSet,
    ) -> Self {
        let named = dynamic.symbols.iter().filter(|symbol| symbol.is_function());
        let mut named: Vec<u64> = named.map(|symbol| symbol.value).collect();
        named.sort_unstable();
        let (mut own, mut covered) = (Self::default(), 0);
        for Function { code, .. } in functions {
            let whole = within(present, code.clone());
            if whole {
                covered = covered.max(code.end);
            }
            if within(planned, code.clone()) {
                continue;
            }
            own.may.push(code.start);
            // What is there may be covered by entries of more than one function.
            let reached = named.binary_search(&code.start).is_ok() && code.start >= covered;
            if reached && !whole && present.contains(code.start / PAGE) {
                own.must.push(code.start);
            }
        }
        own.may.dedup();
        own.must.dedup();
        own
    }

    /// The first function that has to be stopped and has no name in `named`, which are by address.
    pub fn unnamed<'n>(&self, named: impl Iterator<Item = (u64, Option<&'n [u8]>)>) -> Option<u64> {
        let mut named = named.filter(|(_, name)| name.is_some_and(|name| !name.is_empty()));
        self.must.iter().copied().find(|must| !named.any(|(start, _)| start == *must))
    }

    /// The first of the bytes `found` at the address `start` that is neither that of `original`
    /// nor as it has to be.
    pub fn wrong(
        &self,
        start: u64,
        original: &[u8],
        found: &[u8],
        ignored: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let end = start + found.len() as u64;
        let page = PAGE as usize;
        // Whole pages are compared at once: few have anything that may differ.
        for from in (0..found.len()).step_by(page) {
            let piece = from..(from + page).min(found.len());
            if original.get(piece.clone()) == found.get(piece.clone()) {
                continue;
            }
            for at in piece {
                let place = start + at as u64;
                let stopped = || found[at] == TRAP && self.may.binary_search(&place).is_ok();
                if original.get(at) != Some(&found[at]) && !stopped() && !ignored(place) {
                    return Some(place);
                }
            }
        }
        let first = self.must.partition_point(|one| *one < start);
        let here = self.must[first..].iter().take_while(|one| **one < end);
        here.copied().find(|one| found[(one - start) as usize] != TRAP)
    }
}
