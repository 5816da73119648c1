//! What writing a package came to.

use crate::unit::Check;
use package::Written;
use plan::Reason;
use startup::answers::Observed;
use std::collections::BTreeMap;

/// What was written, and how many of its bytes are the original's.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The files.
    pub written: Vec<Written>,
    /// Bytes of the original that are in the package as they were.
    pub hot: u64,
    /// Bytes that the stores of the package take.
    pub stored: u64,
    /// Bytes of the original in the stores.
    pub stored_original: u64,
    /// Bytes of the package by reason.
    pub reasons: BTreeMap<String, u64>,
    /// The largest files, with why they are there.
    pub largest: Vec<(String, u64, Reason)>,
    /// What imports find out each time.
    pub observed: Observed,
}

/// Files of which a person is told.
const LARGEST: usize = 5;

/// A file that was written, and what it was planned as.
pub struct Filed {
    /// The file.
    pub written: Written,
    /// Why it is in the package.
    pub reason: Reason,
    /// Bytes of the original in it.
    pub hot: u64,
    /// What the second reader compares with.
    pub check: Option<Check>,
}

impl Outcome {
    /// Counts `files`.
    pub fn add(&mut self, mut files: Vec<Filed>) {
        files.sort_by(|a, b| a.written.path.cmp(&b.written.path));
        for file in files {
            let (path, size) = (file.written.path.clone(), file.written.size);
            self.hot += file.hot;
            *self.reasons.entry(file.reason.text().to_owned()).or_default() += size;
            self.largest.push((path, size, file.reason));
            self.written.push(file.written);
        }
        self.largest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        self.largest.truncate(LARGEST);
    }
}
