//! Libraries whose code runs before they were heard of.
//!
//! A shrunk library tells the runtime of itself in its initialiser. But the loader first
//! initialises what a library needs, and that may call back: by a name that both define, a
//! table that it was given, or a circle. So libraries are found when the runtime itself is
//! loaded, whose initialiser comes before all others (`DF_1_INITFIRST`), and when a fault is
//! about code or data of none that is known.

use core::ffi::{c_int, c_void};
use core::slice;

/// Makes a library known, given its note, the note's length, and its load base; true where that
/// was done.
pub type Enter<'e> = &'e dyn Fn(*mut u8, u32, usize) -> bool;

struct Search<'e> {
    place: Option<usize>,
    enter: Enter<'e>,
    found: bool,
}

/// Looks for libraries of the package, all or those in which `place` lies, and calls `enter` for
/// each. False where there is none.
pub fn look(place: Option<usize>, enter: Enter<'_>) -> bool {
    let mut search = Search { place, enter, found: false };
    // SAFETY: the callback and its argument are as the loader wants them. The lock that the
    // loader takes may be taken again by the thread that holds it.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut search).cast()) };
    search.found
}

unsafe extern "C" fn each(object: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
    // SAFETY: the loader gives a valid object, `look` a valid search.
    let (object, search) = unsafe { (&*object, &mut *search.cast::<Search<'_>>()) };
    // SAFETY: the loader's table of program headers.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    let base = object.dlpi_addr as usize;
    let loads = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let start = |header: &libc::Elf64_Phdr| base + header.p_vaddr as usize;
    let end = |header: &libc::Elf64_Phdr| start(header) + header.p_memsz as usize;
    if let Some(place) = search.place {
        let first = loads().map(start).min().unwrap_or(0);
        let last = loads().map(end).max().unwrap_or(0);
        if !(first..last).contains(&place) {
            return 0;
        }
    }
    let readable = |from: usize, size: usize| {
        let holds = |header: &libc::Elf64_Phdr| {
            let file = start(header) + header.p_filesz as usize;
            header.p_flags & libc::PF_R != 0 && start(header) <= from && from + size <= file
        };
        loads().any(holds)
    };
    let dynamic = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC);
    let Some(initialiser) = dynamic.and_then(|header| initialiser(start(header), base)) else {
        return 0;
    };
    if !readable(initialiser, note::INITIALISER) {
        return 0;
    }
    // SAFETY: these bytes are part of a segment that the loader has mapped.
    let code = unsafe { slice::from_raw_parts(initialiser as *const u8, note::INITIALISER) };
    if let Some((at, length)) = note::named(code)
        && readable(base + at as usize, length as usize)
    {
        search.found |= (search.enter)((base + at as usize) as *mut u8, length, base);
    }
    0
}

/// The address of an object's initialiser (`DT_INIT`), given where its dynamic section is.
fn initialiser(mut entry: usize, base: usize) -> Option<usize> {
    // SAFETY: the loader has read the section, which ends with an entry of tag 0.
    unsafe {
        loop {
            let [tag, value] = *(entry as *const [usize; 2]);
            match tag {
                0 => return None,
                12 => return Some(if value < base { base + value } else { value }),
                _ => entry += size_of::<[usize; 2]>(),
            }
        }
    }
}
