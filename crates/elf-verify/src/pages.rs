//! Pages: each is in one place, and holds what it held. What is in the file of writable segments
//! is compared once it is relocated.

use crate::dynamic::Dynamic;
use crate::image::Image;
use crate::lost::Lost;
use crate::restored::Restored;
use crate::{Expected, Fault, differs};
use elf::PAGE;

/// Bytes of a file's header, which says where the new tables are.
const HEADER: u64 = 64;

/// Compares what is filed of `new` with the same addresses of `old`, and checks that each page is
/// filed or comes back as it was `expected`. Bytes of tables may differ: what these mean is
/// compared elsewhere. Gives how many pages are filed.
pub(crate) fn check(
    old: &Image<'_>,
    new: &Image<'_>,
    dynamic: &Dynamic<'_>,
    expected: &Expected<'_>,
    restored: &Restored<'_>,
    lost: &Lost,
) -> Result<u64, Fault> {
    for load in new.loads.iter().filter(|load| !load.is_writable() && load.start < old.end()) {
        let size = load.bytes.len() as u64;
        let original = old.bytes(load.start, size);
        let original = original.ok_or_else(|| differs("a segment", load.start))?;
        let of_header = |at: u64| load.offset == 0 && at - load.start < HEADER;
        let ignored = |at: u64| of_header(at) || dynamic.tables.contain(at);
        if let Some(at) = lost.wrong(load.start, original, load.bytes, ignored) {
            return Err(differs("a byte", at));
        }
    }
    let mut filed = 0;
    for load in &old.loads {
        let place = load.filed();
        for page in place.start / PAGE..place.end.div_ceil(PAGE) {
            let part = (page * PAGE).max(place.start)..((page + 1) * PAGE).min(place.end);
            let size = part.end - part.start;
            let found = new.bytes(part.start, size).is_some();
            filed += u64::from(found && !load.is_writable());
            // Nobody misses a page that holds nothing but tables that are elsewhere.
            let tables = !found && dynamic.tables.hold(&part);
            // Of writable memory, all that does not come back was compared already.
            if expected.keep.contains(page) && !found && !tables && !load.is_writable() {
                return Err(differs("a kept page, which is missing", part.start));
            }
            let comes_back = expected.cold.is_some_and(|cold| cold.pages.contains(page));
            if restored.pages.contains(page) != (comes_back && !found && !tables) {
                return Err(differs("a page, which is not in one place", part.start));
            }
        }
    }
    Ok(filed)
}
