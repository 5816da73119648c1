//! What workloads were seen to use, as one versioned file that merges.
//!
//! A profile holds paths relative to a site-packages folder, with `/` between
//! parts, so it survives a move of the environment. It is tied to the content of
//! each library: page numbers mean nothing in another build.

mod operators;
mod restored;

pub use operators::{OPERATORS_FORMAT, OperatorUse, RunOperators};
pub use restored::Restored;

use elf::PageSet;
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The version of the file format that this code reads and writes.
pub const FORMAT: u32 = 1;

/// The largest profile that is read, in bytes. A large application's takes a few
/// megabytes.
const MAX_BYTES: u64 = 1 << 30;

/// What one or more runs used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`FORMAT`].
    pub format: u32,
    /// The Python version as `3.11`.
    pub python: String,
    /// The version of torch.
    pub torch: String,
    /// The device that the package is for, `cpu`: the runs saw the environment as
    /// a package for it would be.
    pub target: String,
    /// The runs, in the order in which they were traced.
    pub runs: Vec<Run>,
    /// The shared libraries that were loaded, and their touched pages.
    pub libraries: BTreeMap<String, LibraryUse>,
    /// Files that were opened, libraries included, in the order of their first opening.
    pub opened: IndexSet<String>,
    /// Files whose existence or size was asked for, but that were not opened.
    pub probed: BTreeSet<String>,
    /// The operators that runs used. Profiles of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operators: Option<RunOperators>,
}

/// One traced run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The command.
    pub command: Vec<String>,
    /// The CPU capability that libraries were told to use: `avx512`, `avx2`, `default`.
    pub capability: String,
    /// Its exit code.
    pub exit: i32,
    /// Processes that it consisted of.
    pub processes: u64,
}

/// What was used of one library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryUse {
    /// The build id note in hexadecimal, where the library has one.
    pub build_id: Option<String>,
    /// The BLAKE3 hash of the file in hexadecimal.
    pub content: String,
    /// Whether threads other than their process's first ran code of it: which of its
    /// paths run may then differ from run to run.
    pub threaded: bool,
    /// The pages that were touched: unrelocated address divided by the page size.
    pub pages: PageSet,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the profile {path}: {source}")]
    Read {
        /// The profile.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a profile, or damaged.
    #[error("{path} is not a profile that this version reads: {reason}; trace again")]
    Malformed {
        /// The profile.
        path: String,
        /// Where it stops making sense.
        reason: String,
    },
    /// Two profiles, or a profile and an environment, do not belong together.
    #[error(
        "{what} changed since the profile was made: it was {was}, now it is {now}; trace again"
    )]
    Changed {
        /// The library or program.
        what: String,
        /// Its identity in the profile.
        was: String,
        /// Its identity now.
        now: String,
    },
    /// A library of the profile is gone.
    #[error(
        "{0}, which the profile uses, is not in the environment; trace again or name the environment with --python"
    )]
    Missing(String),
}

impl Profile {
    /// A profile without runs.
    pub fn new(python: &str, torch: &str, target: &str) -> Self {
        Self {
            format: FORMAT,
            python: python.into(),
            torch: torch.into(),
            target: target.into(),
            runs: Vec::new(),
            libraries: BTreeMap::new(),
            opened: IndexSet::new(),
            probed: BTreeSet::new(),
            operators: None,
        }
    }

    /// Reads the profile at `path`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let fail = |source| Error::Read { path: name.clone(), source };
        let size = std::fs::metadata(path).map_err(fail)?.len();
        if size > MAX_BYTES {
            let reason = format!("it has {size} bytes");
            return Err(Error::Malformed { path: name, reason });
        }
        let text = std::fs::read(path).map_err(fail)?;
        Self::from_bytes(&text, &name)
    }

    /// Parses the bytes of a profile; `name` is used in errors.
    pub fn from_bytes(text: &[u8], name: &str) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { path: name.into(), reason };
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => return Err(malformed(format!("its format is {format}, not {FORMAT}"))),
            None => return Err(malformed("it has no format number".into())),
        }
        if let Some(format) = value.pointer("/operators/format").and_then(serde_json::Value::as_u64)
            && format != u64::from(OPERATORS_FORMAT)
        {
            let known = OPERATORS_FORMAT;
            return Err(malformed(format!("its operators have format {format}, not {known}")));
        }
        serde_json::from_value(value).map_err(|error| malformed(error.to_string()))
    }

    /// The profile as the bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Maps with string keys and numbers always serialise.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Adds what `other` saw.
    ///
    /// # Errors
    /// [`Error::Changed`] when the two were made from different builds.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        for (what, was, now) in [
            ("Python", &self.python, &other.python),
            ("torch", &self.torch, &other.torch),
            ("the target", &self.target, &other.target),
        ] {
            if was != now {
                return Err(changed(what, was, now));
            }
        }
        for (name, theirs) in &other.libraries {
            match self.libraries.get_mut(name) {
                None => {
                    self.libraries.insert(name.clone(), theirs.clone());
                }
                Some(mine) if mine.content == theirs.content => {
                    mine.threaded |= theirs.threaded;
                    mine.pages.union(&theirs.pages);
                }
                Some(mine) => return Err(changed(name, &mine.content, &theirs.content)),
            }
        }
        for run in &other.runs {
            if !self.runs.contains(run) {
                self.runs.push(run.clone());
            }
        }
        self.opened.extend(other.opened.iter().cloned());
        self.probed.extend(other.probed.iter().cloned());
        let Self { opened, probed, .. } = self;
        probed.retain(|path| !opened.contains(path));
        if let Some(theirs) = &other.operators {
            self.operators.get_or_insert_default().merge(theirs);
        }
        Ok(())
    }

    /// Checks that every library is the one that was traced. `content` gives the
    /// BLAKE3 hash of a library of the environment in hexadecimal, or `None` where
    /// it is gone.
    pub fn check_fits(
        &self,
        mut content: impl FnMut(&str) -> std::io::Result<Option<String>>,
    ) -> Result<(), Error> {
        for (name, used) in &self.libraries {
            let now = content(name)
                .map_err(|source| Error::Read { path: name.clone(), source })?
                .ok_or_else(|| Error::Missing(name.clone()))?;
            if now != used.content {
                return Err(changed(name, &used.content, &now));
            }
        }
        Ok(())
    }

    /// The CPU capabilities that the runs used.
    pub fn capabilities(&self) -> BTreeSet<&str> {
        self.runs.iter().map(|run| run.capability.as_str()).collect()
    }
}

fn changed(what: &str, was: &str, now: &str) -> Error {
    let short = |text: &str| text.chars().take(16).collect::<String>();
    Error::Changed { what: what.into(), was: short(was), now: short(now) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(content: &str, pages: &[u64]) -> Profile {
        let mut profile = Profile::new("3.11", "2.15.0", "cpu");
        let library = LibraryUse {
            build_id: None,
            content: content.into(),
            threaded: false,
            pages: pages.iter().copied().collect(),
        };
        profile.libraries.insert("torch/lib/libtorch_cpu.so".into(), library);
        profile
    }

    #[test]
    fn merging_unites_pages_and_names_a_changed_library() {
        let mut first = profile("aa", &[1, 2]);
        first.merge(&profile("aa", &[2, 9])).unwrap();
        assert_eq!(first.libraries["torch/lib/libtorch_cpu.so"].pages.len(), 3);
        let error = first.merge(&profile("bb", &[1])).unwrap_err().to_string();
        assert!(error.contains("libtorch_cpu.so changed"), "{error}");
    }

    #[test]
    fn a_profile_survives_its_file_and_damage_is_named() {
        let first = profile("aa", &[1, 2]);
        let bytes = first.to_bytes();
        assert_eq!(Profile::from_bytes(&bytes, "p").unwrap(), first);
        for damaged in [&bytes[..bytes.len() / 2], b"", b"{}", b"{\"format\":99}"] {
            assert!(matches!(Profile::from_bytes(damaged, "p"), Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn operators_are_a_part_that_merges_and_may_be_missing() {
        let mut first = profile("aa", &[1]);
        let old = first.to_bytes();
        assert!(!String::from_utf8_lossy(&old).contains("operators"));
        assert_eq!(Profile::from_bytes(&old, "p").unwrap().operators, None);
        let used = OperatorUse {
            calls: 2,
            direct: 1,
            backward: 1,
            dtypes: ["float32".to_owned()].into(),
            ..OperatorUse::default()
        };
        let mut other = profile("aa", &[2]);
        let seen = other.operators.get_or_insert_default();
        seen.operators.insert("aten::mm".into(), used);
        first.merge(&other).unwrap();
        first.merge(&other).unwrap();
        let bytes = first.to_bytes();
        assert_eq!(Profile::from_bytes(&bytes, "p").unwrap(), first);
        let merged = &first.operators.unwrap().operators["aten::mm"];
        assert_eq!((merged.calls, merged.direct, merged.dtypes.len()), (4, 2, 1));
        assert!(merged.trains());
        let newer = String::from_utf8(bytes)
            .unwrap()
            .replace("\"format\":1,\"commands", "\"format\":9,\"commands");
        let error = Profile::from_bytes(newer.as_bytes(), "p").unwrap_err().to_string();
        assert!(error.contains("operators have format 9"), "{error}");
    }

    #[test]
    fn a_changed_or_missing_library_is_refused_by_name() {
        let profile = profile("aa", &[1]);
        assert!(profile.check_fits(|_| Ok(Some("aa".into()))).is_ok());
        assert!(matches!(profile.check_fits(|_| Ok(None)), Err(Error::Missing(_))));
        assert!(matches!(profile.check_fits(|_| Ok(Some("b".into()))), Err(Error::Changed { .. })));
    }
}
