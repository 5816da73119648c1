//! Which pages of a library stay, and why.

use elf::{Library, PAGE, PageSet, Relative};
use functions::Functions;
use serde::Serialize;
use std::collections::BTreeSet;

/// A library whose code ran in worker threads stays whole up to this many bytes. Which
/// of its paths run depends on how threads meet: a work-stealing pool takes its
/// contended paths in one run of ten. Larger ones (PyTorch itself, BLAS) hand out
/// work in fixed shares.
const WHOLE_IF_THREADED: u64 = 16 << 20;

/// The pages of one library's read-only segments, divided by reason. The sets do
/// not overlap; what is in none of them leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LibraryPages {
    /// What the loader and the kernel read.
    pub loader: PageSet,
    /// What a workload touched.
    pub touched: PageSet,
    /// The rest of functions that were touched, with landing pads, the data that they
    /// name, and, where they are not written anew, their unwind tables.
    pub functions: PageSet,
    /// The rest of a library whose threads choose their paths by chance.
    pub threaded: PageSet,
    /// Where the others come back when they are touched: data whose address the program can
    /// give to the kernel, which does not wait for it, and what runs before the runtime is
    /// there.
    pub addressed: PageSet,
    /// Pages of read-only segments that leave.
    pub absent: u64,
}

impl LibraryPages {
    /// Every page that stays.
    pub fn keep(&self) -> PageSet {
        let mut keep = self.loader.clone();
        keep.union(&self.touched);
        keep.union(&self.functions);
        keep.union(&self.threaded);
        keep.union(&self.addressed);
        keep
    }

    /// Bytes that leave, whole pages.
    pub fn absent_bytes(&self) -> u64 {
        self.absent * PAGE
    }
}

/// Divides the pages of `library` of which a workload touched `touched`, on several
/// threads if `threaded`.
///
/// # Errors
/// What [`elf::Error`] says of a library that is not understood; the caller keeps
/// it whole.
pub fn library_pages(
    library: &Library<'_>,
    touched: &PageSet,
    threaded: bool,
) -> Result<LibraryPages, elf::Error> {
    let all = library.read_only_pages();
    let inside = |pages: &PageSet| pages.iter().filter(|page| all.contains(*page)).collect();
    let mut loader: PageSet = inside(&library.loader_pages()?);
    let relative = Relative::of(library, &BTreeSet::new())
        .map(|relative| relative.pages())
        .unwrap_or_default();
    loader.remove(&relative);
    let mut seen: PageSet = inside(touched);
    seen.remove(&relative);
    let functions = Functions::read(library)?;
    let found = functions.whole(library, &seen, &library.loader_calls()?);
    let mut whole: PageSet = inside(&found.pages);
    let mut kept = whole.clone();
    kept.union(&loader);
    if can_move_tables(library, &functions, &kept) {
        // New tables take the place of those that the trace saw read.
        let old = tables_only(&functions);
        seen.remove(&old);
        whole.remove(&old);
    } else {
        whole.union(&inside(&found.tables));
    }
    let touched = without(&seen, &[&loader]);
    let functions = without(&whole, &[&loader, &touched]);
    let rest = without(&all, &[&loader, &touched, &functions, &relative]);
    if threaded && all.len() * PAGE <= WHOLE_IF_THREADED {
        return Ok(LibraryPages {
            loader,
            touched,
            functions,
            threaded: rest,
            absent: relative.len(),
            ..LibraryPages::default()
        });
    }
    let absent = rest.len() + relative.len();
    Ok(LibraryPages { loader, touched, functions, absent, ..LibraryPages::default() })
}

/// Divides the pages of `library`, of which a workload touched `touched` and of which those
/// that leave come back.
///
/// # Errors
/// As [`library_pages`].
pub fn reviving_pages(
    library: &Library<'_>,
    touched: &PageSet,
) -> Result<LibraryPages, elf::Error> {
    let all = library.read_only_pages();
    let inside = |pages: &PageSet| pages.iter().filter(|page| all.contains(*page)).collect();
    let mut loader: PageSet = inside(&library.loader_pages()?);
    let relative = Relative::of(library, &BTreeSet::new())
        .map(|relative| relative.pages())
        .unwrap_or_default();
    loader.remove(&relative);
    let mut seen: PageSet = inside(touched);
    seen.remove(&relative);
    let functions = Functions::read(library)?;
    let mut addressed: PageSet = inside(&functions::addressed(library, &functions)?);
    let resolvers = library.resolvers()?;
    if !resolvers.is_empty() {
        addressed.union(&inside(&functions::reached(library, &functions, &resolvers)));
    }
    addressed.remove(&relative);
    let touched = without(&seen, &[&loader]);
    let addressed = without(&addressed, &[&loader, &touched]);
    let absent = without(&all, &[&loader, &touched, &addressed]).len();
    Ok(LibraryPages { loader, touched, addressed, absent, ..LibraryPages::default() })
}

/// The pages of `pages` that are in none of `others`.
fn without(pages: &PageSet, others: &[&PageSet]) -> PageSet {
    pages.iter().filter(|page| !others.iter().any(|other| other.contains(*page))).collect()
}

/// Whether the writer will make new unwind tables for the functions on `pages`.
fn can_move_tables(library: &Library<'_>, functions: &Functions, pages: &PageSet) -> bool {
    let place = library.loads().map(|load| load.addresses().end).max().unwrap_or(0);
    let place = place.next_multiple_of(PAGE);
    matches!(functions::tables(library, functions, pages, place), Ok(Some(_)))
}

/// The pages that hold nothing but unwind tables.
fn tables_only(functions: &Functions) -> PageSet {
    let mut pages = PageSet::new();
    for table in functions.tables() {
        for page in table.start.div_ceil(PAGE)..table.end / PAGE {
            pages.insert(page);
        }
    }
    pages
}
