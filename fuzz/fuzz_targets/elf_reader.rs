//! Whatever the bytes are, reading a library ends with a value or an error.

#![no_main]

use elf::{Library, Relative};
use functions::{Functions, Member};
use libfuzzer_sys::fuzz_target;
use standin::{Request, Wanted};
use std::collections::BTreeSet;

fuzz_target!(|data: &[u8]| {
    let Ok(library) = Library::parse(data) else { return };
    let _ = (library.soname(), library.needed(), library.search_path(), library.build_id());
    let _ = (library.symbols(), library.versions(), library.relocations());
    let _ = (library.relative_addresses(), library.loader_calls(), library.loader_ranges());
    let _ = library.local_symbols().count();
    let _ = Relative::of(&library, &BTreeSet::new());
    let _ = library.name_fields();
    if let Ok(functions) = Functions::read(&library) {
        let pages = library.read_only_pages();
        let _ = functions.tables();
        let _ = functions.have_tables(&pages);
        let _ = functions.whole(&library, &pages, &[]);
        let _ = functions::tables(&library, &functions, &pages, 1 << 20);
        let _ = functions::addressed(&library, &functions);
        let _ = functions::reached(&library, &functions, &[]);
        if let Ok(member) = Member::new(&library, &functions, &pages) {
            functions::callable(&[member]);
        }
        let mut wanted = Wanted::default();
        for symbol in library.symbols().unwrap_or_default() {
            wanted.symbols.insert(symbol.name.to_owned(), None);
        }
        let _ = standin::standin(&Request {
            library: &library,
            wanted: &wanted,
            keep: &pages,
            message: "is not here",
        });
    }
});
