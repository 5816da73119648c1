//! The names that a tree's CMake files know: options, cached values, what they look for and
//! what their conditions ask.
//!
//! Reading is by the letter. A name that is put together while CMake runs is not seen where it
//! is set, but where a condition asks for it in full.

use crate::cmake::{Call, Form};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Where something stands in a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, relative to the tree.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a name is in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `option()`: on or off.
    Switch,
    /// `cmake_dependent_option()`: on or off while the condition holds.
    Dependent {
        /// The condition as it is written.
        condition: String,
    },
    /// `set(… CACHE …)`, or an option whose default is no truth value: a text.
    Cached,
    /// The result of `find_library()` and its kind.
    Searched,
    /// A condition asks for it.
    Asked,
}

/// A name that `-DNAME=VALUE` can give a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// What it is.
    pub kind: Kind,
    /// Its default as it is written, where it has one.
    pub default: Option<String>,
    /// The tree's own words about it.
    pub help: String,
    /// Where it is declared, or first asked for.
    pub place: Place,
}

/// The names of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Names {
    /// By name.
    pub variables: BTreeMap<String, Variable>,
    /// Environment variables that the CMake files read.
    pub environment: BTreeMap<String, Place>,
    /// Packages that `find_package()` looks for: `NAME_DIR` and `NAME_ROOT` mean something.
    pub packages: BTreeSet<String>,
    /// Names that are overwritten with an environment variable's value: giving them to CMake
    /// has no effect.
    pub overwritten: BTreeMap<String, Place>,
}

/// The most names that are kept: more than fifty times what PyTorch has.
const MAX_NAMES: usize = 200_000;

impl Names {
    /// Adds what the calls of a file say. `file` is its path in the tree.
    pub fn add(&mut self, file: &str, calls: &[Call]) {
        for call in calls {
            if self.variables.len() > MAX_NAMES {
                return;
            }
            let place = Place { file: file.into(), line: call.line };
            match call.name.as_str() {
                "option" => self.option(call, place.clone()),
                "cmake_dependent_option" => self.dependent(call, place.clone()),
                "set" => self.set(call, place.clone()),
                "find_library" | "find_path" | "find_program" | "find_file" => {
                    self.declare(call, 0, Kind::Searched, None, String::new(), place.clone());
                }
                "find_package" => {
                    self.packages.extend(literal(call, 0));
                }
                "if" | "elseif" | "while" => self.condition(call, &place),
                _ => {}
            }
            self.environment_of(call, &place);
        }
    }

    fn option(&mut self, call: &Call, place: Place) {
        let help = text(call, 1);
        let default = call.arguments.get(2).map(|argument| argument.text.clone());
        // `option(STATIC_DISPATCH_BACKEND "…" "")` holds a text.
        let kind = match &default {
            Some(default) if !is_truth(default) && !default.contains('$') => Kind::Cached,
            _ => Kind::Switch,
        };
        self.declare(call, 0, kind, default, help, place);
    }

    fn dependent(&mut self, call: &Call, place: Place) {
        let default = call.arguments.get(2).map(|argument| argument.text.clone());
        let kind = Kind::Dependent { condition: text(call, 3) };
        self.declare(call, 0, kind, default, text(call, 1), place);
    }

    fn set(&mut self, call: &Call, place: Place) {
        let cache = call
            .arguments
            .iter()
            .position(|argument| argument.form == Form::Bare && argument.text == "CACHE");
        if let Some(at) = cache.filter(|at| *at > 0) {
            // INTERNAL entries and those set by force are the tree's own.
            let own = text(call, at + 1) == "INTERNAL"
                || call.arguments.iter().skip(at + 2).any(|argument| argument.text == "FORCE");
            if !own {
                let values: Vec<&str> =
                    call.arguments[1..at].iter().map(|value| value.text.as_str()).collect();
                let kind = if text(call, at + 1) == "BOOL" { Kind::Switch } else { Kind::Cached };
                let default = Some(values.join(";"));
                self.declare(call, 0, kind, default, text(call, at + 2), place);
            }
        } else if let Some(name) = literal(call, 0)
            && call.arguments.len() == 2
            && call.arguments[1].text == format!("$ENV{{{name}}}")
        {
            self.overwritten.entry(name).or_insert(place);
        }
    }

    /// Declares the name that stands at `index`. The first declaration counts, but any is
    /// better than a question.
    fn declare(
        &mut self,
        call: &Call,
        index: usize,
        kind: Kind,
        default: Option<String>,
        help: String,
        place: Place,
    ) {
        let Some(name) = literal(call, index) else { return };
        let variable = Variable { kind, default, help, place };
        match self.variables.get_mut(&name) {
            Some(known) if known.kind != Kind::Asked => {}
            Some(known) => *known = variable,
            None => {
                self.variables.insert(name, variable);
            }
        }
    }

    fn condition(&mut self, call: &Call, place: &Place) {
        // What follows a comparison is a value more often than a name.
        let mut value = false;
        for argument in &call.arguments {
            let text = argument.text.as_str();
            let is_value = std::mem::replace(&mut value, COMPARISONS.contains(&text));
            let (name, bare) = match text.strip_prefix("CACHE{") {
                Some(rest) => (rest.trim_end_matches('}'), true),
                None => (text, argument.form == Form::Bare),
            };
            let word = WORDS.contains(&name) || COMPARISONS.contains(&name);
            if bare && !is_value && is_name(name) && !is_truth(name) && !word {
                self.ask(name, place);
            }
            for name in references(text, "${") {
                self.ask(name, place);
            }
        }
    }

    fn ask(&mut self, name: &str, place: &Place) {
        if self.variables.contains_key(name) {
            return;
        }
        let variable = Variable {
            kind: Kind::Asked,
            default: None,
            help: String::new(),
            place: place.clone(),
        };
        self.variables.insert(name.into(), variable);
    }

    fn environment_of(&mut self, call: &Call, place: &Place) {
        for argument in call.arguments.iter().filter(|argument| argument.form != Form::Bracket) {
            for name in references(&argument.text, "ENV{") {
                self.environment.entry(name.into()).or_insert_with(|| place.clone());
            }
        }
    }

    /// Whether `-Dname=…` can reach something in the tree.
    pub fn knows(&self, name: &str) -> bool {
        if self.overwritten.contains_key(name) {
            return false;
        }
        self.variables.contains_key(name)
            || ["_DIR", "_ROOT"].iter().any(|ending| {
                name.strip_suffix(ending).is_some_and(|package| self.packages.contains(package))
            })
    }
}

const COMPARISONS: [&str; 13] = [
    "MATCHES",
    "STREQUAL",
    "STRLESS",
    "STRGREATER",
    "EQUAL",
    "LESS",
    "GREATER",
    "VERSION_LESS",
    "VERSION_GREATER",
    "VERSION_EQUAL",
    "VERSION_LESS_EQUAL",
    "VERSION_GREATER_EQUAL",
    "IN_LIST",
];

const WORDS: [&str; 16] = [
    "NOT",
    "AND",
    "OR",
    "DEFINED",
    "EXISTS",
    "TARGET",
    "COMMAND",
    "POLICY",
    "TEST",
    "IS_DIRECTORY",
    "IS_SYMLINK",
    "IS_ABSOLUTE",
    "IS_NEWER_THAN",
    "LESS_EQUAL",
    "GREATER_EQUAL",
    "PATH_EQUAL",
];

/// Whether CMake takes a text as true or false by itself.
pub fn is_truth(text: &str) -> bool {
    const TRUTHS: [&str; 10] =
        ["ON", "OFF", "TRUE", "FALSE", "YES", "NO", "Y", "N", "IGNORE", "NOTFOUND"];
    TRUTHS.iter().any(|truth| truth.eq_ignore_ascii_case(text))
        || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a text that [`is_truth`] is false in CMake.
pub fn is_false(text: &str) -> bool {
    ["", "0", "OFF", "FALSE", "NO", "N", "IGNORE", "NOTFOUND"]
        .iter()
        .any(|off| off.eq_ignore_ascii_case(text))
}

fn is_name(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The name at `index`, unless it is put together.
fn literal(call: &Call, index: usize) -> Option<String> {
    let text = &call.arguments.get(index)?.text;
    is_name(text).then(|| text.clone())
}

fn text(call: &Call, index: usize) -> String {
    call.arguments.get(index).map(|argument| argument.text.clone()).unwrap_or_default()
}

/// The names that stand between `open` and a brace.
fn references<'a>(text: &'a str, open: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
        .filter(|name| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmake::calls;

    fn names(text: &str) -> Names {
        let mut names = Names::default();
        names.add("CMakeLists.txt", &calls(text).unwrap());
        names
    }

    #[test]
    fn every_way_to_declare_a_name_is_read() {
        let found = names(
            "option(USE_CUDA \"Use CUDA\" ON)\n\
             option(STATIC_DISPATCH_BACKEND \"backend, e.g.: CPU\" \"\")\n\
             cmake_dependent_option(\n  USE_NCCL \"Use NCCL\" ON\n  \"USE_CUDA;UNIX\" OFF)\n\
             set(BLAS \"MKL\" CACHE STRING \"Selected BLAS library\")\n\
             set(SECRET 1 CACHE INTERNAL \"\")\nset(FORCED 1 CACHE BOOL \"\" FORCE)\n\
             find_library(FMT_LIBRARY fmt)\nfind_package(Python COMPONENTS x)\n\
             set(TORCH_CUDA_ARCH_LIST $ENV{TORCH_CUDA_ARCH_LIST})\n\
             if(DEFINED ENV{TH_BINARY_BUILD} AND NOT DEFINED USE_VULKAN)\nendif()\n",
        );
        let kind = |name: &str| found.variables[name].kind.clone();
        assert_eq!(kind("USE_CUDA"), Kind::Switch);
        assert_eq!(found.variables["USE_CUDA"].default.as_deref(), Some("ON"));
        assert_eq!(kind("STATIC_DISPATCH_BACKEND"), Kind::Cached);
        assert_eq!(kind("USE_NCCL"), Kind::Dependent { condition: "USE_CUDA;UNIX".into() });
        assert_eq!(found.variables["USE_NCCL"].place.to_string(), "CMakeLists.txt:3");
        assert_eq!(kind("BLAS"), Kind::Cached);
        assert_eq!(kind("FMT_LIBRARY"), Kind::Searched);
        assert_eq!(kind("USE_VULKAN"), Kind::Asked);
        for absent in ["SECRET", "FORCED", "TORCH_CUDA_ARCH_LIST", "TH_BINARY_BUILD", "DEFINED"] {
            assert!(!found.knows(absent), "{absent}");
        }
        assert!(found.knows("Python_ROOT") && found.knows("Python_DIR"));
        assert!(!found.knows("Perl_ROOT"));
        assert!(found.environment.contains_key("TH_BINARY_BUILD"));
        assert!(found.overwritten.contains_key("TORCH_CUDA_ARCH_LIST"));
    }

    #[test]
    fn conditions_ask_for_names_and_not_for_values() {
        let found = names(
            "if(CXX_AVX512_FOUND AND \"${ATEN_THREADING}\" STREQUAL \"OMP\" AND BLAS STREQUAL MKL)\n\
             elseif(NOT A_B OR 3 GREATER LEVEL)\nendif()\n",
        );
        for asked in ["CXX_AVX512_FOUND", "ATEN_THREADING", "BLAS", "A_B"] {
            assert_eq!(found.variables[asked].kind, Kind::Asked, "{asked}");
        }
        for no in ["OMP", "MKL", "STREQUAL", "AND", "3", "LEVEL"] {
            assert!(!found.knows(no), "{no}");
        }
    }

    #[test]
    fn a_declaration_replaces_a_question_and_not_the_other_way() {
        let found = names("if(USE_X)\nendif()\noption(USE_X \"x\" OFF)\noption(USE_X \"y\" ON)\n");
        assert_eq!(found.variables["USE_X"].help, "x");
    }

    #[test]
    fn truth_is_what_cmake_takes_for_it() {
        for truth in ["on", "OFF", "1", "0", "No", "NOTFOUND"] {
            assert!(is_truth(truth), "{truth}");
        }
        for text in ["", "CPU", "MinSizeRel", "on1"] {
            assert!(!is_truth(text), "{text}");
        }
        assert!(is_false("off") && is_false("0") && is_false("") && !is_false("1"));
    }
}
