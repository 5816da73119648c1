//! Symbol names as a person reads them.

/// The longest name that is put into a message, in bytes.
const LONGEST: usize = 300;

/// The name of a function without mangling, cut where it would fill a screen.
pub(crate) fn readable(symbol: &str) -> String {
    let options = cpp_demangle::DemangleOptions::new().no_return_type();
    let parsed = cpp_demangle::Symbol::new(symbol).ok();
    let name = parsed
        .and_then(|name| name.demangle_with_options(&options).ok())
        .unwrap_or_else(|| symbol.to_owned());
    if name.len() <= LONGEST {
        return name;
    }
    let cut = (0..=LONGEST).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &name[..cut])
}
