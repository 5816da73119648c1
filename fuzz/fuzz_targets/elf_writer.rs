//! What the writer makes of a library, damaged or not, has the size that it said, and
//! the second reader ends with a verdict; of an undamaged one it is the right verdict.

#![no_main]

use elf::{Library, PageSet};
use libfuzzer_sys::fuzz_target;
use elf_verify::Expected;
use shrink::{Limits, Shrunk};

fuzz_target!(|data: &[u8]| {
    // The first bytes choose the pages.
    let Some((choice, data)) = data.split_first_chunk::<8>() else { return };
    let Ok(library) = Library::parse(data) else { return };
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
    let expected = Expected { original: data, keep: &keep, cold: None, private: &|_| true };
    let _ = elf_verify::verify(&expected, &written);
});
