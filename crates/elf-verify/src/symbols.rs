//! Dynamic symbols: names, values, versions.

use crate::dynamic::{Dynamic, Symbol};
use crate::{Expected, Fault, differs};
use elf::{PAGE, PageSet};
use format::link::{ANSWERED, FUNCTION, PREFIX};

/// `STV_HIDDEN`.
const HIDDEN: u8 = 2;

/// `VER_NDX_GLOBAL`: no version in particular.
const GLOBAL: u16 = 1;

/// Compares the symbols of `new` with those of `old`, each at its place. A function whose code
/// is not all on pages that are `planned` may have lost its name where nobody else speaks of it;
/// a library that is tied to the runtime asks that for what would take its signal from it, and
/// has one more symbol, for the runtime's function.
pub(crate) fn check(
    old: &Dynamic<'_>,
    new: &Dynamic<'_>,
    expected: &Expected<'_>,
    planned: &PageSet,
) -> Result<(), Fault> {
    let tied = expected.cold.is_some();
    let fault = |index: usize| differs("a symbol", index as u64);
    if new.symbols.len() != old.symbols.len() + usize::from(tied) {
        return Err(fault(new.symbols.len()));
    }
    for (index, (before, after)) in old.symbols.iter().zip(&new.symbols).enumerate() {
        let same = before == after && !(tied && is_answered(before))
            || tied && is_answered(before) && answers(before, after)
            || lost(before, after, expected, planned);
        if !same {
            return Err(fault(index));
        }
    }
    // STB_GLOBAL, STT_FUNC, undefined.
    let ours = |symbol: &Symbol<'_>| {
        let word = (symbol.info, symbol.other, symbol.section, symbol.value, symbol.size);
        symbol.name == FUNCTION.as_bytes() && word == (0x12, 0, 0, 0, 0) && symbol.version <= GLOBAL
    };
    match new.symbols.last() {
        Some(last) if tied && !ours(last) => Err(fault(old.symbols.len())),
        _ => Ok(()),
    }
}

/// Whether the runtime answers for a symbol.
fn is_answered(symbol: &Symbol<'_>) -> bool {
    !symbol.is_defined() && ANSWERED.iter().any(|name| name.as_bytes() == symbol.name)
}

fn answers(before: &Symbol<'_>, after: &Symbol<'_>) -> bool {
    let name = after.name.strip_prefix(PREFIX.as_bytes());
    name == Some(before.name)
        && after.version <= GLOBAL
        && *after == Symbol { name: after.name, version: after.version, ..*before }
}

/// Whether `after` is the function `before` without its name.
fn lost(
    before: &Symbol<'_>,
    after: &Symbol<'_>,
    expected: &Expected<'_>,
    planned: &PageSet,
) -> bool {
    let end = before.value.saturating_add(before.size.max(1));
    let there = || (before.value / PAGE..end.div_ceil(PAGE)).all(|page| planned.contains(page));
    let other = (before.other & !3) | HIDDEN;
    *after == Symbol { name: b"", info: before.info & 15, other, ..*before }
        && before.is_function()
        && !there()
        && std::str::from_utf8(before.name).is_ok_and(|name| (expected.private)(name))
}
