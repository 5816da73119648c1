//! What an interpreter calls by itself for the types that a library defines.
//!
//! CPython frees, visits and clears objects when it pleases: at the end, or when its
//! collector runs. The functions for that lie in tables of the library's data: type
//! objects (`PyTypeObject`), whose layout the stable releases 3.8 to 3.15 share, and lists
//! from which types and modules are made (`PyType_Slot`, since 3.15 `PySlot`). They are
//! recognised by what the words around them hold; a word that is mistaken for one costs a
//! function that stays.

use crate::place::Place;
use elf::Library;

/// Where a type object has its number of items, which is 0, its name, the sizes of its
/// objects and of their items, and its flags.
const SIZE: u64 = 16;
const NAME: u64 = 24;
const BASIC: u64 = 32;
const ITEM: u64 = 40;
const FLAGS: u64 = 168;

/// Where it has the functions that the interpreter calls by itself: `tp_dealloc`,
/// `tp_traverse`, `tp_clear`, `tp_free`, `tp_is_gc`, `tp_del`, `tp_finalize`.
const OWN_CALLS: [u64; 7] = [48, 184, 192, 320, 328, 376, 392];

/// Past the last of these words.
const END: u64 = 400;

/// The numbers of the same in a list (`typeslots.h`): `bf_releasebuffer`, `tp_clear`,
/// `tp_dealloc`, `tp_del`, `tp_is_gc`, `tp_traverse`, `tp_free`, `tp_finalize`; and those that
/// 3.15 adds (`slots_generated.h`): `bf_releasebuffer`, `mod_state_traverse`,
/// `mod_state_clear`, `mod_state_free`.
const NUMBERS: [u64; 12] = [2, 51, 52, 53, 62, 71, 74, 80, 89, 104, 105, 106];

/// What else the word of a number may hold: flags of a `PySlot` that its function may have
/// (`PySlot_OPTIONAL`, `PySlot_STATIC`, `PySlot_INTPTR` in `slots.h`), past the 16 bits of the number.
const SLOT_FLAGS: u64 = 0b111 << 16;

/// The most bytes that objects of a type of C code, or their items, take.
const LARGEST: u64 = 1 << 20;

/// The functions in such tables of `library`; `words` are those that the loader fills,
/// ascending.
pub(crate) fn slots<'a>(library: &Library<'_>, words: &[(u64, Place<'a>)]) -> Vec<Place<'a>> {
    let held = |at: u64| {
        let found = words.binary_search_by_key(&at, |word| word.0).ok()?;
        Some(words[found].1)
    };
    // What no word of the file holds is zero.
    let number = |at: u64| {
        let bytes = library.read(at, 8).ok();
        bytes.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?))).unwrap_or(0)
    };
    let mut found = Vec::new();
    for (at, place) in words {
        if at.checked_sub(8).is_some_and(|before| {
            held(before).is_none() && NUMBERS.contains(&(number(before) & !SLOT_FLAGS))
        }) {
            found.push(*place);
        }
        let Some(object) = at.checked_sub(NAME).filter(|at| at.checked_add(END).is_some()) else {
            continue;
        };
        let plain = |offset: u64, limit: u64| {
            held(object + offset).is_none() && number(object + offset) <= limit
        };
        let is_type = matches!(place, Place::Own(_))
            && number(object) != 0
            && plain(SIZE, 0)
            && plain(BASIC, LARGEST)
            && plain(ITEM, LARGEST)
            && plain(FLAGS, u64::from(u32::MAX));
        if is_type {
            found.extend(OWN_CALLS.iter().filter_map(|offset| held(object + offset)));
        }
    }
    found
}
