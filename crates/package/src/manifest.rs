//! `taper.json`, which describes a package.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the package's layout.
pub const FORMAT: u32 = 1;

/// The name of the description in a package.
pub const MANIFEST: &str = "taper.json";

/// What a package is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of taper that wrote it.
    pub taper: String,
    /// The Python version that it runs under, as `3.11`.
    pub python: String,
    /// The version of torch in it.
    pub torch: String,
    /// The device, `cpu`.
    pub target: String,
    /// The CPU instruction set that it may run on, as `--cpu` said it.
    pub cpu: String,
    /// The CPU capabilities that workloads were traced under.
    pub capabilities: Vec<String>,
    /// What became of code that no workload used: `drop`.
    pub cold: String,
    /// Sizes in bytes.
    pub bytes: Bytes,
    /// Numbers of files.
    pub files: Files,
    /// Whether the workload gave the same results: `null` where it was not run.
    pub verified: Option<bool>,
    /// Bytes of the package by the reason for which they are in it.
    pub reasons: BTreeMap<String, u64>,
    /// Groups of modules that may be deferred, by their first module, with the other modules
    /// of each, or with what speaks against that.
    #[serde(default)]
    pub deferred: BTreeMap<String, Deferred>,
    /// Functions that remember what they would read the package's own files for, or what speaks
    /// against that.
    #[serde(default)]
    pub remembered: BTreeMap<String, Remembered>,
    /// Libraries that were copied whole because they were not understood, with why.
    pub whole: BTreeMap<String, String>,
}

/// A group of modules that was to be deferred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// Whether it is.
    pub waits: bool,
    /// The modules.
    pub modules: Vec<String>,
    /// What the modules change that nothing would notice in time.
    pub objections: Vec<String>,
}

/// A function that read files of the environment to answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Whether it remembers its answers.
    pub remembers: bool,
    /// Calls that it has answers to.
    pub calls: u64,
    /// Files that it read for them.
    pub files: u64,
    /// What speaks against remembering them.
    pub objection: Option<String>,
}

/// Sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// The distributions in scope, as installed.
    pub original: u64,
    /// The regular files of the package, this description included.
    pub package: u64,
    /// Bytes of the original that are in the package as they were.
    pub hot: u64,
    /// Bytes that the compressed part takes.
    pub cold_stored: u64,
    /// Bytes of the original that the compressed part holds.
    pub cold_original: u64,
    /// Bytes of the original that are not in the package.
    pub out: u64,
}

/// Numbers of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// In scope, as installed.
    pub original: u64,
    /// In the package.
    pub package: u64,
}

impl Manifest {
    /// The file's bytes, with [`Bytes::package`] set to `others`, the size of all
    /// other files, plus their own number.
    pub fn to_bytes(&mut self, others: u64) -> Vec<u8> {
        self.bytes.package = others;
        loop {
            // Structs of strings and numbers always serialise.
            let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
            text.push(b'\n');
            let total = others + text.len() as u64;
            if total == self.bytes.package {
                return text;
            }
            self.bytes.package = total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_counts_the_description_itself() {
        let mut manifest = Manifest {
            format: FORMAT,
            taper: "0".into(),
            python: "3.11".into(),
            torch: "2".into(),
            target: "cpu".into(),
            cpu: "any".into(),
            capabilities: Vec::new(),
            cold: "drop".into(),
            bytes: Bytes::default(),
            files: Files::default(),
            verified: None,
            reasons: BTreeMap::new(),
            deferred: BTreeMap::new(),
            remembered: BTreeMap::new(),
            whole: BTreeMap::new(),
        };
        for others in [0, 9_000, 99_500, 99_999_600] {
            let text = manifest.to_bytes(others);
            assert_eq!(manifest.bytes.package, others + text.len() as u64);
            assert_eq!(serde_json::from_slice::<Manifest>(&text).unwrap(), manifest);
        }
    }
}
