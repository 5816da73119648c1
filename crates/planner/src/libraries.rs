//! Which pages of a library stay, and why.

use elf::{Library, PAGE, PageSet, Relative};
use functions::Functions;
use plan::{Cold, LibraryPages};
use std::collections::BTreeSet;

/// A loaded library of up to so many bytes is complete: which of its paths run may depend
/// on chance, such as numbers that nobody seeds. In larger ones, whatever else is called
/// raises an error that names it.
const COMPLETE: u64 = 2 << 20;

/// So is one of up to so many bytes whose code ran in worker threads: a work-stealing pool
/// takes its contended paths in one run of ten. Larger ones (PyTorch itself, BLAS) hand
/// out work in fixed shares.
const COMPLETE_IF_THREADED: u64 = 16 << 20;

/// Divides the pages of `library`, of which a workload touched `touched`, on several
/// threads if `threaded`, and whose functions at `callable` may yet be called. Pages of `gpu`,
/// with GPU code for the target, come back: of any segment, whatever a run touched there, since it
/// may have moved.
///
/// # Errors
/// What [`elf::Error`] says of a library that is not understood; the caller keeps
/// it whole.
pub fn library_pages(
    library: &Library<'_>,
    touched: &PageSet,
    threaded: bool,
    cold: Cold,
    callable: &[u64],
    gpu: Option<&PageSet>,
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
    // The driver reads GPU code in user space (docs/cuda.md), where it comes back.
    match gpu {
        Some(gpu) => {
            addressed.remove(gpu);
            seen.remove(gpu);
        }
        None => addressed.remove(&crate::gpu_code(library)),
    }
    let mut stays = all.clone();
    let complete = if threaded { COMPLETE_IF_THREADED } else { COMPLETE };
    if cold == Cold::Drop && all.len() * PAGE > complete {
        let entered = [&library.loader_calls()?[..], callable].concat();
        let found = functions.whole(library, &seen, &entered);
        stays = inside(&found.pages);
        stays.union(&loader);
        if can_move_tables(library, &functions, &stays) {
            // New tables take the place of those that the trace saw read.
            let old = tables_only(&functions);
            seen.remove(&old);
            stays.remove(&old);
        } else {
            stays.union(&inside(&found.tables));
        }
        addressed = addressed.iter().filter(|page| stays.contains(*page)).collect();
    }
    let resolvers = library.resolvers()?;
    if !resolvers.is_empty() {
        addressed.union(&inside(&functions::reached(library, &functions, &resolvers)));
    }
    addressed.remove(&relative);
    let touched = without(&seen, &[&loader]);
    let addressed = without(&addressed, &[&loader, &touched]);
    if let Some(gpu) = gpu {
        stays.union(gpu);
    }
    let cold = without(&stays, &[&loader, &touched, &addressed, &relative]);
    let rest = without(&all, &[&loader, &touched, &addressed, &cold]);
    Ok(LibraryPages { loader, touched, addressed, cold, absent: rest.len() })
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
