//! What PyTorch's Python build hands on from the environment to CMake.
//!
//! `tools/setup_helpers/cmake.py` passes every variable whose name begins in a certain way and
//! a list of further ones. Both are read from the strings of the file; nothing is run.

use serde::Serialize;
use std::collections::BTreeSet;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// The environment variables that reach CMake, and those that the build itself reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Forwarding {
    /// Names beginning so are handed on.
    pub prefixes: BTreeSet<String>,
    /// These are handed on, some under another name.
    pub names: BTreeSet<String>,
    /// These are read by the Python build.
    pub read: BTreeSet<String>,
}

/// A string of a Python text, with what stands before it.
struct Literal<'a> {
    text: &'a str,
    /// The code from the end of the string before up to this one.
    before: String,
}

impl Forwarding {
    /// Reads `tools/setup_helpers/cmake.py`.
    pub fn add_helper(&mut self, text: &str) {
        let mut listing = false;
        for literal in strings(text) {
            if literal.before.contains("additional_options") {
                listing = true;
            }
            // The two tables end where the next thing gets a value.
            if literal.before.contains("low_priority_aliases")
                || literal.before.contains("startswith")
            {
                listing = false;
            }
            if listing && is_constant(literal.text) {
                self.names.insert(literal.text.into());
            }
            if literal.text.ends_with('_') && is_constant(literal.text) {
                self.prefixes.insert(literal.text.into());
            }
        }
        self.add_reads(text);
    }

    /// Reads the names that a file of the Python build asks the environment for.
    pub fn add_reads(&mut self, text: &str) {
        const READERS: [&str; 6] = [
            "getenv(",
            "environ.get(",
            "environ[",
            "check_env_flag(",
            "check_negative_env_flag(",
            "environ.setdefault(",
        ];
        for literal in strings(text) {
            let before = literal.before.trim_end();
            if READERS.iter().any(|reader| before.ends_with(reader)) && is_constant(literal.text) {
                self.read.insert(literal.text.into());
            }
        }
    }

    /// Whether an environment variable has an effect.
    pub fn knows(&self, name: &str) -> bool {
        self.names.contains(name)
            || self.read.contains(name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

/// Whether a text looks like the name of an environment variable.
fn is_constant(text: &str) -> bool {
    text.len() > 2
        && text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
        && text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// The strings of a Python text that stand on one line, comments and triple-quoted ones
/// passed over.
fn strings(text: &str) -> Vec<Literal<'_>> {
    let bytes = text.as_bytes();
    // `end` is where the code begins that `before` does not hold yet.
    let (mut at, mut end, mut before, mut found) = (0, 0, String::new(), Vec::new());
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'#' => {
                before.push_str(text.get(end..at).unwrap_or_default());
                while !matches!(bytes.get(at), None | Some(b'\n')) {
                    at += 1;
                }
                end = at;
            }
            b'"' | b'\'' => {
                let triple = [byte; 3];
                if bytes[at..].starts_with(&triple) {
                    at += 3;
                    while at < bytes.len() && !bytes[at..].starts_with(&triple) {
                        at += if bytes[at] == b'\\' { 2 } else { 1 };
                    }
                    at = (at + 3).min(bytes.len());
                    end = at;
                    continue;
                }
                let start = at + 1;
                at = start;
                while !matches!(bytes.get(at), None | Some(b'\n')) && bytes[at] != byte {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let stop = at.min(bytes.len());
                // Quotes and line ends are single bytes, so these are borders of characters,
                // unless an escape swallowed half of one.
                before.push_str(text.get(end..start - 1).unwrap_or_default());
                let before = std::mem::take(&mut before);
                if let Some(text) = text.get(start..stop) {
                    found.push(Literal { text, before });
                }
                at = stop + 1;
                end = at.min(bytes.len());
            }
            _ => at += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELPER: &str = r#"
# "NOT_THIS" additional_options
additional_options = {
    # Key: environment variable "NOR_THIS".
    "_GLIBCXX_USE_CXX11_ABI": "GLIBCXX_USE_CXX11_ABI",
}
additional_options.update({var: var for var in ("BLAS", 'SELECTED_OP_LIST')})
low_priority_aliases = {"CUDAHOSTCXX": "CUDA_HOST_COMPILER"}
for var, val in my_env.items():
    if var.startswith(("BUILD_", "USE_", "CMAKE_")) or var.endswith(("EXITCODE",)):
        build_options[var] = val
if os.getenv("CMAKE_ARGS") or check_env_flag('DEBUG') or os.environ["MAX_JOBS"]:
    print("TORCH_SELECTIVE_BUILD is no option")
"""
os.getenv("IN_A_DOCSTRING")
"""
"#;

    #[test]
    fn the_helpers_tables_and_prefixes_are_read() {
        let mut found = Forwarding::default();
        found.add_helper(HELPER);
        let names: Vec<&str> = found.names.iter().map(String::as_str).collect();
        assert_eq!(
            names,
            ["BLAS", "GLIBCXX_USE_CXX11_ABI", "SELECTED_OP_LIST", "_GLIBCXX_USE_CXX11_ABI"]
        );
        assert!(found.prefixes.iter().eq(["BUILD_", "CMAKE_", "USE_"]));
        assert!(found.read.iter().eq(["CMAKE_ARGS", "DEBUG", "MAX_JOBS"]));
        assert!(found.knows("USE_CUDA") && found.knows("DEBUG") && found.knows("BLAS"));
        for no in ["TORCH_SELECTIVE_BUILD", "NOT_THIS", "NOR_THIS", "IN_A_DOCSTRING"] {
            assert!(!found.knows(no), "{no}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[é\"'\\\\#a\\n(]{0,120}") {
            let mut found = Forwarding::default();
            found.add_helper(&text);
        }
    }
}
