//! A library in memory, once the loader has relocated it.
//!
//! What a symbol means is not known here. Each relocation that asks for one gets a number of its
//! own instead, the same in both libraries, so that words that ask for the same hold the same.

use crate::dynamic::{Dynamic, Rela};
use crate::image::{Image, u64_at};
use crate::machine::{Exit, Machine, Memory};
use crate::{Expected, Fault, differs};
use elf::PAGE;
use object::elf as of;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Where libraries are loaded.
pub(crate) const BASE: u64 = 0x5000_0000_0000;

/// What the numbers of symbols begin with.
const TOKEN: u64 = 0xeeee_0000_0000_0000;

/// The numbers that stand for what relocations ask for: a kind, a symbol and an addend.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<(u32, u32, i64), u64>);

impl Tokens {
    fn of(&mut self, asked: &Rela) -> u64 {
        let next = TOKEN + self.0.len() as u64;
        *self.0.entry((asked.kind, asked.symbol, asked.addend)).or_insert(next)
    }
}

/// A relocated library.
#[derive(Debug)]
pub(crate) struct Loaded<'i, 'a> {
    image: &'i Image<'a>,
    /// Writable segments, as far as they are filed.
    writable: Vec<(u64, Vec<u8>)>,
    /// Relocations of words that ask for symbols, by address.
    symbolic: HashMap<u64, Rela>,
    /// Relocations that do not fill a word of a writable segment.
    others: Vec<Rela>,
}

impl<'i, 'a> Loaded<'i, 'a> {
    /// Loads a library. Functions in its `own` instructions that the loader is to call run; what
    /// others would give is a number as for symbols.
    pub fn of(
        image: &'i Image<'a>,
        dynamic: &Dynamic<'_>,
        tokens: &mut Tokens,
        own: Option<&Range<u64>>,
    ) -> Result<Self, String> {
        let writable = image.loads.iter().filter(|load| load.is_writable());
        let writable = writable.map(|load| (load.start, load.bytes.to_vec())).collect();
        let mut loaded = Self { image, writable, symbolic: HashMap::new(), others: Vec::new() };
        loaded.relative(&dynamic.relative)?;
        let [table, calls] = &dynamic.relocations;
        // glibc resolves indirect functions once the rest of the table is done.
        let (last, first): (Vec<&Rela>, Vec<&Rela>) =
            table.iter().partition(|one| one.kind == of::R_X86_64_IRELATIVE.0);
        for one in first {
            loaded.relocate(one, tokens);
        }
        for one in last {
            match own.filter(|own| own.contains(&(one.addend as u64))) {
                Some(own) => loaded.resolve(one, own)?,
                None => loaded.relocate(one, tokens),
            }
        }
        for one in calls {
            loaded.relocate(one, tokens);
        }
        loaded.others.sort_unstable();
        Ok(loaded)
    }

    /// Adds the load base to the words of a `DT_RELR` table.
    fn relative(&mut self, words: &[u64]) -> Result<(), String> {
        let mut next: u64 = 0;
        let mut add = |at: u64| -> Result<(), String> {
            let word = self.word(BASE.wrapping_add(at)).map(|word| word.wrapping_add(BASE));
            let done = word.and_then(|word| self.set_word(BASE.wrapping_add(at), word));
            done.ok_or_else(|| format!("it has no word at {at:#x}"))
        };
        for word in words {
            if word & 1 == 0 {
                add(*word)?;
                next = word.wrapping_add(8);
                continue;
            }
            for bit in (1..64).filter(|bit| word >> bit & 1 != 0) {
                add(next.wrapping_add(8 * (bit - 1)))?;
            }
            next = next.wrapping_add(63 * 8);
        }
        Ok(())
    }

    fn relocate(&mut self, one: &Rela, tokens: &mut Tokens) {
        const WORDS: [u32; 7] = [
            of::R_X86_64_64.0,
            of::R_X86_64_GLOB_DAT.0,
            of::R_X86_64_JUMP_SLOT.0,
            of::R_X86_64_DTPMOD64.0,
            of::R_X86_64_DTPOFF64.0,
            of::R_X86_64_TPOFF64.0,
            of::R_X86_64_IRELATIVE.0,
        ];
        let relative = one.kind == of::R_X86_64_RELATIVE.0 && one.symbol == 0;
        let value = if relative {
            BASE.wrapping_add_signed(one.addend)
        } else if WORDS.contains(&one.kind) {
            // Where calls are bound lazily, the word goes on to lead where it led.
            let lazy = one.kind == of::R_X86_64_JUMP_SLOT.0;
            let led = lazy.then(|| self.word(BASE.wrapping_add(one.address))).flatten();
            tokens.of(one).wrapping_add(led.unwrap_or(0))
        } else {
            self.others.push(*one);
            return;
        };
        if self.set_word(BASE.wrapping_add(one.address), value).is_none() {
            self.others.push(*one);
        } else if relative {
            self.symbolic.remove(&one.address);
        } else {
            self.symbolic.insert(one.address, *one);
        }
    }

    /// Runs the function that a relocation names and fills its word.
    fn resolve(&mut self, one: &Rela, own: &Range<u64>) -> Result<(), String> {
        let start = one.addend as u64;
        let mut machine = Machine::new(self, BASE + own.start..BASE + own.end);
        let exit = machine.run(BASE + start, &mut |_, _| {});
        let value = machine.result();
        let strange = || format!("the function at {start:#x}, which relocates it, does not work");
        match exit {
            Some(Exit::Return) => {
                self.set_word(BASE.wrapping_add(one.address), value).ok_or_else(strange)
            }
            _ => Err(strange()),
        }
    }

    /// The word at an unrelocated address.
    pub fn word_at(&self, address: u64) -> Option<u64> {
        self.word(BASE.wrapping_add(address))
    }

    /// The first of the addresses `range` whose byte is not that of the file, and that no
    /// relocation of a symbol fills.
    fn changed(&self, range: &Range<u64>) -> Option<u64> {
        for (start, bytes) in &self.writable {
            let place = range.start.max(*start)..range.end.min(start + bytes.len() as u64);
            if place.start >= place.end {
                continue;
            }
            let found = &bytes[(place.start - start) as usize..(place.end - start) as usize];
            let filed = self.image.bytes(place.start, place.end - place.start)?;
            let differ =
                found.iter().zip(filed).zip(place).filter(|((one, other), _)| one != other);
            let mut filled = differ.map(|(_, at)| at);
            if let Some(at) = filled
                .find(|at| (at.saturating_sub(7)..=*at).all(|word| self.asked(word).is_none()))
            {
                return Some(at);
            }
        }
        None
    }

    /// The relocation that fills the word at an address, if that asks for a symbol.
    pub fn asked(&self, address: u64) -> Option<&Rela> {
        self.symbolic.get(&address)
    }
}

impl Memory for Loaded<'_, '_> {
    fn word(&self, address: u64) -> Option<u64> {
        let address = address.wrapping_sub(BASE);
        for (start, bytes) in &self.writable {
            let at = address.wrapping_sub(*start);
            if at < bytes.len() as u64 {
                return u64_at(bytes, at as usize);
            }
        }
        u64_at(self.image.rest(address)?, 0)
    }

    fn set_word(&mut self, address: u64, value: u64) -> Option<()> {
        let address = address.wrapping_sub(BASE);
        for (start, bytes) in &mut self.writable {
            let at = address.wrapping_sub(*start);
            if at < bytes.len() as u64 {
                let place: &mut [u8; 8] = bytes.get_mut(at as usize..)?.first_chunk_mut()?;
                *place = value.to_le_bytes();
                return Some(());
            }
        }
        None
    }

    fn code(&self, address: u64) -> Option<&[u8]> {
        self.image.rest(address.wrapping_sub(BASE))
    }
}

/// Compares the writable memory of two libraries once they are relocated. A word that asked for a
/// symbol that only this library speaks of may hold the address of what it defines.
///
/// # Errors
/// The first word that differs; a page that is missing, held more than tables and either does not
/// come back or is one that relocations write to.
pub(crate) fn check(
    old: &Loaded<'_, '_>,
    new: &Loaded<'_, '_>,
    dynamic: &Dynamic<'_>,
    expected: &Expected<'_>,
) -> Result<(), Fault> {
    let private = expected.private;
    let comes_back = |page: u64| expected.cold.is_some_and(|cold| cold.pages.contains(page));
    if old.others != new.others {
        let at = old.others.iter().find(|one| !new.others.contains(one));
        return Err(differs("the relocations", at.map_or(0, |one| one.address)));
    }
    let bound = |address: u64| {
        let asked = old.asked(address)?;
        let symbol = dynamic.symbols.get(asked.symbol as usize)?;
        let name = std::str::from_utf8(symbol.name).ok()?;
        let own = symbol.is_bound() && private(name);
        let value = BASE.wrapping_add(symbol.value);
        match asked.kind {
            kind if kind == of::R_X86_64_64.0 => Some(value.wrapping_add_signed(asked.addend)),
            kind if kind == of::R_X86_64_GLOB_DAT.0 => Some(value),
            _ => None,
        }
        .filter(|_| own)
    };
    for table in dynamic.tables.iter() {
        if let Some(at) = new.changed(table) {
            return Err(differs("a table, into which relocations write", at));
        }
    }
    // A word may lie on two pages.
    let words = old.symbolic.keys();
    let filled: HashSet<u64> = words.flat_map(|at| [at / PAGE, (at + 7) / PAGE]).collect();
    for (start, before) in &old.writable {
        let mut at = *start;
        let end = start + before.len() as u64;
        while at < end {
            let next = ((at / PAGE + 1) * PAGE).min(end);
            let own = &before[(at - start) as usize..(next - start) as usize];
            let found = new
                .writable
                .iter()
                .find(|(start, bytes)| *start <= at && next - start <= bytes.len() as u64);
            let Some((first, bytes)) = found else {
                let plain = !filled.contains(&(at / PAGE)) && old.changed(&(at..next)).is_none();
                if !(dynamic.tables.hold(&(at..next)) || (comes_back(at / PAGE) && plain)) {
                    return Err(differs("writable memory, which is missing", at));
                }
                at = next;
                continue;
            };
            let other = &bytes[(at - first) as usize..(next - first) as usize];
            if own != other {
                let wrong = (at..next).filter(|place| {
                    let index = (place - at) as usize;
                    own[index] != other[index] && !dynamic.tables.contain(*place)
                });
                for place in wrong {
                    let word = place & !7;
                    if bound(word).is_none_or(|value| new.word_at(word) != Some(value)) {
                        return Err(differs("a word of relocated memory", place));
                    }
                }
            }
            at = next;
        }
    }
    Ok(())
}
