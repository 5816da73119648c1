//! Which modules can be deferred until something needs them.
//!
//! Most of what `import torch` runs, programs need. Some only fills the tables of a
//! compiler, and whoever could see that they are empty passes a place that a package can
//! watch. [`prove`] imports torch in the environment, compares all objects and the whole
//! dispatcher before and after such a group of modules, finds the functions that answer
//! otherwise, and gives either what a package needs to defer it, or what speaks against it.
//! It then imports torch with the group deferred as a package does (`runtime/python/deferred.py`)
//! and shows that whatever could tell is noticed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The modules that begin a group which is worth deferring: with what it alone imports,
/// this one takes a quarter of `import torch`. Nothing is taken for granted of them.
pub const CANDIDATES: [&str; 1] = ["torch._meta_registrations"];

/// Imports a group under observation.
const PROVE: &str = concat!(include_str!("defer/queries.py"), "\n", include_str!("defer/prove.py"));

/// Does what could tell that a group is deferred.
const FIRE: &str = concat!(include_str!("defer/queries.py"), "\n", include_str!("defer/fire.py"));

/// What both see of the machine: a group is deferred in packages for a CPU.
const VARIABLES: [(&str, &str); 2] = [("CUDA_VISIBLE_DEVICES", ""), ("PYTHONHASHSEED", "0")];

/// The parts of a package's runtime that defer, and what they find there in its place.
const RUNTIME: [&str; 3] = ["_taper/deferred.py", "_taper/gates.py", "_taper/once.py"];
const ENTRY: &str = "import ctypes, os
_library = ctypes.PyDLL(os.path.join(os.path.dirname(__file__), 'libtaper_runtime.so'))
def runtime():
    return _library
";

/// Modules of a group that importing torch may need at once; more is no group that can be deferred.
const EARLY: usize = 4;

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

/// A group of modules that may be deferred, if nothing speaks against it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// The module that begins it.
    pub root: String,
    /// Its modules, in the order in which they are in `sys.modules` after it was imported, but
    /// for those of `early`.
    pub members: Vec<String>,
    /// Its modules that the rest of `import torch` needs: they are imported when it is deferred.
    pub early: Vec<String>,
    /// Which attribute of which module outside the group is which of its modules.
    pub attributes: Vec<(String, String, String)>,
    /// Namespaces of operators that only it defines.
    pub namespaces: Vec<String>,
    /// Namespaces of operators to which it gives kernels.
    pub changed: Vec<String>,
    /// Dispatch keys for which it does.
    pub keys: Vec<String>,
    /// Classes of C that it changes, which a package does when the group is deferred.
    pub at_once: Vec<String>,
    /// The number of the kind of device whose tensors have no data (`c10::DeviceType`).
    pub device: i8,
    /// How many functions the table of that kind's allocator has, and which of them is called
    /// whenever such a tensor is made.
    pub allocator: (u32, i32),
    /// Functions of `torch._C` that were seen to answer otherwise without it.
    pub queries: Vec<String>,
    /// What in `torch._C` leads calls to kernels by a dispatch key.
    pub key_takers: Vec<String>,
    /// By the name of a function of `torch._C`, the modules that hold it, and as what.
    pub holders: BTreeMap<String, Vec<(String, String)>>,
    /// What it changes that nothing would notice in time. With any of that, it cannot be deferred.
    pub objections: Vec<String>,
    /// Its part of the time of the import, in hundredths, as far as known. No package has it: it
    /// is another one each time.
    #[serde(skip_serializing_if = "is_unknown")]
    pub percent: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_unknown(percent: &u32) -> bool {
    *percent == 0
}

impl Group {
    /// Whether it may be deferred.
    pub fn may_be_deferred(&self) -> bool {
        self.objections.is_empty() && !self.members.is_empty()
    }
}

/// Imports torch with `python`, and looks at what the group does that `root` begins.
///
/// # Errors
/// [`Error::Run`], where torch cannot be imported or the answer makes no sense.
pub fn prove(python: &Path, root: &str) -> Result<Group, Error> {
    let fail = |reason: String| Error::Run { python: python.into(), reason };
    let found: Value = ask(python, PROVE, format!("{root}\n").as_bytes()).map_err(fail)?;
    let mut group: Group =
        serde_json::from_value(found.clone()).map_err(|e| fail(e.to_string()))?;
    while group.may_be_deferred() {
        let fired = fire(python, &group, &found).map_err(fail)?;
        group.allocator = fired.allocator.unwrap_or_default();
        if let Some(name) = fired.needed
            && group.early.len() < EARLY
            && name != root
            && group.members.contains(&name)
        {
            group.members.retain(|member| *member != name);
            group.attributes.retain(|(_, _, member)| *member != name);
            group.early.push(name);
            continue;
        }
        group.objections = fired.objections;
        break;
    }
    Ok(group)
}

/// What the second process says.
#[derive(Deserialize)]
struct Fired {
    allocator: Option<(u32, i32)>,
    /// The module of the group that importing torch needed.
    needed: Option<String>,
    objections: Vec<String>,
}

/// Defers the `group` of which that was `found`, and sees whether what could tell is noticed.
fn fire(python: &Path, group: &Group, found: &Value) -> Result<Fired, String> {
    let mut about = found.clone();
    let now = serde_json::to_value(group).map_err(|error| error.to_string())?;
    if let (Some(about), Some(now)) = (about.as_object_mut(), now.as_object()) {
        for part in ["members", "early", "attributes"] {
            about.insert(part.into(), now[part].clone());
        }
    }
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let write = |path: &str, bytes: &[u8]| {
        std::fs::write(place.path().join(path), bytes).map_err(|error| error.to_string())
    };
    std::fs::create_dir(place.path().join("_taper")).map_err(|error| error.to_string())?;
    write("_taper/__init__.py", ENTRY.as_bytes())?;
    write("_taper/libtaper_runtime.so", package::LIBRARY)?;
    for (path, text) in package::RUNTIME.iter().filter(|(path, _)| RUNTIME.contains(path)) {
        write(path, text)?;
    }
    let question = json!({ "folder": place.path(), "group": about, "calls": found["calls"] });
    ask(python, FIRE, &serde_json::to_vec(&question).map_err(|error| error.to_string())?)
}

/// Runs a script and reads its answer.
fn ask<T: DeserializeOwned>(python: &Path, script: &str, question: &[u8]) -> Result<T, String> {
    let answer = environment::ask(python, script, question, &VARIABLES)?;
    if answer.len() > MAX_ANSWER {
        return Err("its answer is too long".to_owned());
    }
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}

/// The module of Python that tells a package which groups are deferred, whether it `spares` the
/// garbage collector (`runtime/python/collector.py`), and the exact `version` of Python that it
/// was made with.
pub fn planned<'a>(
    groups: impl IntoIterator<Item = &'a Group>,
    spares: bool,
    version: &str,
) -> String {
    let groups: BTreeMap<&str, Group> = groups
        .into_iter()
        .filter(|group| group.may_be_deferred())
        .map(|group| (group.root.as_str(), Group { percent: 0, ..group.clone() }))
        .collect();
    // Texts, lists and objects are written alike in JSON and in Python.
    let text = serde_json::to_string_pretty(&groups).unwrap_or_else(|_| "{}".to_owned());
    let spares = if spares { "True" } else { "False" };
    format!(
        "\"\"\"What this package does otherwise than Python: see start.py.\"\"\"\n\n\
         VERSION = {version:?}\n\nSPARES = {spares}\n\nDEFERRED = {text}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_speaks_against_is_deferred() {
        let group = |root: &str, objections: &[&str]| Group {
            root: root.into(),
            members: vec![root.into()],
            objections: objections.iter().map(|&one| one.into()).collect(),
            ..Group::default()
        };
        let text = planned(&[group("a.b", &[]), group("c", &["module d"])], true, "3.11.2");
        assert!(text.contains("\"a.b\": {") && !text.contains("\"c\""), "{text}");
        assert!(text.contains("VERSION = \"3.11.2\"\n\nSPARES = True\n"));
        assert!(planned(&[], false, "3.11.2").ends_with("SPARES = False\n\nDEFERRED = {}\n"));
        assert!(!Group::default().may_be_deferred());
        let timed = Group { percent: 24, ..group("a.b", &[]) };
        assert_eq!(
            planned([&timed], true, "3.11.2"),
            planned([&group("a.b", &[])], true, "3.11.2")
        );
    }

    #[test]
    fn what_cannot_be_run_is_said() {
        let error = prove(Path::new("/nonexistent/python"), "torch.x").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/python"), "{error}");
    }
}
