//! Looks symbols up in what is loaded, in whatever scope: `dlsym` sees only some, and is
//! not in every C library.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::slice;

/// A symbol's address, and the object that defines it.
#[derive(Clone, Copy)]
pub struct Symbol {
    /// Where it is.
    pub address: usize,
    /// The object's load base.
    pub base: usize,
}

/// A dynamic symbol.
#[repr(C)]
struct Entry {
    name: u32,
    kind: u16,
    section: u16,
    address: u64,
    size: u64,
}

struct Search<'a> {
    name: &'a CStr,
    found: Option<Symbol>,
}

/// The first loaded object's definition of `name`.
pub fn find(name: &CStr) -> Option<Symbol> {
    let mut search = Search { name, found: None };
    // SAFETY: the callback and its argument are as the loader wants them.
    unsafe { libc::dl_iterate_phdr(Some(defines), (&raw mut search).cast()) };
    search.found
}

/// The load base of the object that `address` lies in.
pub fn object(address: usize) -> Option<usize> {
    struct Place {
        address: usize,
        base: Option<usize>,
    }
    unsafe extern "C" fn each(object: *mut libc::dl_phdr_info, _: usize, to: *mut c_void) -> c_int {
        // SAFETY: the loader gives a valid object, `object` a valid place.
        let (object, place) = unsafe { (&*object, &mut *to.cast::<Place>()) };
        let inside =
            headers(object).iter().filter(|header| header.p_type == libc::PT_LOAD).any(|header| {
                let start = object.dlpi_addr as usize + header.p_vaddr as usize;
                (start..start + header.p_memsz as usize).contains(&place.address)
            });
        if inside {
            place.base = Some(object.dlpi_addr as usize);
        }
        c_int::from(inside)
    }
    let mut place = Place { address, base: None };
    // SAFETY: the callback and its argument are as the loader wants them.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut place).cast()) };
    place.base
}

/// The program headers of a loaded object.
pub fn headers(object: &libc::dl_phdr_info) -> &[libc::Elf64_Phdr] {
    // SAFETY: the loader's table of program headers.
    unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) }
}

unsafe extern "C" fn defines(
    object: *mut libc::dl_phdr_info,
    _: usize,
    search: *mut c_void,
) -> c_int {
    // SAFETY: the loader gives a valid object, `find` a valid search.
    let (object, search) = unsafe { (&*object, &mut *search.cast::<Search<'_>>()) };
    let base = object.dlpi_addr as usize;
    let dynamic = headers(object).iter().find(|header| header.p_type == libc::PT_DYNAMIC);
    let Some(dynamic) = dynamic else { return 0 };
    // SAFETY: the loader has read these tables itself.
    let found =
        unsafe { lookup(base, (base + dynamic.p_vaddr as usize) as *const [u64; 2], search.name) };
    search.found = found.map(|address| Symbol { address, base });
    c_int::from(found.is_some())
}

/// Looks `name` up in the GNU hash table of one object.
unsafe fn lookup(base: usize, mut entry: *const [u64; 2], name: &CStr) -> Option<usize> {
    let (mut hash, mut symbols, mut strings) = (0, 0, 0);
    // The loader has turned addresses into pointers, in most objects.
    let pointer = |value: u64| {
        let value = value as usize;
        if value < base { base + value } else { value }
    };
    // SAFETY: the section ends with an entry of tag 0; the tables are as the GNU hash
    // table's format says, and chains end with a value whose lowest bit is set.
    unsafe {
        loop {
            let [tag, value] = *entry;
            match tag {
                0 => break,
                5 => strings = pointer(value),
                6 => symbols = pointer(value),
                0x6fff_fef5 => hash = pointer(value),
                _ => {}
            }
            entry = entry.add(1);
        }
        if hash == 0 || symbols == 0 || strings == 0 {
            return None;
        }
        let table = hash as *const u32;
        let (buckets, first, bloom) = (*table, *table.add(1), *table.add(2));
        if buckets == 0 {
            return None;
        }
        let bucket = table.add(4 + bloom as usize * 2);
        let chain = bucket.add(buckets as usize);
        let wanted = gnu_hash(name);
        let mut index = *bucket.add((wanted % buckets) as usize);
        while index >= first {
            let value = *chain.add((index - first) as usize);
            let symbol = &*(symbols as *const Entry).add(index as usize);
            if value | 1 == wanted | 1 && symbol.section != 0 {
                let text = strings + symbol.name as usize;
                if CStr::from_ptr(text as *const c_char) == name {
                    return Some(base + symbol.address as usize);
                }
            }
            if value & 1 != 0 {
                return None;
            }
            index += 1;
        }
    }
    None
}

fn gnu_hash(name: &CStr) -> u32 {
    let add = |hash: u32, byte: &u8| hash.wrapping_mul(33).wrapping_add(u32::from(*byte));
    name.to_bytes().iter().fold(5381, add)
}
