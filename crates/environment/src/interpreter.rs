//! The interpreter and where it imports from.

use crate::ask::answer;
use crate::{Error, Sources};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The versions of CPython that taper is tested with. Its packages hold their bytecode, and
/// rest on how their import systems and garbage collectors work.
const TESTED: RangeInclusive<(u32, u32)> = (3, 10)..=(3, 15);

/// What an interpreter says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interpreter {
    /// The program, as it was named; a virtual environment's stays a link.
    pub executable: PathBuf,
    /// The program that a virtual environment is built on, links resolved.
    pub base_executable: PathBuf,
    /// `sys.prefix`, links resolved.
    pub prefix: PathBuf,
    /// `sys.base_prefix`, links resolved.
    pub base_prefix: PathBuf,
    /// The version as `3.11`.
    pub version: String,
    /// The version as `3.11.9`, or as `3.14.0rc2`.
    pub full_version: String,
    /// The machine that it runs on, as `uname -m` says it: `x86_64`.
    pub machine: String,
    /// The first bytes of its bytecode files, `importlib.util.MAGIC_NUMBER`.
    pub magic: [u8; 4],
    /// The folders that distributions are installed in, in the order in which they
    /// are searched, links resolved.
    pub site_packages: Vec<PathBuf>,
    /// What else it finds modules by.
    pub sources: Sources,
}

/// What [`QUESTION`] prints.
#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    sources: Sources,
    executable: String,
    base_executable: String,
    prefix: String,
    base_prefix: String,
    machine: String,
    magic: Vec<u8>,
    folders: Vec<String>,
}

/// What [`IDENTITY`] prints.
#[derive(Deserialize)]
struct Identity {
    version: [u32; 2],
    full_version: String,
    implementation: String,
    free_threaded: bool,
}

const IDENTITY: &str = include_str!("identity.py");

const QUESTION: &str = include_str!("question.py");

impl Interpreter {
    /// Asks the interpreter `python`, or else the one of `$VIRTUAL_ENV`, or else the
    /// first `python3` on the PATH.
    pub fn find(python: Option<&Path>) -> Result<Self, Error> {
        let venv = std::env::var_os("VIRTUAL_ENV").map(|venv| Path::new(&venv).join("bin/python"));
        let python = match python {
            Some(python) => python.to_path_buf(),
            None => venv.unwrap_or_else(|| "python3".into()),
        };
        if python.components().count() > 1 && !python.exists() {
            return Err(Error::NoInterpreter(python));
        }
        let fail = |reason: String| Error::Interpreter { python: python.clone(), reason };
        let said = |question: &str| {
            let mut command = Command::new(&python);
            command.args(["-B", "-c", question]).env_remove("PYTHONHOME");
            let done = answer(&mut command, b"").map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Error::NoInterpreter(python.clone()),
                _ => fail(error.to_string()),
            })?;
            if !done.status.success() {
                return Err(fail(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
            }
            Ok(done.stdout)
        };
        let identity: Identity =
            serde_json::from_slice(&said(IDENTITY)?).map_err(|error| fail(error.to_string()))?;
        let [major, minor] = identity.version;
        let version = format!("{major}.{minor}");
        let what = match () {
            () if identity.implementation != "CPython" => {
                format!("{} {}", identity.implementation, identity.full_version)
            }
            () if identity.free_threaded => {
                format!("a free-threaded build of Python {}", identity.full_version)
            }
            () if !TESTED.contains(&(major, minor)) => format!("Python {}", identity.full_version),
            () => String::new(),
        };
        if !what.is_empty() {
            return Err(Error::Untested { python, what });
        }
        let answer: Answer =
            serde_json::from_slice(&said(QUESTION)?).map_err(|error| fail(error.to_string()))?;
        let resolved = |path: &str| {
            let path = PathBuf::from(path);
            path.canonicalize().unwrap_or(path)
        };
        let mut site_packages = Vec::new();
        for folder in answer.folders.iter().map(|path| resolved(path)) {
            if folder.is_dir() && !site_packages.contains(&folder) {
                site_packages.push(folder);
            }
        }
        let sources = answer.sources.resolved();
        Ok(Self {
            executable: answer.executable.into(),
            base_executable: resolved(&answer.base_executable),
            prefix: resolved(&answer.prefix),
            base_prefix: resolved(&answer.base_prefix),
            version,
            full_version: identity.full_version,
            machine: answer.machine,
            magic: answer
                .magic
                .try_into()
                .map_err(|_| fail("its bytecode has an unknown form".into()))?,
            site_packages,
            sources,
        })
    }

    /// The minor version, 11 for Python 3.11.
    pub fn minor(&self) -> u32 {
        self.version.split_once('.').and_then(|(_, minor)| minor.parse().ok()).unwrap_or(0)
    }
}
