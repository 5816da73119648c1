//! What of compiled libraries can be given to the kernel.

use elf::{Library, PAGE};
use std::process::Command;
use taper_functions::{Functions, addressed};

/// A function whose address is taken, with others behind it, and a datum whose address is.
const LIBRARY: &str = "
#define APART __attribute__((aligned(4096), noinline))
APART int called(int x) { return x * 3; }
APART int behind(int x) { return x * 5 + called(x); }
int (*taken(void))(int) { return called; }
__attribute__((aligned(4096))) static const char text[9000] = { 1, 2, 3 };
const char *given(void) { return text; }
";

/// Whether the pages of a function and of a datum behind its first page are among them.
fn among(flags: &[&str]) -> (bool, bool) {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("a.c"), LIBRARY).unwrap();
    let words = ["-shared", "-fPIC", "-O1", "-fvisibility=hidden", "a.c", "-o", "a.so"];
    let mut cc = Command::new("cc");
    assert!(cc.args(words).args(flags).current_dir(place.path()).status().unwrap().success());
    let file = place.path().join("a.so");
    let named = std::fs::read(&file).unwrap();
    let named = Library::parse(&named).unwrap();
    let place = |name| named.local_symbol(name).unwrap();
    let (code, datum) = (place("called"), place("text"));
    // As vendors publish theirs.
    assert!(Command::new("strip").arg(&file).status().unwrap().success());
    let bytes = std::fs::read(&file).unwrap();
    let library = Library::parse(&bytes).unwrap();
    let functions = Functions::read(&library).unwrap();
    let pages = addressed(&library, &functions).unwrap();
    (pages.contains(code / PAGE), pages.contains(datum / PAGE + 1))
}

#[test]
fn code_is_no_datum_whether_or_not_unwind_tables_speak_of_it() {
    assert_eq!(among(&[]), (false, true));
    let none = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-exceptions"];
    assert_eq!(among(&none), (false, true));
}
