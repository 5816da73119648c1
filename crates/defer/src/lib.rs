//! Which bodies of modules may wait until something needs them.
//!
//! Most of what `import torch` runs, programs need. Some only fills the tables of a
//! compiler, and whoever could see that they are empty passes a place that a package can
//! watch. [`prove`] imports torch in the environment, compares all objects and the whole
//! dispatcher before and after such a group of modules, and gives either what a package
//! needs to let it wait, or what speaks against it. What the package does with it stands in
//! `runtime/python/deferred.py`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The modules that begin a group which is worth waiting for: with what it alone imports,
/// this one takes a quarter of `import torch`. Nothing is taken for granted of them.
pub const CANDIDATES: [&str; 1] = ["torch._meta_registrations"];

/// Imports a group under observation.
const PROVE: &str = include_str!("prove.py");

/// The most that the answer may have, in bytes.
const MAX_ANSWER: usize = 1 << 24;

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The interpreter could not be run, or torch not imported.
    #[error("cannot import torch under observation with {python}: {reason}")]
    Run {
        /// The interpreter.
        python: PathBuf,
        /// What it said.
        reason: String,
    },
}

/// A group of modules whose bodies may wait, if nothing speaks against it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// The module that begins it.
    pub root: String,
    /// Its modules, in the order in which they are in `sys.modules` after it was imported.
    pub members: Vec<String>,
    /// Which attribute of which module outside the group is which of its modules.
    pub attributes: Vec<(String, String, String)>,
    /// Namespaces of operators that only it defines.
    pub namespaces: Vec<String>,
    /// Namespaces of operators to which it gives kernels.
    pub changed: Vec<String>,
    /// Dispatch keys for which it does.
    pub keys: Vec<String>,
    /// The number of the kind of device whose tensors have no data (`c10::DeviceType`).
    pub device: i8,
    /// By the name of a function of `torch._C`, the modules that hold it, and as what.
    pub holders: BTreeMap<String, Vec<(String, String)>>,
    /// What it changes that nothing would notice in time. With any of that, it cannot wait.
    pub objections: Vec<String>,
}

impl Group {
    /// Whether its bodies may wait.
    pub fn may_wait(&self) -> bool {
        self.objections.is_empty() && !self.members.is_empty()
    }
}

/// Imports torch with `python`, and looks at what the group does that `root` begins.
///
/// # Errors
/// [`Error::Run`], where torch cannot be imported or the answer makes no sense.
pub fn prove(python: &Path, root: &str) -> Result<Group, Error> {
    let fail = |reason: String| Error::Run { python: python.into(), reason };
    let answer =
        environment::ask(python, PROVE, format!("{root}\n").as_bytes(), &[]).map_err(fail)?;
    if answer.len() > MAX_ANSWER {
        return Err(fail("its answer is too long".to_owned()));
    }
    serde_json::from_slice(&answer).map_err(|error| fail(error.to_string()))
}

/// The module of Python that tells a package which groups wait, and whether it `spares` the
/// garbage collector (`runtime/python/collector.py`).
pub fn planned<'a>(groups: impl IntoIterator<Item = &'a Group>, spares: bool) -> String {
    let groups: BTreeMap<&str, &Group> = groups
        .into_iter()
        .filter(|group| group.may_wait())
        .map(|group| (group.root.as_str(), group))
        .collect();
    // Texts, lists and objects are written alike in JSON and in Python.
    let text = serde_json::to_string_pretty(&groups).unwrap_or_else(|_| "{}".to_owned());
    let spares = if spares { "True" } else { "False" };
    format!(
        "\"\"\"What this package does otherwise than Python: see collector.py and deferred.py.\"\"\"\n\n\
         SPARES = {spares}\n\nDEFERRED = {text}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_speaks_against_waits() {
        let group = |root: &str, objections: &[&str]| Group {
            root: root.into(),
            members: vec![root.into()],
            objections: objections.iter().map(|&one| one.into()).collect(),
            ..Group::default()
        };
        let text = planned(&[group("a.b", &[]), group("c", &["module d"])], true);
        assert!(text.contains("\"a.b\": {") && !text.contains("\"c\""), "{text}");
        assert!(text.contains("SPARES = True\n"));
        assert!(planned(&[], false).ends_with("SPARES = False\n\nDEFERRED = {}\n"));
        assert!(!Group::default().may_wait());
    }

    #[test]
    fn what_cannot_be_run_is_said() {
        let error = prove(Path::new("/nonexistent/python"), "torch.x").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/python"), "{error}");
    }
}
