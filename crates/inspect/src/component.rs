//! Which component of a library its bytes belong to.
//!
//! Code and data go by the names of symbols (the rules in `families.rs`), everything else by the section that holds it.

use crate::families::{At, On, RULES};
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use object::elf;

/// A symbol that no rule knows.
pub const OTHER: &str = "other";
/// Bytes of code or data that no symbol covers, in a library that has its symbol table.
pub const NO_SYMBOL: &str = "no symbol";
/// The same in a library whose symbol table was stripped: what it does not export.
pub const STRIPPED: &str = "no symbol (stripped)";
/// GPU code in containers, wherever it lies.
pub const GPU: &str = "GPU code";
/// The file header, the header tables, and what lies between sections.
pub const HEADERS: &str = "headers and padding";
/// What the loader reads: dynamic symbols, hashes, relocations, the tables it fills.
pub const LOADING: &str = "dynamic linking";
/// What exceptions need.
pub const UNWIND: &str = "unwind tables";
/// Symbol and string tables that are not loaded.
pub const SYMBOL_TABLES: &str = "symbol tables (not loaded)";
/// DWARF.
pub const DEBUG: &str = "debug information";
/// Notes, compiler versions, and all else that is not loaded.
pub const NOTES: &str = "notes and others (not loaded)";

/// The component of a whole section, if its name and type (`sh_type`) say enough;
/// `None` for code and data.
pub(crate) fn of_section(name: &str, kind: elf::SectionType, loaded: bool) -> Option<&'static str> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&[".debug_", ".zdebug_", ".gdb_index", ".gnu_debug"]) {
        return Some(DEBUG);
    }
    if !loaded {
        return Some(match kind {
            elf::SHT_SYMTAB | elf::SHT_STRTAB => SYMBOL_TABLES,
            _ => NOTES,
        });
    }
    match kind {
        elf::SHT_DYNSYM
        | elf::SHT_STRTAB
        | elf::SHT_HASH
        | elf::SHT_GNU_HASH
        | elf::SHT_GNU_VERSYM
        | elf::SHT_GNU_VERNEED
        | elf::SHT_GNU_VERDEF
        | elf::SHT_RELA
        | elf::SHT_REL
        | elf::SHT_RELR
        | elf::SHT_DYNAMIC
        | elf::SHT_INIT_ARRAY
        | elf::SHT_FINI_ARRAY => Some(LOADING),
        elf::SHT_NOTE => Some(NOTES),
        _ if starts(&[".got", ".plt", ".interp", ".init", ".fini"]) => Some(LOADING),
        _ if starts(&[".eh_frame", ".gcc_except_table"]) => Some(UNWIND),
        _ => None,
    }
}

/// A rule of the table, or none. They order as the rules do, none last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Family(u16);

impl Family {
    const NONE: Self = Self(u16::MAX);

    /// Whether no rule holds.
    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// What its bytes are called.
    pub(crate) fn name(self) -> &'static str {
        RULES.get(usize::from(self.0)).map_or(OTHER, |rule| rule.family)
    }
}

/// The rules, made ready to search.
pub(crate) struct Rules {
    names: Searcher,
    files: Searcher,
}

struct Searcher {
    automaton: Option<AhoCorasick>,
    /// The rule of each pattern of the automaton.
    rules: Vec<u16>,
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self { names: Searcher::new(On::Symbol), files: Searcher::new(On::File) }
    }

    /// The family of the source file that `name`, a symbol of type `STT_FILE`, names.
    pub(crate) fn of_file(&self, name: &[u8]) -> Option<Family> {
        self.files.first(name)
    }

    /// The family of the symbol `name`, which is local to a file of family `file`.
    pub(crate) fn of_symbol(&self, name: &[u8], file: Option<Family>) -> Family {
        self.names.first(name).into_iter().chain(file).min().unwrap_or(Family::NONE)
    }
}

impl Searcher {
    fn new(on: On) -> Self {
        let mine = || (0..).zip(RULES).filter(|(_, rule)| rule.on == on);
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .build(mine().map(|(_, rule)| rule.needle))
            .ok();
        Self { automaton, rules: mine().map(|(index, _)| index).collect() }
    }

    /// The first rule that holds.
    fn first(&self, name: &[u8]) -> Option<Family> {
        let found = self.automaton.as_ref()?.find_overlapping_iter(name);
        let digit = |at: usize| name.get(at).is_some_and(u8::is_ascii_digit);
        let holds = |index: u16, start: usize, end: usize| {
            let rule = &RULES[usize::from(index)];
            // `12atomic` has no part `2at`.
            if digit(start) && start > 0 && digit(start - 1) {
                return false;
            }
            let placed = match rule.at {
                At::Start => start == 0,
                At::End => end == name.len(),
                At::Anywhere => true,
            };
            placed && name.starts_with(rule.prefix.as_bytes())
        };
        found
            .map(|found| (self.rules[found.pattern().as_usize()], found.start(), found.end()))
            .filter(|(index, start, end)| holds(*index, *start, *end))
            .map(|(index, _, _)| Family(index))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str, file: &str) -> &'static str {
        let rules = Rules::new();
        rules.of_symbol(name.as_bytes(), rules.of_file(file.as_bytes())).name()
    }

    #[test]
    fn names_of_real_symbols_find_their_family() {
        let cases = [
            ("_ZN2at6native6AVX51213cos_kernel_stubE", "ATen kernels, AVX512"),
            (
                "_ZN3c1012function_refIFvPPclEE11callback_fnIZNS_2at3vec4AVX23mapEEE",
                "ATen kernels, AVX2",
            ),
            ("_ZN5torch9TraceType3addERKN2at6TensorE", "TraceType"),
            ("_ZTVN5torch8autograd9generated12AddBackward0E", "autograd"),
            ("mkl_blas_avx512_xdgemm", "MKL, AVX512"),
            ("mkl_spblas_lp64_avx2_xdbsr0ng", "MKL, AVX2"),
            ("mkl_serv_intel_cpu_true", "MKL, any CPU"),
            ("_ZN4dnnl4impl3cpu3x643jitE", "oneDNN"),
            ("my_own_function", OTHER),
            ("_ZN12atomic_thingEv", OTHER),
            // Inside another name, a prefix means nothing.
            ("not_mkl_blas", OTHER),
        ];
        for (name, expected) in cases {
            assert_eq!(family(name, "elsewhere.cpp"), expected, "{name}");
        }
    }

    #[test]
    fn local_names_that_say_nothing_go_by_their_source_file() {
        assert_eq!(
            family("_ZN2at6native12_GLOBAL__N_13fooE", "PowKernel.cpp.AVX512.cpp"),
            "ATen kernels, AVX512"
        );
        assert_eq!(family("kernel", "PowKernel.cpp.DEFAULT.cpp"), "ATen kernels, DEFAULT");
        assert_eq!(family("_ZN4dnnl4impl1xE", "PowKernel.cpp"), "oneDNN");
    }

    #[test]
    fn sections_that_are_neither_code_nor_data_need_no_symbols() {
        assert_eq!(of_section(".eh_frame", elf::SHT_PROGBITS, true), Some(UNWIND));
        assert_eq!(of_section(".strtab", elf::SHT_STRTAB, false), Some(SYMBOL_TABLES));
        assert_eq!(of_section(".dynstr", elf::SHT_STRTAB, true), Some(LOADING));
        assert_eq!(of_section(".init_array", elf::SHT_INIT_ARRAY, true), Some(LOADING));
        assert_eq!(of_section(".text", elf::SHT_PROGBITS, true), None);
    }
}
