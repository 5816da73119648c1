//! What the writer makes of a library, damaged or not, has the size that it said, and
//! the second reader ends with a verdict, as it does of anything that it is shown.

#![no_main]

use elf::{Library, PageSet};
use elf_verify::{Cold, Expected};
use libfuzzer_sys::fuzz_target;
use shrink::{Limits, Shrunk};

fuzz_target!(|data: &[u8]| {
    // The first bytes choose the pages.
    let Some((choice, data)) = data.split_first_chunk::<8>() else { return };
    let Ok(library) = Library::parse(data) else { return };
    let none = PageSet::new();
    // As if it had been written, and tied to the runtime.
    let cold = Cold { pages: &none, name: "", runtime: "", store: &[] };
    let of_itself = |cold| Expected { original: data, installed: data, keep: &none, cold, private: &|_| true };
    let _ = elf_verify::verify(&of_itself(None), data);
    let _ = elf_verify::verify(&of_itself(Some(cold)), data);
    let choice = u64::from_le_bytes(*choice);
    let keep: PageSet = library
        .read_only_pages()
        .iter()
        .take(4096)
        .filter(|page| choice.rotate_left(*page as u32).count_ones() % 2 == 0 || page % 7 == 0)
        .collect();
    let Ok(Shrunk::Smaller(smaller)) =
        shrink::shrink(&library, &keep, &|_| true, None, &Limits { mappings: 8 })
    else {
        return;
    };
    let mut written = Vec::new();
    if smaller.write_to(data, &mut written).is_err() {
        return;
    }
    assert_eq!(written.len() as u64, smaller.size());
    let expected = Expected { original: data, installed: data, keep: &keep, cold: None, private: &|_| true };
    let _ = elf_verify::verify(&expected, &written);
});
