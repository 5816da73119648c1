//! Handlers of exceptions: the language-specific data of a function (Itanium C++ ABI, exception
//! handling tables, as GCC and LLVM write them).

use gimli::{EndianSlice, LittleEndian, Reader};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// `DW_EH_PE_omit`.
const OMITTED: u8 = 0xff;

/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`, with and without `DW_EH_PE_indirect`.
const RELATIVE: [u8; 2] = [0x1b, 0x9b];

/// A function's data: the bytes from its beginning on, and how far it goes.
struct Area {
    /// Where it ends.
    end: usize,
    /// Where the words of its types are, which say how far away each is.
    types: Vec<usize>,
}

/// Whether two such areas, each with its address, mean the same: their bytes are the same, but
/// for words of types, which lead to the same addresses. `None` for one that is not understood.
pub(crate) fn same(one: (&[u8], u64), other: (&[u8], u64)) -> Option<bool> {
    let (first, second) = (area(one.0)?, area(other.0)?);
    if first.end != second.end || first.types != second.types {
        return Some(false);
    }
    let mut at = 0;
    let mut types = first.types;
    types.sort_unstable();
    for word in types {
        let target = |(bytes, address): (&[u8], u64)| {
            let distance = i32::from_le_bytes(*bytes.get(word..)?.first_chunk()?);
            let target = (address + word as u64).checked_add_signed(distance.into())?;
            // A distance of nothing is any type.
            Some(if distance == 0 { 0 } else { target })
        };
        if target(one)? != target(other)? || one.0.get(at..word)? != other.0.get(at..word)? {
            return Some(false);
        }
        at = word + 4;
    }
    Some(one.0.get(at..first.end)? == other.0.get(at..first.end)?)
}

fn area(bytes: &[u8]) -> Option<Area> {
    let whole = EndianSlice::new(bytes, LittleEndian);
    let place = |rest: &Bytes<'_>| bytes.len() - rest.len();
    let mut rest = whole;
    // Landing pads are relative to the function.
    if rest.read_u8().ok()? != OMITTED {
        return None;
    }
    let encoding = rest.read_u8().ok()?;
    let types = if encoding == OMITTED {
        None
    } else {
        let distance = usize::try_from(rest.read_uleb128().ok()?).ok()?;
        let end = place(&rest).checked_add(distance)?;
        if !RELATIVE.contains(&encoding) || end > bytes.len() {
            return None;
        }
        Some(end)
    };
    let encoding = rest.read_u8().ok()?;
    let length = usize::try_from(rest.read_uleb128().ok()?).ok()?;
    let mut sites = rest.split(length).ok()?;
    let start = place(&rest);
    let (mut end, mut most) = (types.unwrap_or(start).max(start), 0);
    while !sites.is_empty() {
        for _ in 0..3 {
            match encoding {
                0x01 => sites.read_uleb128().ok()?,
                // Fixed words of four bytes.
                0x03 | 0x0b => sites.read_u32().ok()?.into(),
                _ => return None,
            };
        }
        let action = usize::try_from(sites.read_uleb128().ok()?).ok()?;
        if let Some(first) = action.checked_sub(1) {
            chain(bytes, start.checked_add(first)?, types, &mut end, &mut most)?;
        }
    }
    let most = usize::try_from(most).ok().filter(|most| *most <= bytes.len() / 4)?;
    let word = |number: usize| types?.checked_sub(4 * number).filter(|at| *at >= start);
    let types = (1..=most).map(word).collect::<Option<_>>()?;
    Some(Area { end, types })
}

/// Follows the actions from `at` on: what follows of the area, and the highest number of a type.
fn chain(
    bytes: &[u8],
    mut at: usize,
    types: Option<usize>,
    end: &mut usize,
    most: &mut u64,
) -> Option<()> {
    // A chain has at most one record for each byte of the area.
    for _ in 0..bytes.len() {
        let mut record = EndianSlice::new(bytes.get(at..)?, LittleEndian);
        let number = record.read_sleb128().ok()?;
        let from = bytes.len() - record.len();
        let next = record.read_sleb128().ok()?;
        *end = (*end).max(bytes.len() - record.len());
        *most = (*most).max(u64::try_from(number).unwrap_or(0));
        if let Ok(place) = usize::try_from(number.checked_neg()?)
            && place > 0
        {
            // The types that may leave the function are listed after the types.
            let mut list =
                EndianSlice::new(bytes.get(types?.checked_add(place - 1)?..)?, LittleEndian);
            loop {
                match list.read_uleb128().ok()? {
                    0 => break,
                    number => *most = (*most).max(number),
                }
            }
            *end = (*end).max(bytes.len() - list.len());
        }
        if next == 0 {
            return Some(());
        }
        at = from.checked_add_signed(isize::try_from(next).ok()?)?;
    }
    None
}
