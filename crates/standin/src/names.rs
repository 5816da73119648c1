//! Symbol names as a person reads them.

use functions::{Detail, demangled};

/// The longest name that is put into a message, in bytes.
const LONGEST: usize = 300;

/// The name of a function without mangling, cut where it would fill a screen.
pub(crate) fn readable(symbol: &str) -> String {
    let name = demangled(symbol, Detail::Parameters);
    if name.len() <= LONGEST {
        return name;
    }
    let cut = (0..=LONGEST).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &name[..cut])
}
