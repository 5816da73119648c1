//! Unwind tables: each function that is there is found, with the same frames, the same
//! personality routine and the same handlers.

use crate::entries::{Bytes, Entry, Function, Tables, filed, within};
use crate::exceptions;
use crate::image::Image;
use crate::restored::Restored;
use crate::{Expected, Fault, differs};
use elf::PageSet;
use gimli::{CallFrameInstruction, CommonInformationEntry, EhFrame, Pointer};
use object::LittleEndian as LE;
use object::elf::PT_GNU_EH_FRAME;

/// Checks that each of `functions`, which are all of `old`, that lies on pages that are `planned`
/// has in `new` what it has there, where tables were made anew. Of those that are where they were,
/// the bytes were compared.
pub(crate) fn check(
    old: &Image<'_>,
    new: &Image<'_>,
    expected: &Expected<'_>,
    restored: &Restored<'_>,
    functions: &[Function],
    [planned, present]: [&PageSet; 2],
) -> Result<(), Fault> {
    let kept = functions.iter().filter(|one| within(planned, one.code.clone()));
    let kept: Vec<&Function> = kept.collect();
    let fault = |at| differs("the unwind tables of a function", at);
    let place = |image: &Image<'_>| {
        let header = image.segment(PT_GNU_EH_FRAME.0)?;
        Some((header.p_vaddr.get(LE), header.p_filesz.get(LE)))
    };
    let before = place(old);
    let (Some(first), Some(tables)) = (kept.first(), filed(old)) else {
        // Of tables that are not understood, none may be made anew.
        let made = place(new).filter(|new| functions.is_empty() && Some(*new) != before);
        return made.map_or(Ok(()), |(at, _)| Err(fault(at)));
    };
    let Some((at, size)) = place(new) else {
        // Where the plan lets the index go, nobody finds a function.
        let kept = before.is_some_and(|(at, size)| within(planned, at..at.saturating_add(size)));
        return if kept || expected.cold.is_some() { Err(fault(first.code.start)) } else { Ok(()) };
    };
    if before == Some((at, size)) {
        let there = expected.cold.is_some() || within(present, at..at.saturating_add(size));
        return if there { Ok(()) } else { Err(fault(at)) };
    }
    // Made anew, in one piece: in the file, or in what comes back.
    let (start, bytes) = match restored.beside.0 {
        start if (start..start + restored.beside.1.len() as u64).contains(&at) => {
            (start, restored.beside.1.as_slice())
        }
        _ => (at, new.rest(at).ok_or_else(|| fault(at))?),
    };
    let rest = |address: u64| bytes.get(usize::try_from(address.checked_sub(start)?).ok()?..);
    let written = Tables::read(at, size, rest).ok_or_else(|| fault(at))?;
    let found = written.functions().ok_or_else(|| fault(at))?;
    let mut found = found.iter().peekable();
    for one in kept {
        let key = |one: &Function| (one.code.start, one.code.end);
        while found.peek().is_some_and(|other| key(other) < key(one)) {
            found.next();
        }
        let other = found.next().filter(|other| other.code == one.code);
        let other = other.ok_or_else(|| fault(one.code.start))?;
        let same = || {
            let (before, after) = (tables.entry(one.entry)?, written.entry(other.entry)?);
            let areas = match (tables.area(&before), written.area(&after)) {
                (None, None) => true,
                (Some(before), Some(after)) => {
                    exceptions::same((old.rest(before)?, before), (rest(after)?, after))?
                }
                _ => false,
            };
            Some(areas && same_frames(&tables, &before, &written, &after)?)
        };
        if same() != Some(true) {
            return Err(fault(one.code.start));
        }
    }
    Ok(())
}

/// Whether two entries describe the same frames.
fn same_frames<'a, 'b>(
    old: &Tables<'a>,
    before: &Entry<'a>,
    new: &Tables<'b>,
    after: &Entry<'b>,
) -> Option<bool> {
    let (first, second) = (before.cie(), after.cie());
    let common = described(first) == described(second);
    let one = first.instructions(&old.entries, &old.bases);
    let other = second.instructions(&new.entries, &new.bases);
    let shared = same_steps(one, &old.entries, other, &new.entries)?;
    let one = before.instructions(&old.entries, &old.bases);
    let other = after.instructions(&new.entries, &new.bases);
    Some(common && shared && same_steps(one, &old.entries, other, &new.entries)?)
}

type Described = (u8, u64, i64, u16, bool, bool, Option<(u8, Pointer)>);

fn described(common: &CommonInformationEntry<Bytes<'_>>) -> Described {
    (
        common.version(),
        common.code_alignment_factor(),
        common.data_alignment_factor(),
        common.return_address_register().0,
        common.is_signal_trampoline(),
        common.has_lsda(),
        common.personality_with_encoding().map(|(encoding, pointer)| (encoding.0, pointer)),
    )
}

/// Whether two lists of instructions are the same, with the expressions that they name.
fn same_steps<'a, 'b>(
    mut one: gimli::CallFrameInstructionIter<'_, Bytes<'a>>,
    old: &EhFrame<Bytes<'a>>,
    mut other: gimli::CallFrameInstructionIter<'_, Bytes<'b>>,
    new: &EhFrame<Bytes<'b>>,
) -> Option<bool> {
    use CallFrameInstruction::{DefCfaExpression, Expression, ValExpression};
    loop {
        let (first, second) = (one.next().ok()?, other.next().ok()?);
        let (Some(first), Some(second)) = (&first, &second) else {
            return Some(first.is_none() && second.is_none());
        };
        let expressions = match (first, second) {
            (DefCfaExpression { expression: one }, DefCfaExpression { expression: other }) => {
                Some((0, one, 0, other))
            }
            (
                Expression { register: a, expression: one },
                Expression { register: b, expression: other },
            )
            | (
                ValExpression { register: a, expression: one },
                ValExpression { register: b, expression: other },
            ) => Some((a.0, one, b.0, other)),
            _ => None,
        };
        let same = match expressions {
            Some((a, one, b, other)) => a == b && one.get(old).ok()?.0 == other.get(new).ok()?.0,
            None => first == second,
        };
        if !same {
            return Some(false);
        }
    }
}
