//! What the tracer knows of a shared library.

use crate::Patch;
use elf::{PAGE, PageSet, tag};
use memmap2::Mmap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A library below a root.
#[derive(Debug)]
pub struct Library {
    pub path: PathBuf,
    pub pages: PageSet,
    /// Whether a thread besides its process's first touched a page before that one did.
    pub threaded: bool,
    pub patches: Vec<Patch>,
    /// Page address of the first loadable segment; `None` for other files.
    pub first: Option<u64>,
    /// The addresses of pages that hold nothing but relocations. The loader reads each of
    /// them in one go, a quarter of all first touches while torch is imported: they are
    /// opened together.
    tables: Vec<Range<u64>>,
    /// Of each loadable segment, its bytes in the file and their addresses.
    segments: Vec<(Range<u64>, Range<u64>)>,
}

impl Library {
    /// The library known by `path` whose bytes are in the file `own`.
    pub fn new(path: &Path, own: &Path, patches: Vec<Patch>) -> Self {
        let mut library = Self {
            path: path.into(),
            pages: PageSet::new(),
            threaded: false,
            patches,
            first: None,
            tables: Vec::new(),
            segments: Vec::new(),
        };
        let Ok(file) = File::open(own) else { return library };
        // SAFETY: read-only and private; nobody rewrites a library in place while a
        // program runs from it, which would end that program too.
        let Ok(bytes) = (unsafe { Mmap::map(&file) }) else { return library };
        let Ok(parsed) = elf::Library::parse(&bytes) else { return library };
        library.first = parsed.loads().next().map(|load| load.address & !(PAGE - 1));
        let in_file =
            |load: &elf::ProgramHeader| load.offset.0..load.offset.0.saturating_add(load.file_size);
        library.segments =
            parsed.loads().map(|load| (in_file(load), load.file_addresses())).collect();
        for (at, size) in [(tag::RELA, tag::RELASZ), (tag::JMPREL, tag::PLTRELSZ)] {
            if let (Some(at), Some(size)) = (parsed.dynamic(at), parsed.dynamic(size)) {
                let start = at.next_multiple_of(PAGE);
                library.tables.push(start..at.saturating_add(size) & !(PAGE - 1));
            }
        }
        library
    }

    /// Counts as touched all pages of the segments that have bytes among `mapped` of the file:
    /// they lie where touches are not seen.
    pub fn unseen(&mut self, mapped: &Range<u64>) {
        for (file, addresses) in &self.segments {
            if file.start < mapped.end && mapped.start < file.end {
                self.pages.insert_addresses(addresses.clone());
            }
        }
    }

    /// The pages of relocations around the page `number`, if it is one of them.
    pub fn table(&self, number: u64) -> Option<&Range<u64>> {
        self.tables.iter().find(|table| table.contains(&(number * PAGE)))
    }
}
