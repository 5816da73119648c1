//! What ties a library to the runtime: its initialiser and its finaliser.

use crate::dynamic::{Dynamic, tag};
use crate::loaded::{BASE, Loaded};
use crate::machine::{Exit, Machine, Memory, register};
use crate::{Fault, differs};
use format::link::FUNCTION;
use std::ops::Range;

/// A call: the function, and the registers for the four first arguments.
type Call = (u64, [u64; 4]);

/// Runs the initialiser and the finaliser of `new`, whose `own` instructions the original does
/// not have, and checks that they tell the runtime of the library, before and after all that
/// the original's do. Gives the addresses of the note that they name.
pub(crate) fn check(
    before: &Dynamic<'_>,
    after: &Dynamic<'_>,
    new: &Loaded<'_, '_>,
    own: Option<Range<u64>>,
) -> Result<Range<u64>, Fault> {
    let value = |of: &Dynamic<'_>, tag| of.value(tag).unwrap_or(0);
    let place = value(after, tag::INIT);
    let fault = || differs("the initialiser", place);
    let own = own.ok_or_else(fault)?;
    // The word that holds the runtime's function: whatever calls it reads it there.
    let names = |address: u64| {
        let asked = new.asked(address)?;
        let symbol = after.symbols.get(asked.symbol as usize)?;
        let named = symbol.name == FUNCTION.as_bytes() && asked.addend == 0;
        let whole = asked.kind == object::elf::R_X86_64_GLOB_DAT.0;
        (named && whole).then(|| new.word_at(address))?
    };
    let mut last = after.relocations.iter().flatten().rev();
    let function = last.find_map(|one| names(one.address)).ok_or_else(fault)?;

    let (exit, calls, intact) = run(new, &own, place).ok_or_else(fault)?;
    let [(called, [note, length, base, loaded])] = *calls else { return Err(fault()) };
    let goes_on = exit == Exit::Jump(BASE + value(before, tag::INIT)) && intact;
    if !goes_on || called != function || base != BASE || loaded != 1 {
        return Err(fault());
    }

    let place = value(after, tag::FINI);
    let fault = || differs("the finaliser", place);
    let (exit, calls, _) = run(new, &own, place).ok_or_else(fault)?;
    let [(first, _), (last, arguments)] = *calls else { return Err(fault()) };
    let unloaded = (last, arguments) == (function, [note, length, BASE, 0]);
    if exit != Exit::Jump(last) || first != BASE + value(before, tag::FINI) || !unloaded {
        return Err(fault());
    }
    let start = note.wrapping_sub(BASE);
    Ok(start..start.saturating_add(length))
}

/// Memory that is only read: such code has nothing to write but its stack.
struct Unchanging<'l, 'i, 'a>(&'l Loaded<'i, 'a>);

impl Memory for Unchanging<'_, '_, '_> {
    fn word(&self, address: u64) -> Option<u64> {
        self.0.word(address)
    }
    fn set_word(&mut self, _: u64, _: u64) -> Option<()> {
        None
    }
    fn code(&self, address: u64) -> Option<&[u8]> {
        self.0.code(address)
    }
}

/// Runs a function from `start` on: how it ends, what it calls, that which it ends with
/// included if that is a jump to the runtime, and whether what it was given is there at the end.
fn run(new: &Loaded<'_, '_>, own: &Range<u64>, start: u64) -> Option<(Exit, Vec<Call>, bool)> {
    let mut memory = Unchanging(new);
    let mut calls: Vec<Call> = Vec::new();
    let of = |registers: &[u64; 16]| {
        [register::RDI, register::RSI, register::RDX, register::RCX].map(|one| registers[one])
    };
    let mut machine = Machine::new(&mut memory, BASE + own.start..BASE + own.end);
    let exit = machine.run(BASE.wrapping_add(start), &mut |target, registers| {
        calls.push((target, of(registers)));
    })?;
    let intact = machine.hands_on();
    if let Exit::Jump(target) = exit
        && !intact
    {
        calls.push((target, of(machine.registers())));
    }
    Some((exit, calls, intact))
}
