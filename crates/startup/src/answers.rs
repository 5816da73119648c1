//! What Python need not find out again each time that a package starts.
//!
//! Methods of data classes and patterns of regular expressions are compiled in each process, from
//! the same texts. And some packages read all their own sources whenever they are imported, to learn what is in
//! them: `transformers` takes a fifth of its start for that. What is in a package does not
//! change. So where a function's author has declared that it depends on its arguments alone
//! (`functools.lru_cache`) and it reads many files of the installed packages, [`observe`] runs
//! it as the workloads' imports do, in two processes that hash differently, and gives its
//! answers, or what speaks against remembering them; and what the imports compile. What a
//! package does with them stands in `runtime/python/answers.py` and `compiled.py`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Imports modules under observation. It writes calls down as the package does, whose own
/// module for them comes first.
const OBSERVE: &str =
    concat!(include_str!("../../../runtime/python/answers.py"), include_str!("answers/observe.py"));

/// The most that one process may say, in bytes.
const MAX_SAID: usize = 1 << 28;

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The interpreter could not be run, or what it said makes no sense.
    #[error("cannot import modules under observation with {python}: {reason}")]
    Run {
        /// The interpreter.
        python: PathBuf,
        /// What it said.
        reason: String,
    },
}

/// A function that reads files of the packages to answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    /// The module at whose top it stands.
    pub module: String,
    /// Its name there.
    pub name: String,
    /// Files that its calls read.
    pub files: u64,
    /// Marshalled answers by marshalled arguments.
    pub answers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What speaks against remembering them.
    pub objection: Option<String>,
}

impl Function {
    /// Whether its answers may be remembered.
    pub fn may_be_remembered(&self) -> bool {
        self.objection.is_none() && !self.answers.is_empty()
    }
}

/// What was observed. Keys and values are marshalled, without references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Functions that read many files of the packages.
    pub functions: Vec<Function>,
    /// The version of Python and of its engine for patterns.
    pub version: Vec<u8>,
    /// Code by its text, of methods of data classes.
    pub codes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the engine is told, by pattern and flags.
    pub patterns: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// An [`Observed`] as JSON has it; bytes are base64.
#[derive(Serialize, Deserialize)]
struct Written {
    functions: Vec<WrittenFunction>,
    version: String,
    codes: BTreeMap<String, String>,
    patterns: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct WrittenFunction {
    module: String,
    name: String,
    files: u64,
    answers: BTreeMap<String, String>,
    objection: Option<String>,
}

impl Observed {
    /// Bytes that [`Observed::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = |map: &BTreeMap<Vec<u8>, Vec<u8>>| {
            map.iter().map(|(key, value)| (STANDARD.encode(key), STANDARD.encode(value))).collect()
        };
        let function = |one: &Function| WrittenFunction {
            module: one.module.clone(),
            name: one.name.clone(),
            files: one.files,
            answers: text(&one.answers),
            objection: one.objection.clone(),
        };
        let written = Written {
            functions: self.functions.iter().map(function).collect(),
            version: STANDARD.encode(&self.version),
            codes: text(&self.codes),
            patterns: text(&self.patterns),
        };
        // Texts and numbers are always JSON; were they not, nothing is read.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// What [`Observed::to_bytes`] wrote; `None` for other bytes.
    pub fn from_bytes(written: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(written).ok()?;
        let map = |texts: BTreeMap<String, String>| {
            let pairs = texts.into_iter();
            pairs
                .map(|(key, value)| Some((bytes(&key).ok()?, bytes(&value).ok()?)))
                .collect::<Option<BTreeMap<_, _>>>()
        };
        let function = |one: WrittenFunction| {
            Some(Function {
                module: one.module,
                name: one.name,
                files: one.files,
                answers: map(one.answers)?,
                objection: one.objection,
            })
        };
        Some(Self {
            functions: written.functions.into_iter().map(function).collect::<Option<_>>()?,
            version: bytes(&written.version).ok()?,
            codes: map(written.codes)?,
            patterns: map(written.patterns)?,
        })
    }
}

/// What one process says; texts are base64.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Answer {
    functions: Vec<Said>,
    version: String,
    codes: BTreeMap<String, String>,
    patterns: BTreeMap<String, String>,
}

/// What one process says of a function.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Said {
    module: String,
    name: String,
    files: u64,
    against: String,
    answers: BTreeMap<String, String>,
    texts: BTreeMap<String, String>,
}

/// What a process is asked.
#[derive(Serialize)]
struct Question<'a> {
    folders: &'a [PathBuf],
    modules: &'a [String],
    closely: &'a [String],
}

/// Imports `modules`, in this order, with `python`, whose packages lie in `folders`, twice, and
/// gives what was the same.
///
/// # Errors
/// [`Error::Run`].
pub fn observe(python: &Path, folders: &[PathBuf], modules: &[String]) -> Result<Observed, Error> {
    let first = ask(python, &Question { folders, modules, closely: &[] }, 1)?;
    let names: Vec<String> =
        first.functions.iter().map(|one| format!("{}.{}", one.module, one.name)).collect();
    let second = ask(python, &Question { folders, modules, closely: &names }, 2)?;
    let fail = |reason: String| Error::Run { python: python.into(), reason };
    let functions = first.functions.iter().map(|one| agreed(one, &second.functions));
    Ok(Observed {
        functions: functions.collect::<Result<_, _>>().map_err(fail)?,
        version: bytes(&first.version).map_err(fail)?,
        codes: both(&first.codes, &second.codes).map_err(fail)?,
        patterns: both(&first.patterns, &second.patterns).map_err(fail)?,
    })
}

/// What two processes say alike.
fn both(
    one: &BTreeMap<String, String>,
    other: &BTreeMap<String, String>,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
    one.iter()
        .filter(|(key, value)| other.get(*key) == Some(value))
        .map(|(key, value)| Ok((bytes(key)?, bytes(value)?)))
        .collect()
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| error.to_string())
}

/// One function, as two processes agree on it.
fn agreed(one: &Said, others: &[Said]) -> Result<Function, String> {
    let other = others.iter().find(|other| other.module == one.module && other.name == one.name);
    let none = Said::default();
    let other_texts = &other.unwrap_or(&none).texts;
    let mut objection = [Some(one), other]
        .into_iter()
        .flatten()
        .map(|said| said.against.clone())
        .find(|against| !against.is_empty());
    if other.is_none() || one.texts.iter().any(|(key, text)| other_texts.get(key) != Some(text)) {
        objection = objection.or(Some("another process had another answer".into()));
    }
    let answers = one
        .answers
        .iter()
        .map(|(key, answer)| Ok((bytes(key)?, bytes(answer)?)))
        .collect::<Result<_, String>>()?;
    Ok(Function {
        module: one.module.clone(),
        name: one.name.clone(),
        files: one.files,
        answers,
        objection,
    })
}

/// Runs one process; sets are in the order that `seed` gives.
fn ask(python: &Path, question: &Question<'_>, seed: u32) -> Result<Answer, Error> {
    let fail = |reason: String| Error::Run { python: python.into(), reason };
    let question = serde_json::to_vec(question).map_err(|error| fail(error.to_string()))?;
    let seed = seed.to_string();
    let said = environment::ask(python, OBSERVE, &question, &[("PYTHONHASHSEED", &seed)]);
    let said = said.map_err(fail)?;
    if said.len() > MAX_SAID {
        return Err(fail("its answer is too long".to_owned()));
    }
    serde_json::from_slice(&said).map_err(|error| fail(error.to_string()))
}
