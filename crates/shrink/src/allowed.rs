//! What may differ between a library and what was written of it.

use crate::Error;
use crate::cold::{self, Revive};
use crate::link::{self, Tied};
use crate::names;
use crate::original::Original;
use crate::relative;
use elf::{Library, NAMED, PageSet, Relative, Relocation, tag};
use std::collections::BTreeMap;

/// Differences that are as they must be: whoever allows one has compared what it means.
pub(crate) struct Allowed {
    /// Bytes, by address and number.
    changed: BTreeMap<u64, u64>,
    /// Pages of tables that were made anew.
    pub freed: PageSet,
    /// Tags of the dynamic section whose values differ.
    pub moved: Vec<u64>,
    /// Tags whose entries were compared before, or left.
    pub gone: Vec<u64>,
    /// The address of instructions that the original does not have.
    pub code: Option<u64>,
}

impl Allowed {
    /// Reads the names, relocations and ties of `second`, which was made of `original`.
    ///
    /// # Errors
    /// [`Error::Differs`] where these are not what the original's become.
    pub fn of(
        original: &Original<'_>,
        second: &Library<'_>,
        private: &dyn Fn(&str) -> bool,
        revive: Option<&Revive<'_>>,
    ) -> Result<Self, Error> {
        let first = original.library();
        // Names that are gone, and the tables that hold the others.
        let names = |at| Error::Differs { what: "the names", at };
        let (mut changed, mut freed, tied, renamed);
        if let Some(revive) = revive {
            let note = cold::note_of(second);
            let found = link::check(first, second, revive.runtime, &note, &original.present);
            tied = found.map_err(names)?;
            (changed, freed, renamed) = (tied.changed.clone(), tied.freed.clone(), true);
            // Functions that are lost begin with an instruction that says so.
            changed.extend(original.halted().iter().map(|at| (*at, 1)));
        } else {
            let found = names::check(first, second, original.keep).map_err(names)?;
            renamed = !found.changed.is_empty();
            (changed, freed, tied) = (found.changed, found.freed, Tied::default());
        }
        // Words that the loader relocated, and now the library does.
        let own = names::own(first, private);
        let words = relative::check(first, second, &own, tied.relocation)?;
        let packed = !words.is_empty();
        if packed {
            freed.union(&Relative::of(first, &own).map(|all| all.pages()).unwrap_or_default());
        }
        changed.extend(words.into_keys().map(|at| (at, 8)));
        let moved = moved(packed, renamed, revive.is_some());
        changed.extend(moved_entries(first, &moved).map(|at| (at, 8)));
        // Where the library is tied to the runtime, the instructions for that come first.
        let resolved = |other: &&Relocation| other.kind == Relocation::IRELATIVE && packed;
        let code = match revive {
            Some(_) => second.dynamic(tag::INIT),
            None => second.relocations()?.iter().find(resolved).map(|call| call.addend as u64),
        };
        // Of the libraries that are needed, link::check has seen the list.
        let needed = revive.map(|_| tag::NEEDED);
        let gone = needed.into_iter().chain(tied.replaced.filter(|_| revive.is_some())).collect();
        Ok(Self { changed, freed, moved, gone, code })
    }

    /// Whether the byte at the address `place` may be another.
    pub fn may_change(&self, place: u64) -> bool {
        self.changed.range(..=place).next_back().is_some_and(|(at, size)| place - at < *size)
    }
}

/// Tags of the dynamic section that say where relocations and names are.
fn moved(packed: bool, renamed: bool, tied: bool) -> Vec<u64> {
    [(packed, &MOVED[..]), (renamed, &NAMES[..]), (tied, &link::MOVED[..])]
        .into_iter()
        .filter_map(|(there, tags)| there.then_some(tags))
        .flatten()
        .copied()
        .collect()
}

/// Entries of the dynamic section that differ where relocations are packed.
const MOVED: [u64; 3] = [tag::RELA, tag::RELASZ, tag::RELACOUNT];

/// Entries that differ where names are gone.
const NAMES: [u64; 10] = {
    let mut all = [tag::STRSZ; 10];
    let mut index = 0;
    while index < NAMED.len() {
        all[index + 1] = NAMED[index];
        index += 1;
    }
    all
};

/// The addresses of the values of entries with these `tags`.
fn moved_entries<'a>(
    library: &'a elf::Library<'_>,
    tags: &'a [u64],
) -> impl Iterator<Item = u64> + 'a {
    let start = library.header(elf::segment::DYNAMIC).map_or(0, |header| header.address);
    let entries = library.dynamic_entries().iter().enumerate();
    entries
        .filter(|(_, entry)| tags.contains(&entry.tag))
        .map(move |(number, _)| start + 16 * number as u64 + 8)
}
