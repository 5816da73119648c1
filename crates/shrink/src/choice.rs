//! What of a library stays, and which of its tables are made anew.

use crate::absent::Absent;
use crate::cold::{self, Revive};
use crate::link::Link;
use crate::names::{self, Names};
use crate::runs::{join, of_segment};
use crate::{Error, Limits};
use elf::{Library, PAGE, PageSet, Relative, segment};
use functions::{Functions, Tables};
use std::ops::Range;

/// Bytes of a 64-bit ELF header.
pub(crate) const HEADER: u64 = 64;

/// The pages and tables of a library that is written smaller.
pub(crate) struct Choice<'l> {
    pub library: &'l Library<'l>,
    /// Names that leave.
    pub names: Option<Names>,
    /// What ties it to the runtime.
    pub link: Option<Link>,
    /// Relocations that the library applies itself.
    pub relative: Option<Relative>,
    /// Functions that are lost; none where nothing tells.
    pub absent: Absent,
    /// Unwind tables that take the place of the original's.
    pub unwind: Option<Tables>,
    /// Pages of read-only segments that are in the file.
    kept: PageSet,
    /// Pages of tables that nothing reads any more, of any segment.
    freed: PageSet,
    /// Pages of writable segments that come back.
    pub unwritten: PageSet,
}

impl<'l> Choice<'l> {
    /// Keeps those pages of read-only segments that are in `keep` or that the loader reads.
    pub fn of(
        library: &'l Library<'l>,
        keep: &PageSet,
        private: &dyn Fn(&str) -> bool,
        revive: Option<&Revive<'_>>,
    ) -> Result<Self, Error> {
        let mut kept = library.loader_pages()?;
        kept.union(keep);
        let mut present = kept.clone();
        if let Some(revive) = revive {
            present.union(revive.cold);
        }
        let names = Names::of(library, &present, private);
        let link = revive.map(|revive| Link::of(library, revive.runtime, names.as_ref()));
        let link = link.transpose()?;
        let relative = Relative::of(library, &names::own(library, private));
        if let Some(relative) = &relative {
            kept.remove(&relative.pages());
        }
        let mut freed = names.as_ref().map(|names| names.freed.clone()).unwrap_or_default();
        if let Some(link) = &link {
            freed.union(&link.freed);
        }
        kept.remove(&freed);
        if link.is_some() {
            // A page of two segments has two sets of rights.
            kept.union(&cold::shared(library));
        }
        // Tables that are not understood are none.
        let functions = Functions::read(library).unwrap_or_default();
        let absent = revive.map(|_| Absent::of(library, &functions, &present)).unwrap_or_default();
        let unwind = unwind(library, &functions, &present);
        let unwritten = match revive {
            Some(revive) => cold::unwritten(library, revive.cold)?,
            None => PageSet::new(),
        };
        Ok(Self { library, names, link, relative, absent, unwind, kept, freed, unwritten })
    }

    /// Whether the library gets instructions of taper's own.
    pub fn has_code(&self) -> bool {
        self.relative.is_some() || self.link.is_some()
    }

    /// Pages of tables that are made anew where others come back.
    pub fn gone(&self) -> PageSet {
        let mut gone = self.relative.as_ref().map(Relative::pages).unwrap_or_default();
        if let Some(link) = &self.link {
            gone.union(&link.freed);
        }
        gone
    }

    /// The address ranges of each loadable segment that are in the file. Writable segments
    /// stay whole but for what is freed and what comes back.
    ///
    /// # Errors
    /// [`elf::Error::Unsupported`] for segments that linkers do not make.
    pub fn ranges(&self, limits: Limits) -> Result<Vec<Vec<Range<u64>>>, Error> {
        let unsupported = |what| Err(elf::Error::Unsupported(what).into());
        let mut ranges: Vec<Vec<Range<u64>>> = Vec::new();
        for load in self.library.loads() {
            if ranges.is_empty() && (load.offset.0 != 0 || load.file_size < HEADER) {
                return unsupported("a library whose header is not mapped");
            }
            ranges.push(if load.is_writable() {
                let mut pages = PageSet::new();
                pages.insert_addresses(load.file_addresses());
                pages.remove(&self.freed);
                pages.remove(&self.unwritten);
                of_segment(load, &pages)
            } else if load.memory_size > load.file_size {
                return unsupported("a library with zero-filled read-only memory");
            } else {
                of_segment(load, &self.kept)
            });
        }
        // One mapping is for the program headers themselves, one for the code that relocates.
        let own = 2 + usize::from(self.has_code());
        let least = ranges.len();
        join(&mut ranges, limits.mappings.saturating_sub(own).max(least));
        Ok(ranges)
    }
}

/// The first address past all segments of `library` at which a page begins.
pub(crate) fn end(library: &Library<'_>) -> u64 {
    library.loads().last().map_or(0, |load| load.addresses().end).next_multiple_of(PAGE)
}

/// New unwind tables, where those of kept functions do not lie on kept pages. Tables
/// that are not understood stay as far as their pages do.
fn unwind(library: &Library<'_>, functions: &Functions, kept: &PageSet) -> Option<Tables> {
    library.header(segment::GNU_EH_FRAME)?;
    if functions.have_tables(kept) {
        return None;
    }
    functions::tables(library, functions, kept, end(library)).ok()?
}
