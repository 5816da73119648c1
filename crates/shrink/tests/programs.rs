//! Libraries built here, cut to the pages of some functions, under real programs:
//! exceptions find their handlers, and addresses in data are relocated.

use elf::{Library, PAGE, PageSet, Relative};
use elf_verify::{Expected, Fault, Seen, verify};
use functions::Functions;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use taper_shrink::{Limits, Shrunk, shrink};

const LIBRARY: &str = r#"
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#define APART __attribute__((aligned(8192), noinline))
struct Mine : std::runtime_error { using runtime_error::runtime_error; };
struct Other { int value; };
struct Guard { int &count; ~Guard() { count++; } };
APART int cold(int x) { try { if (x) throw x; } catch (int y) { return y; } return 0; }
APART void raise_(int kind) {
    if (kind == 1) throw Mine("mine");
    if (kind == 2) throw std::string("text");
    if (kind == 3) throw Other{7};
    if (kind == 4) throw 5L;
}
APART int colder(int x) { try { if (x) throw Mine("x"); } catch (Mine &) { return 1; } return 0; }
APART int catches(int kind, int &count) {
    try {
        Guard guard{count};
        raise_(kind);
        return 0;
    } catch (Mine &) { return 1; }
    catch (std::string &) { return 2; }
    catch (Other &other) { return other.value; }
}
APART int coldest(int x) { return x * 3; }
APART int outer(int kind, int &count) {
    try { return catches(kind, count); } catch (...) { return 100; }
}
#define TEN(n) n, n, n, n, n, n, n, n, n, n
#define THOUSAND(n) TEN(TEN(TEN(n)))
static int number = 6, zero = 4;
int *numbers[] = { THOUSAND(&number), THOUSAND(nullptr), THOUSAND(&zero), &number, nullptr,
    THOUSAND(&number), THOUSAND(&zero), THOUSAND(&number), nullptr, &zero };
int *const constants[] = { &zero, nullptr, THOUSAND(&number), THOUSAND(&zero) };
int (*const printers[])(const char *) = { THOUSAND(puts), nullptr, THOUSAND(puts) };
APART int sum() {
    int all = 0;
    for (auto printer : printers) all += printer == puts;
    for (int *n : numbers) if (n) all += *n;
    for (int *n : constants) if (n) all += *n;
    return all;
}
// Enough functions to fill pages with their tables.
template <int N> int one_of_many(int kind) {
    try { raise_(kind); } catch (Mine &) { return N; }
    return 0;
}
template <int... N> int all_of_them(int kind, std::integer_sequence<int, N...>) {
    int (*const functions[])(int) = { one_of_many<N>... };
    int all = 0;
    for (auto function : functions) all += function(kind);
    return all;
}
int many(int kind) { return all_of_them(kind, std::make_integer_sequence<int, 900>()); }
struct Start { int seen; Start() : seen(sum()) {} } start;
int at_start() { return start.seen; }
"#;

const PROGRAM: &str = r#"
#include <cstdio>
int outer(int kind, int &count);
int sum(); int at_start(); int many(int kind);
int main() {
    int count = 0;
    for (int kind = 0; kind < 5; kind++) printf("%d ", outer(kind, count));
    printf("%d %d %d %d\n", count, sum(), at_start(), many(1));
}
"#;

/// What the second reader says of what was `written` of `original` without pages but `keep`.
fn check(original: &[u8], keep: &PageSet, written: &[u8]) -> Result<Seen, Fault> {
    verify(
        &Expected { original, installed: original, keep, cold: None, private: &|_| false },
        written,
    )
}

fn compile(place: &Path, words: &[&str]) {
    let done = Command::new("g++").args(words).current_dir(place).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn run(place: &Path) -> String {
    let done = Command::new(place.join("program")).current_dir(place).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// The library, cut to all its pages but those of functions that `unused` names and,
/// where they are made anew, those of its unwind tables.
fn cut(place: &Path, unused: &[&str]) -> (Vec<u8>, Vec<u8>, PageSet) {
    let data = fs::read(place.join("whole.so")).unwrap();
    let library = Library::parse(&data).unwrap();
    let functions = Functions::read(&library).unwrap();
    let mut keep = library.read_only_pages();
    let mut leave = PageSet::new();
    for symbol in library.symbols().unwrap() {
        if unused.iter().any(|name| symbol.name.contains(name)) {
            leave.insert_addresses(symbol.address..symbol.address + 1);
        }
    }
    for table in functions.tables() {
        for page in table.start.div_ceil(PAGE)..table.end / PAGE {
            leave.insert(page);
        }
    }
    assert!(leave.len() as usize >= unused.len() + 10);
    keep.remove(&leave);
    let Shrunk::Smaller(smaller) =
        shrink(&library, &keep, &|_| false, None, &Limits::default()).unwrap()
    else {
        panic!("nothing was saved")
    };
    let mut written = Vec::new();
    smaller.write_to(&data, &mut written).unwrap();
    check(&data, &keep, &written).unwrap();
    (data, written, keep)
}

#[test]
fn a_linker_finds_what_a_cut_library_exports() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    fs::write(place.join("library.cc"), LIBRARY).unwrap();
    fs::write(place.join("program.cc"), PROGRAM).unwrap();
    // Names with versions of its own.
    fs::write(place.join("versions"), "ONE { global: *; };\n").unwrap();
    let script = "-Wl,--version-script=versions";
    compile(place, &["-shared", "-fPIC", "-O2", "library.cc", script, "-o", "whole.so"]);
    let (_, written, _) = cut(place, &["coldi", "colderi", "coldesti"]);
    fs::write(place.join("library.so"), &written).unwrap();
    compile(place, &["program.cc", "./library.so", "-o", "program"]);
    assert!(run(place).starts_with("0 1 2 7 100 5 "));
    let program = fs::read(place.join("program")).unwrap();
    assert!(program.windows(5).any(|window| window == b"\0ONE\0"));
    let without = PROGRAM.replace("many(1)", "missing(1)").replace("int many", "int missing");
    fs::write(place.join("program.cc"), without).unwrap();
    let words = ["program.cc", "./library.so", "-o", "program"];
    let refused = Command::new("g++").args(words).current_dir(place).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("undefined reference"));
}

#[test]
fn exceptions_pass_and_data_is_relocated() {
    for extra in [&["-O2"][..], &["-O1", "-Wl,-z,now"], &["-O2", "-Wl,-z,norelro"]] {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        fs::write(place.join("library.cc"), LIBRARY).unwrap();
        fs::write(place.join("program.cc"), PROGRAM).unwrap();
        let mut words = vec!["-shared", "-fPIC", "library.cc", "-o", "whole.so"];
        words.extend(extra);
        compile(place, &words);
        fs::copy(place.join("whole.so"), place.join("library.so")).unwrap();
        compile(place, &["program.cc", "./library.so", "-o", "program"]);
        let before = run(place);
        assert!(before.starts_with("0 1 2 7 100 5 "), "{before}");
        let (data, written, keep) = cut(place, &["coldi", "colderi", "coldesti"]);
        assert!(Relative::of(&Library::parse(&data).unwrap(), &BTreeSet::new()).is_some());
        fs::write(place.join("library.so"), &written).unwrap();
        assert_eq!(run(place), before);

        // Every byte of the code, and of the table at the end, matters to the second reader.
        // What follows is for linkers: names of sections, then their headers.
        let word = |at: usize| u64::from_le_bytes(*written[at..].first_chunk().unwrap()) as usize;
        let last = word(40) + 64 * usize::from(written[62]);
        let end = word(last + 24);
        assert!(written.len() == last + 64 && written.len() - end < 64 * 64);
        for at in end - 136..end {
            let mut damaged = written.clone();
            damaged[at] ^= 0x10;
            assert!(check(&data, &keep, &damaged).is_err(), "byte {at} of {}", written.len());
        }
    }
}
