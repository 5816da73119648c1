//! What imports cost, measured by running them.

use imports::{Import, Place};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is run in the environment's interpreter.
const MEASURE: &str = include_str!("measure.py");

/// What an import adds to a program that has all others of its file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Modules.
    pub modules: u64,
    /// Milliseconds.
    pub milliseconds: f64,
    /// Bytes of resident memory.
    pub memory: u64,
    /// Bytes of the files that are loaded.
    pub bytes: u64,
    /// What else changes when it runs: handlers, registrations, attributes of other modules.
    pub effects: Vec<String>,
    /// Modules that it loads beyond the package at the top of its name.
    pub beyond: u64,
    /// What that package takes by itself.
    pub parent: Option<Box<Evidence>>,
    /// Why nothing is known.
    pub error: Option<String>,
}

impl Evidence {
    /// Whether it takes so much that a person would want to know. Only what does not
    /// change from run to run decides.
    pub fn is_heavy(&self) -> bool {
        self.error.is_none() && (self.modules >= 3 || self.bytes >= 200_000)
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The interpreter did not do its part.
    #[error("{python} could not measure imports: {reason}")]
    Python {
        /// The interpreter.
        python: String,
        /// What it said.
        reason: String,
    },
}

/// Measures the imports at the top of a file, by their text, as if those that are `leaving`
/// were gone. Those of the application's own modules, which may do anything, are not run.
///
/// # Errors
/// [`Error::Python`].
pub fn measure(
    python: &Path,
    imports: &[Import],
    own: impl Fn(&str) -> bool,
    leaving: &BTreeSet<String>,
) -> Result<BTreeMap<String, Evidence>, Error> {
    let fail = |reason: String| Error::Python { python: python.display().to_string(), reason };
    let wanted = |import: &&Import| {
        let outside = !import.is_relative() && import.top() != "__future__";
        import.place == Place::Top && outside && !own(import.top())
    };
    let imports: Vec<&Import> = imports.iter().filter(wanted).collect();
    if imports.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list: Vec<_> = imports
        .iter()
        .map(|import| {
            let text = import.text();
            let leaves = leaving.contains(&text);
            serde_json::json!({"text": text, "parent": import.top(), "leaves": leaves})
        })
        .collect();
    let question = serde_json::Value::from(list).to_string();
    let answer = environment::ask(python, MEASURE, question.as_bytes(), &[]).map_err(fail)?;
    let found: Vec<Evidence> =
        serde_json::from_slice(&answer).map_err(|error| fail(error.to_string()))?;
    Ok(imports.iter().map(|import| import.text()).zip(found).collect())
}
