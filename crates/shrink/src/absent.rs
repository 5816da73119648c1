//! Functions that are neither in the file nor in the store, and their names.
//!
//! A call of one must not run the part of it that lies on a page that is there for
//! another's sake: its first byte becomes an instruction that no program may execute
//! (`hlt`), which the runtime takes for what it is. Where the whole page is missing, the
//! call itself fails there.

use elf::{Library, PAGE, PageSet};
use functions::{Detail, Functions, demangled};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The longest name, in bytes: the end of it says most.
const LONGEST: usize = 160;

/// The absent functions of a library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Absent {
    /// Their starts, ascending.
    pub starts: Vec<u64>,
    /// Those on pages that are there, where the first byte changes.
    pub halted: BTreeSet<u64>,
}

impl Absent {
    /// Those of `functions`, which are all of `library`, that are not wholly on the pages
    /// `present`.
    pub fn of(library: &Library<'_>, functions: &Functions, present: &PageSet) -> Self {
        let there = |code: &Range<u64>| {
            (code.start / PAGE..code.end.div_ceil(PAGE)).all(|page| present.contains(page))
        };
        // What is there may be covered by entries of more than one function.
        let mut whole = 0;
        let known = functions.entered(library);
        let mut absent = Self::default();
        for function in functions.all() {
            let code = &function.code;
            if there(code) {
                whole = whole.max(code.end);
            } else if code.start >= whole && absent.starts.last() != Some(&code.start) {
                absent.starts.push(code.start);
                // Where nothing shows that it is entered there, it may be jumped over.
                if present.contains(code.start / PAGE) && known.binary_search(&code.start).is_ok() {
                    absent.halted.insert(code.start);
                }
            }
        }
        absent
    }

    /// The names of these functions of `library`, as a chunk of the store.
    pub fn names(&self, library: &Library<'_>) -> Vec<u8> {
        let mut symbols: BTreeMap<u64, &[u8]> = BTreeMap::new();
        for symbol in library.local_symbols().filter(|symbol| symbol.kind == 2) {
            symbols.entry(symbol.address).or_insert(symbol.name);
        }
        let exported = library.symbols().unwrap_or_default();
        for symbol in exported.iter().filter(|symbol| symbol.is_code() && symbol.is_defined()) {
            symbols.entry(symbol.address).or_insert(symbol.name.as_bytes());
        }
        let operators = operators(symbols.values().copied());
        let named = |start: &u64| {
            let name = symbols.get(start).map(|name| String::from_utf8_lossy(name));
            let name = match name {
                Some(name) => with_operator(&readable(&name), &operators),
                None => format!("the function at {start:#x}"),
            };
            (*start, name)
        };
        let list: Vec<(u64, String)> = self.starts.iter().map(named).collect();
        note::names(&list)
    }
}

/// PyTorch's operators: each has functions in a structure of its name (`at::_ops`).
fn operators<'a>(symbols: impl Iterator<Item = &'a [u8]>) -> BTreeSet<&'a str> {
    symbols
        .filter_map(|name| {
            let rest = std::str::from_utf8(name).ok()?.strip_prefix("_ZN2at4_ops")?;
            let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
            let (length, rest) = rest.split_at(digits);
            rest.get(..length.parse().ok()?)
        })
        .collect()
}

/// What PyTorch's code generator puts before an operator's name in those of functions.
const PREFIXES: [&str; 4] =
    ["wrapper_CPU_", "wrapper_CompositeExplicitAutograd_", "structured_", "THPVariable_"];

/// A function's name with the operator that it belongs to, if one has its name.
fn with_operator(name: &str, operators: &BTreeSet<&str>) -> String {
    let parts = || name.rsplit("::").take(3);
    let bare = |part: &str| -> Option<String> {
        let mut part = part;
        for prefix in PREFIXES {
            part = part.strip_prefix(prefix).unwrap_or(part);
        }
        let shorter = || part.rsplit_once('_').map(|(head, _)| head);
        [Some(part), shorter()].into_iter().flatten().find(|part| operators.contains(part)).map(
            |part| {
                let base = part.strip_suffix("_out").unwrap_or(part);
                base.to_owned()
            },
        )
    };
    let own = name.starts_with("at::") || name.starts_with("torch::");
    match parts().find_map(bare).filter(|_| own) {
        Some(operator) => format!("aten::{operator}: {name}"),
        None => name.to_owned(),
    }
}

/// A symbol without mangling, parameters and template arguments.
fn readable(symbol: &str) -> String {
    let name = demangled(symbol, Detail::Name);
    let (mut out, mut depth) = (String::with_capacity(name.len()), 0u32);
    let mut last = ' ';
    for letter in name.chars() {
        match letter {
            // Not in operator<, operator<<, operator->.
            '<' if !out.ends_with("operator") && !out.ends_with("operator<") => depth += 1,
            '>' if depth > 0 && last != '-' => depth -= 1,
            _ if depth == 0 => out.push(letter),
            _ => {}
        }
        last = letter;
    }
    if out.len() > LONGEST {
        let cut =
            (out.len() - LONGEST..out.len()).find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out = format!("…{}", &out[cut..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_say_the_operator() {
        let name = readable("_ZN2at6native15slow_conv3d_cpuERKNS_6TensorE");
        assert_eq!(name, "at::native::slow_conv3d_cpu");
        let operators = BTreeSet::from(["slow_conv3d", "add_out"]);
        assert_eq!(
            with_operator(&name, &operators),
            "aten::slow_conv3d: at::native::slow_conv3d_cpu"
        );
        assert_eq!(with_operator("c10::add_out", &operators), "c10::add_out");
        assert_eq!(
            with_operator("at::native::structured_add_out::impl", &operators),
            "aten::add: at::native::structured_add_out::impl"
        );
        assert_eq!(readable("_ZNSt6vectorIiSaIiEE9push_backEOi"), "std::vector::push_back");
        assert_eq!(readable("plain"), "plain");
    }

    #[test]
    fn operators_are_read_from_their_structures() {
        let names: [&[u8]; 3] = [b"_ZN2at4_ops6conv3d4callERKNS_6TensorE", b"_ZN2at4_ops", b"x"];
        assert_eq!(operators(names.into_iter()), BTreeSet::from(["conv3d"]));
    }
}
