//! Symbol names as a person reads them.

use functions::{Detail, demangled};

/// The longest name that is put into a message, in bytes.
const LONGEST: usize = 300;

/// Whether a mangled name belongs to the C++ library or to what compilers call at run time:
/// namespace `std` and its abbreviations, of functions and their special names, and the operators
/// `new` and `delete` (Itanium C++ ABI, 5.1).
pub(crate) fn is_standard(symbol: &str) -> bool {
    const RUN_TIME: [&str; 4] = ["__cxa_", "__gxx_", "_Unwind_", "__dynamic_cast"];
    const ALLOCATES: [&str; 4] = ["_Znw", "_Zna", "_Zdl", "_Zda"];
    if RUN_TIME.iter().chain(&ALLOCATES).any(|begin| symbol.starts_with(begin)) {
        return true;
    }
    let Some(name) = symbol.strip_prefix("_Z") else { return false };
    let special = ["TV", "TI", "TS", "TT", "GV"].iter().find_map(|kind| name.strip_prefix(kind));
    let name = special.unwrap_or(name);
    let nested = name.strip_prefix('N');
    let name = nested.map_or(name, |name| name.trim_start_matches(['r', 'V', 'K']));
    let abbreviated = name.strip_prefix('S');
    abbreviated.is_some_and(|rest| rest.starts_with(['t', 'a', 'b', 's', 'i', 'o', 'd']))
        || ["9__gnu_cxx", "10__cxxabiv1"].iter().any(|space| name.starts_with(space))
}

/// The name of a function without mangling, cut where it would fill a screen.
pub(crate) fn readable(symbol: &str) -> String {
    let name = demangled(symbol, Detail::Parameters);
    if name.len() <= LONGEST {
        return name;
    }
    let cut = (0..=LONGEST).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &name[..cut])
}

#[cfg(test)]
mod tests {
    use super::is_standard;

    #[test]
    fn names_of_the_c_plus_plus_library_are_told_from_others() {
        let standard = [
            "_ZNSt13runtime_errorC2EOS_",
            "_ZNKSt9exception4whatEv",
            "_ZNSs6appendERKSs",
            "_ZSt24__throw_out_of_range_fmtPKcz",
            "_ZTVSt9exception",
            "_ZTIN10__cxxabiv117__class_type_infoE",
            "_ZN9__gnu_cxx18__exchange_and_addEPVii",
            "_ZdlPvm",
            "__cxa_throw",
        ];
        assert!(standard.into_iter().all(is_standard));
        let others = [
            "cudaMalloc",
            "_Z3addii",
            "_ZN2at4cuda3addERKSt6vectorIiE",
            "_ZTVN2at4cuda5TableE",
            "_ZN5Stack3popEv",
            "_ZNK1S3getEv",
            "_Z",
            "",
        ];
        assert!(!others.into_iter().any(is_standard));
    }
}
