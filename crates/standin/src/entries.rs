//! The relocation table of a stand-in.

use crate::Error;
use crate::code::IMPORTS;
use crate::relocate::{Kept, Target};
use elf::{Relative, Relocation};
use shrink::relative::Packed;
use std::collections::BTreeMap;
use std::ops::Range;

/// The relocations of kept words and of the imports; relative ones come first, as
/// linkers have them, and indirect ones last, when all else is done.
pub(crate) fn relocations(
    kept: &Kept,
    number: &BTreeMap<&str, u64>,
    stub_of: &BTreeMap<&str, u64>,
    imports_at: u64,
) -> Vec<Relocation> {
    let entry = |address: u64, symbol: u64, kind: u32, addend: u64| Relocation {
        address,
        kind,
        symbol: symbol as u32,
        addend: addend as i64,
    };
    let mut all = Vec::new();
    for (address, target) in &kept.words {
        all.push(match target {
            Target::Here(to) => entry(*address, 0, Relocation::RELATIVE, *to),
            Target::Stub(name) => {
                let to = stub_of.get(name.as_str()).copied().unwrap_or(0);
                entry(*address, 0, Relocation::RELATIVE, to)
            }
            Target::Symbol(name, addend, kind) => {
                let symbol = number.get(name.as_str()).copied().unwrap_or(0);
                // A slot of the linkage table is bound at once, not lazily.
                let kind =
                    if *kind == Relocation::JUMP_SLOT { Relocation::GLOB_DAT } else { *kind };
                entry(*address, symbol, kind, *addend as u64)
            }
            Target::ThreadLocal(kind, addend) => entry(*address, 0, *kind, *addend as u64),
            Target::Resolved(resolver) => entry(*address, 0, Relocation::IRELATIVE, *resolver),
        });
    }
    for (index, name) in IMPORTS.iter().enumerate() {
        let symbol = number.get(name).copied().unwrap_or(0);
        all.push(entry(imports_at + index as u64 * 8, symbol, Relocation::GLOB_DAT, 0));
    }
    all.sort_by_key(|relocation| match relocation.kind {
        Relocation::RELATIVE => 0,
        Relocation::IRELATIVE => 2,
        _ => 1,
    });
    all
}

/// `relocations` with the relative ones that lie in `writable` to be packed, where that is
/// worth it.
pub(crate) fn packed(
    relocations: Vec<Relocation>,
    writable: &[Range<u64>],
    rela: u64,
    code: u64,
) -> Result<(Vec<u8>, Option<Packed>), Error> {
    /// Fewer are not worth the code that applies them.
    const WORTHWHILE: usize = 1 << 10;
    let plain = |relocation: &Relocation| {
        relocation.kind == Relocation::RELATIVE
            && relocation.address.is_multiple_of(8)
            && writable.iter().any(|part| {
                part.contains(&relocation.address) && part.end - relocation.address >= 8
            })
    };
    let indirect = relocations.iter().any(|other| other.kind == Relocation::IRELATIVE);
    if indirect || relocations.iter().filter(|other| plain(other)).count() < WORTHWHILE {
        return Ok((relocations.iter().flat_map(Relocation::to_bytes).collect(), None));
    }
    let (words, others): (Vec<_>, Vec<_>) = relocations.into_iter().partition(|one| plain(one));
    let words = words.into_iter().map(|word| (word.address, word.addend as u64)).collect();
    let packed = shrink::relative::pack(
        &Relative { words, copies: BTreeMap::new(), others, table: 0..0 },
        &[],
        rela,
        code,
    );
    let packed = packed.map_err(|_| Error::TooLarge("a stand-in whose code does not fit"))?;
    Ok((packed.as_ref().map(|packed| packed.rela.clone()).unwrap_or_default(), packed))
}
