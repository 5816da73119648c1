//! Two runs of one command, and where they differ.

use crate::launch::own_caches;
use crate::{Error, OUTPUT_VARIABLE};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracer::{Observations, Options, Output, Status, Workload};

/// A run, with what it left.
#[derive(Debug)]
pub struct Outcome {
    /// What the process tree used.
    pub observations: Observations,
    stdout: PathBuf,
    folder: PathBuf,
    caches: PathBuf,
}

/// One difference between two runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Difference {
    /// Another exit code; a signal counts as a negative one.
    Exit {
        /// In the original environment.
        original: i32,
        /// In the package.
        packed: i32,
    },
    /// Other bytes on standard output.
    Output {
        /// The first line that differs, counted from 1.
        line: usize,
        /// That line in the original environment.
        original: String,
        /// That line in the package.
        packed: String,
    },
    /// A file under `$TAPER_VERIFY_OUT` that only one run has, or with other bytes.
    File {
        /// Its path in that folder.
        path: String,
        /// `missing`, `extra`, or `differs`.
        how: &'static str,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit { original, packed } => {
                let say = |code: &i32| match code {
                    code if *code < 0 => format!("was ended by signal {}", -code),
                    code => format!("ended with exit code {code}"),
                };
                write!(f, "the original {}, the package {}", say(original), say(packed))
            }
            Self::Output { line, original, packed } => write!(
                f,
                "standard output differs at line {line}: original {original:?}, package {packed:?}"
            ),
            Self::File { path, how } => match *how {
                "missing" => write!(f, "the package did not write {path}"),
                "extra" => write!(f, "only the package wrote {path}"),
                _ => write!(f, "{path} has other bytes"),
            },
        }
    }
}

/// Runs `workload` with its standard output in a file and an empty folder for its
/// results, both in `place`.
pub(crate) fn run(
    mut workload: Workload,
    place: &Path,
    roots: &[PathBuf],
    stop_after: Option<Duration>,
) -> Result<Outcome, Error> {
    let folder = place.join("results");
    fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
    let stdout = place.join("stdout");
    workload.stdout = Output::File(File::create(&stdout).map_err(Error::file(&stdout))?);
    workload.env.insert(OUTPUT_VARIABLE.into(), folder.clone().into());
    let caches = place.join("caches");
    own_caches(&mut workload, &caches);
    let options = Options { roots: roots.to_vec(), stop_after, ..Options::default() };
    let observations = tracer::run(workload, &options)?;
    Ok(Outcome { observations, stdout, folder, caches })
}

impl Outcome {
    /// The exit code, or minus the signal.
    pub fn exit(&self) -> i32 {
        match self.observations.status {
            Status::Exited(code) => code,
            Status::Signaled(signal) => -signal,
        }
    }

    /// Every file that the run left, by its path in the folder.
    pub fn files(&self) -> Result<BTreeMap<String, PathBuf>, Error> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(Error::file(&folder))? {
                let path = entry.map_err(Error::file(&folder))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.folder).unwrap_or(&path);
                    files.insert(name.to_string_lossy().into_owned(), path);
                }
            }
        }
        Ok(files)
    }
}

/// Everything in which `packed` is not as `original`.
pub(crate) fn differences(original: &Outcome, packed: &Outcome) -> Result<Vec<Difference>, Error> {
    let mut all = Vec::new();
    if original.exit() != packed.exit() {
        all.push(Difference::Exit { original: original.exit(), packed: packed.exit() });
    }
    // A program may print the folders that it writes to.
    let read = |outcome: &Outcome| -> Result<String, Error> {
        let bytes = fs::read(&outcome.stdout).map_err(Error::file(&outcome.stdout))?;
        let text = bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        let text = text.replace(&*outcome.folder.to_string_lossy(), OUTPUT_VARIABLE);
        Ok(text.replace(&*outcome.caches.to_string_lossy(), "caches"))
    };
    let (first, second) = (read(original)?, read(packed)?);
    if first != second {
        let (mut a, mut b) = (first.split('\n'), second.split('\n'));
        let mut line = 1;
        let (x, y) = loop {
            match (a.next(), b.next()) {
                (x, y) if x == y && x.is_some() => line += 1,
                (x, y) => break (x.unwrap_or(""), y.unwrap_or("")),
            }
        };
        let cut = |text: &str| text.chars().take(200).collect::<String>();
        all.push(Difference::Output { line, original: cut(x), packed: cut(y) });
    }
    let (left, right) = (original.files()?, packed.files()?);
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for name in names {
        let how = match (left.get(name), right.get(name)) {
            (Some(_), None) => "missing",
            (None, Some(_)) => "extra",
            (Some(a), Some(b)) => {
                let same =
                    fs::read(a).map_err(Error::file(a))? == fs::read(b).map_err(Error::file(b))?;
                if same {
                    continue;
                }
                "differs"
            }
            (None, None) => continue,
        };
        all.push(Difference::File { path: name.clone(), how });
    }
    Ok(all)
}
