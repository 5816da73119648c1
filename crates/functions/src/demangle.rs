//! Names of functions as people read them.

use cpp_demangle::{DemangleOptions, ParseOptions, Symbol};

/// How deep a mangled name may nest; deeper ones stay as they are.
const DEPTH: u32 = 64;

/// How much of a name is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The name with the types of parameters.
    Parameters,
    /// The name alone.
    Name,
}

/// The C++ name of `symbol`, without its return type; `symbol` itself where it has none.
pub fn demangled(symbol: &str, detail: Detail) -> String {
    // `_Z`, and what stands for initialisers (`_GLOBAL__I_`).
    if !symbol.starts_with('_') {
        return symbol.to_owned();
    }
    let options = DemangleOptions::new().no_return_type();
    let options = match detail {
        Detail::Parameters => options,
        Detail::Name => options.no_params().hide_expression_literal_types(),
    };
    let limits = ParseOptions::default().recursion_limit(DEPTH);
    Symbol::new_with_options(symbol, &limits)
        .ok()
        .and_then(|name| name.demangle_with_options(&options).ok())
        .unwrap_or_else(|| symbol.to_owned())
}
