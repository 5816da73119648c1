//! The original of a library that was written, as those who read the written one need it.

use crate::Error;
use crate::absent::Absent;
use crate::cold::Revive;
use elf::{Library, PageSet};
use functions::Functions;
use std::collections::BTreeSet;

/// An original, and what was to become of its pages. To list its functions takes a second for
/// the largest libraries, so it is done once.
pub struct Original<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) keep: &'a PageSet,
    /// Its pages that are in the written file or come back.
    pub(crate) present: PageSet,
    pub(crate) functions: Result<Functions, elf::Error>,
    library: Library<'a>,
    halted: BTreeSet<u64>,
}

impl<'a> Original<'a> {
    /// Reads the library `data` of which the pages `keep` are in the file, and those come back
    /// that `revive` says.
    ///
    /// # Errors
    /// [`Error::Library`] where it is damaged.
    pub fn read(
        data: &'a [u8],
        keep: &'a PageSet,
        revive: Option<&Revive<'_>>,
    ) -> Result<Self, Error> {
        let library = Library::parse(data)?;
        let functions = Functions::read(&library);
        let mut present = keep.clone();
        let mut halted = BTreeSet::new();
        if let Some(revive) = revive {
            present.union(revive.cold);
            present.union(&library.loader_pages()?);
            if let Ok(functions) = &functions {
                halted = Absent::of(&library, functions, &present).halted;
            }
        }
        Ok(Self { data, keep, present, functions, library, halted })
    }

    /// The library.
    pub fn library(&self) -> &Library<'a> {
        &self.library
    }

    /// The addresses where functions that are lost begin with [`format::TRAP`].
    pub fn halted(&self) -> &BTreeSet<u64> {
        &self.halted
    }
}
