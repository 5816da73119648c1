//! Language-specific data areas: which landing pad catches what (Itanium C++ ABI,
//! exception handling tables, as GCC and LLVM write them).

use crate::bytes::{Cursor, word_at};
use std::collections::BTreeMap;

/// `DW_EH_PE_omit`.
const OMITTED: u8 = 0xff;

/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`, with and without `DW_EH_PE_indirect`.
pub const RELATIVE: [u8; 2] = [0x1b, 0x9b];

/// One area, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// Call sites: start, length and landing pad as offsets from the function's start,
    /// and the action.
    pub sites: Vec<[u64; 4]>,
    /// For each call site the numbers of the types that it catches, in order; for a
    /// number below zero, the types that may leave the function follow in `lists`.
    pub actions: Vec<Vec<i64>>,
    /// Lists of types, by their number.
    pub lists: BTreeMap<i64, Vec<u64>>,
    /// The type that each number means: 0 for any.
    pub types: Vec<u64>,
    /// Places of the types' words, from the area's start.
    pub words: Vec<usize>,
}

/// Reads the area at `address` with the bytes `area`. `None` where it does not parse
/// or has an encoding that compilers of position-independent code do not write.
pub fn read(area: &[u8], address: u64) -> Option<Area> {
    let mut cursor = Cursor::new(area, 0);
    // Landing pads are relative to the function.
    if cursor.byte()? != OMITTED {
        return None;
    }
    let encoding = cursor.byte()?;
    let types = if encoding == OMITTED {
        None
    } else {
        let distance = usize::try_from(cursor.unsigned()?).ok()?;
        let end = cursor.place().checked_add(distance)?;
        if !RELATIVE.contains(&encoding) || end > area.len() {
            return None;
        }
        Some(end)
    };
    let sites = sites(&mut cursor)?;
    let start = cursor.place();
    let mut lists = BTreeMap::new();
    let actions: Vec<Vec<i64>> = sites
        .iter()
        .map(|[.., action]| chain(area, start, *action, types, &mut lists))
        .collect::<Option<_>>()?;
    let caught = actions.iter().flatten().filter_map(|number| u64::try_from(*number).ok());
    let most = caught.chain(lists.values().flatten().copied()).max().unwrap_or(0);
    // A type is a word; more than fit is damage.
    if most > area.len() as u64 / 4 || (most > 0 && types.is_none()) {
        return None;
    }
    let types_end = types.unwrap_or(area.len());
    let words: Vec<usize> = (1..=most as usize)
        .map(|number| types_end.checked_sub(number * 4).filter(|at| *at >= start))
        .collect::<Option<_>>()?;
    let types = words
        .iter()
        .map(|at| {
            let distance = word_at(area, *at)? as i32;
            let target = (address + *at as u64).checked_add_signed(distance.into())?;
            Some(if distance == 0 { 0 } else { target })
        })
        .collect::<Option<_>>()?;
    Some(Area { sites, actions, lists, types, words })
}

fn sites(cursor: &mut Cursor<'_>) -> Option<Vec<[u64; 4]>> {
    let encoding = cursor.byte()?;
    let length = usize::try_from(cursor.unsigned()?).ok()?;
    let end = cursor.place().checked_add(length)?;
    let mut sites = Vec::new();
    while cursor.place() < end {
        let mut field = || match encoding {
            0x01 => cursor.unsigned(),
            // Fixed words of four bytes.
            0x03 | 0x0b => cursor.word().map(u64::from),
            _ => None,
        };
        let (start, length, pad) = (field()?, field()?, field()?);
        sites.push([start, length, pad, cursor.unsigned()?]);
    }
    (cursor.place() == end).then_some(sites)
}

/// The numbers of the types in the chain of actions that a call site names, and the
/// lists that they refer to.
fn chain(
    area: &[u8],
    start: usize,
    action: u64,
    types: Option<usize>,
    lists: &mut BTreeMap<i64, Vec<u64>>,
) -> Option<Vec<i64>> {
    let mut numbers = Vec::new();
    let Some(first) = usize::try_from(action).ok()?.checked_sub(1) else { return Some(numbers) };
    let mut at = start.checked_add(first)?;
    // A chain has at most one record for each byte of the area.
    for _ in 0..area.len() {
        let mut cursor = Cursor::new(area, at);
        let number = cursor.signed()?;
        let from = cursor.place();
        let next = cursor.signed()?;
        numbers.push(number);
        if number < 0 {
            // The types that may leave the function are listed after the types.
            let place = usize::try_from(number.checked_neg()?).ok()? - 1;
            let mut cursor = Cursor::new(area, types?.checked_add(place)?);
            let mut list = Vec::new();
            loop {
                match cursor.unsigned()? {
                    0 => break,
                    number => list.push(number),
                }
            }
            lists.insert(number, list);
        }
        if next == 0 {
            return Some(numbers);
        }
        at = from.checked_add_signed(isize::try_from(next).ok()?)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_and_types_are_read_and_damage_is_refused() {
        // Landing pads relative to the function; types relative, seven bytes further;
        // one site (0, 5, 0x90, 1); the action (1, 0); the type at the word.
        let area = [0xff, 0x9b, 13, 1, 5, 0, 5, 0x90, 0x01, 1, 1, 0, 4, 0, 0, 0];
        let found = read(&area, 0x1000).unwrap();
        assert_eq!(found.sites, [[0, 5, 0x90, 1]]);
        assert_eq!(found.words, [12]);
        assert_eq!(found.types, [0x1010]);
        for length in 0..area.len() {
            assert_eq!(read(&area[..length], 0x1000), None);
        }
        assert_eq!(read(&[0, 0xff, 1, 0], 0), None);
        assert_eq!(read(&[0xff, 0xff, 1, 4, 0, 5, 0, 0], 0).unwrap().sites, [[0, 5, 0, 0]]);
    }
}
