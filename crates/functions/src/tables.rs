//! Unwind tables for some of a library's functions, at a new address.
//!
//! Linkers write the tables in the order of object files, so the entries of the few
//! functions that stay are scattered over nearly all pages of the originals. Here they
//! lie side by side: the search table, the frame entries, the language-specific data
//! areas. All distances between them and to code are made anew.

use crate::area;
use crate::frames::{self, Common, START};
use crate::{Function, Functions};
use elf::{Error, Library, PAGE, PageSet};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// New tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// How many of them, from the start, are the search table that
    /// `PT_GNU_EH_FRAME` names.
    pub index: u64,
}

const STRANGE: Error = Error::Unsupported("unwind tables in an unknown encoding");

/// The functions whose code lies on pages of `keep`.
fn kept<'a>(functions: &'a Functions, keep: &PageSet) -> Vec<&'a Function> {
    let whole = |code: &Range<u64>| {
        (code.start / PAGE..code.end.div_ceil(PAGE)).all(|page| keep.contains(page))
    };
    functions.all().iter().filter(|function| whole(&function.code)).collect()
}

/// Tables at `address`, which is a multiple of eight, for the functions of `library`
/// whose code lies on pages of `keep`. `None` where there are none.
///
/// # Errors
/// [`Error::Unsupported`] for encodings that compilers of position-independent code do
/// not write: then the original tables stay.
pub fn tables(
    library: &Library<'_>,
    functions: &Functions,
    keep: &PageSet,
    address: u64,
) -> Result<Option<Tables>, Error> {
    let kept = kept(functions, keep);
    if kept.is_empty() {
        return Ok(None);
    }
    let index = 12 + 8 * kept.len() as u64;
    let mut new = Builder {
        library,
        address: address + index.next_multiple_of(8),
        bytes: Vec::new(),
        commons: HashMap::new(),
        areas: BTreeMap::new(),
    };
    let mut places = Vec::with_capacity(kept.len());
    for function in &kept {
        places.push(new.entry(functions, function)?);
    }
    // The end of the entries.
    new.bytes.extend([0; 4]);
    new.areas()?;

    let mut bytes = Vec::with_capacity(new.bytes.len() + index as usize + 4);
    // Version; how the three kinds of numbers are written: relative to themselves,
    // absolute, relative to the search table; four bytes each.
    bytes.extend([1, 0x1b, 0x03, 0x3b]);
    bytes.extend(distance(new.address, address + 4)?);
    bytes.extend((kept.len() as u32).to_le_bytes());
    for (function, place) in kept.iter().zip(places) {
        bytes.extend(distance(function.code.start, address)?);
        bytes.extend(distance(new.address + place as u64, address)?);
    }
    bytes.resize((new.address - address) as usize, 0);
    bytes.extend(new.bytes);
    Ok(Some(Tables { bytes, index }))
}

/// `to - from` in four bytes.
fn distance(to: u64, from: u64) -> Result<[u8; 4], Error> {
    let distance = to.wrapping_sub(from) as i64;
    i32::try_from(distance).map(i32::to_le_bytes).map_err(|_| STRANGE)
}

struct Builder<'l, 'd> {
    library: &'l Library<'d>,
    address: u64,
    bytes: Vec<u8>,
    /// Places of common entries that were copied, by their address in the original.
    commons: HashMap<u64, (usize, Common)>,
    /// Areas to be copied, with the places of the words that lead to them.
    areas: BTreeMap<u64, (u64, Vec<usize>)>,
}

impl Builder<'_, '_> {
    fn here(&self) -> u64 {
        self.address + self.bytes.len() as u64
    }

    fn put(&mut self, place: usize, to: u64) -> Result<(), Error> {
        let word = distance(to, self.address + place as u64)?;
        self.bytes[place..place + 4].copy_from_slice(&word);
        Ok(())
    }

    /// Copies a function's entry and gives its place.
    fn entry(&mut self, functions: &Functions, function: &Function) -> Result<usize, Error> {
        let (common_place, common) = self.common(&function.common)?;
        let entry = read(self.library, &function.entry)?;
        let area = frames::area(entry, common).ok_or(STRANGE)?;
        let place = self.bytes.len();
        self.bytes.extend(entry);
        let back = (place + 4 - common_place) as u32;
        self.bytes[place + 4..place + 8].copy_from_slice(&back.to_le_bytes());
        self.put(place + START, function.code.start)?;
        if let Some(field) = area.place() {
            let target = relative(entry, field, function.entry.start).ok_or(STRANGE)?;
            let end = functions.area_end(target);
            self.areas.entry(target).or_insert((end, Vec::new())).1.push(place + field);
        }
        Ok(place)
    }

    fn common(&mut self, at: &Range<u64>) -> Result<(usize, Common), Error> {
        if let Some(known) = self.commons.get(&at.start) {
            return Ok(*known);
        }
        let entry = read(self.library, at)?;
        let common = frames::common(entry).ok_or(STRANGE)?;
        let place = self.bytes.len();
        self.bytes.extend(entry);
        if let Some(field) = common.personality {
            let target = relative(entry, field, at.start).ok_or(STRANGE)?;
            self.put(place + field, target)?;
        }
        self.commons.insert(at.start, (place, common));
        Ok((place, common))
    }

    /// Copies the areas that the entries name.
    fn areas(&mut self) -> Result<(), Error> {
        for (old, (end, fields)) in std::mem::take(&mut self.areas) {
            let bytes = area_bytes(self.library, old, end);
            let found = area::read(bytes, old).ok_or(STRANGE)?;
            // Compilers align the types, which the distances to them count on.
            while self.here() % 4 != old % 4 {
                self.bytes.push(0);
            }
            let place = self.bytes.len();
            self.bytes.extend(bytes);
            for (at, target) in found.words.iter().zip(found.types) {
                if target != 0 {
                    self.put(place + at, target)?;
                }
            }
            for field in fields {
                self.put(field, self.address + place as u64)?;
            }
        }
        Ok(())
    }
}

fn read<'d>(library: &Library<'d>, range: &Range<u64>) -> Result<&'d [u8], Error> {
    library.read(range.start, range.end - range.start)
}

/// The bytes of the area from `start` to at most `end`.
fn area_bytes<'d>(library: &Library<'d>, start: u64, end: u64) -> &'d [u8] {
    let bytes = library.read_to_segment_end(start).unwrap_or_default();
    &bytes[..bytes.len().min((end - start) as usize)]
}

/// Where the word at `field` of the bytes at `address` leads.
fn relative(bytes: &[u8], field: usize, address: u64) -> Option<u64> {
    let word = crate::bytes::word_at(bytes, field)? as i32;
    (address + field as u64).checked_add_signed(word.into())
}
