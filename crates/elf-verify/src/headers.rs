//! Program headers.

use crate::image::{Image, Load};
use crate::{Expected, Fault, differs};
use elf::PAGE;
use object::LittleEndian as LE;
use object::elf::{PF_R, PF_X, PT_GNU_EH_FRAME, PT_GNU_STACK, PT_LOAD, PT_PHDR};

/// Checks that `new` has the segments of `old` with the same rights and extents, as far as they
/// are there, that what is new lies past it without the right to be written, and that every
/// other header is as it was, but for the unwind tables'.
pub(crate) fn check(
    old: &Image<'_>,
    new: &Image<'_>,
    expected: &Expected<'_>,
) -> Result<(), Fault> {
    for load in &new.loads {
        let start = load.start;
        if start >= old.end() {
            if ![PF_R.0, PF_R.0 | PF_X.0].contains(&load.flags)
                || load.memory != load.filed().end - start
            {
                return Err(differs("the rights or extent of what is new", start));
            }
            continue;
        }
        let Some(before) = origin(old, load) else {
            return Err(differs("a segment that the original does not have", start));
        };
        if before.flags != load.flags {
            return Err(differs("the rights of a segment", start));
        }
    }
    for before in old.loads.iter().filter(|load| load.is_writable()) {
        // Its memory ends where it ended; of what is in the file, the end may come back.
        let zeros = before.end() > before.filed().end;
        let last = before.end().saturating_sub(1) / PAGE;
        let back = !zeros && expected.cold.is_some_and(|cold| cold.pages.contains(last));
        if !back && !new.loads.iter().any(|load| load.end() == before.end()) {
            return Err(differs("the end of a writable segment", before.start));
        }
    }
    table(new)?;
    others(old, new)
}

/// The segment of `old` that a segment is a part of.
fn origin<'o, 'a>(old: &'o Image<'a>, load: &Load<'_>) -> Option<&'o Load<'a>> {
    let holds = |before: &&Load<'_>| {
        before.start <= load.start
            && load.filed().end <= before.filed().end.max(before.start)
            && load.end() <= before.end()
    };
    old.loads.iter().find(holds)
}

/// The program headers lie in a segment that is not written to, where their own header says.
fn table(new: &Image<'_>) -> Result<(), Fault> {
    let at = new.header.e_phoff.get(LE);
    let fault = differs("the program headers, which no segment holds", at);
    let end = at.saturating_add(56 * new.segments.len() as u64);
    let holds = |load: &&Load<'_>| {
        let offsets = load.offset..load.offset + load.bytes.len() as u64;
        !load.is_writable() && offsets.contains(&at) && end <= offsets.end
    };
    let Some(load) = new.loads.iter().find(holds) else { return Err(fault) };
    let own = new.segment(PT_PHDR.0);
    let right = own.is_none_or(|own| {
        let place = load.start + (at - load.offset);
        (own.p_vaddr.get(LE), own.p_offset.get(LE)) == (place, at)
            && own.p_filesz.get(LE) == end - at
    });
    if right { Ok(()) } else { Err(fault) }
}

fn others(old: &Image<'_>, new: &Image<'_>) -> Result<(), Fault> {
    let all = |image: &Image<'_>| -> Vec<[u64; 5]> {
        let others = image.segments.iter().filter(|segment| {
            ![PT_LOAD.0, PT_PHDR.0, PT_GNU_EH_FRAME.0].contains(&segment.p_type.get(LE).0)
        });
        others
            .map(|one| {
                let (kind, flags) = (one.p_type.get(LE).0, one.p_flags.get(LE).0);
                let sizes = [one.p_filesz.get(LE), one.p_memsz.get(LE)];
                [kind.into(), flags.into(), one.p_vaddr.get(LE), sizes[0], sizes[1]]
            })
            .collect()
    };
    let (before, after) = (all(old), all(new));
    if before == after {
        let there = |[kind, _, at, size, _]: &&[u64; 5]| {
            *kind == PT_GNU_STACK.0.into() || new.bytes(*at, *size).is_some()
        };
        return match after.iter().find(|header| !there(header)) {
            Some(header) => Err(differs("what a program header names", header[2])),
            None => Ok(()),
        };
    }
    let gone = before.iter().find(|header| !after.contains(header));
    Err(differs("a program header", gone.map_or(0, |header| header[2])))
}
