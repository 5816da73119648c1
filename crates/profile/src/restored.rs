//! What packages brought back while they ran: the other source of a profile.
//!
//! A program that runs from a package with `TAPER_PROFILE=DIR` leaves a file in DIR for each
//! of its processes, `PID.restored`, with a line for each page that was cold (or was called
//! and not there) and each module that was cold:
//!
//! ```text
//! page 0123456789abcdef 4711 torch/lib/libtorch_cpu.so
//! module torch/fft/__init__.py
//! ```
//!
//! The sixteen digits are the first of the BLAKE3 hash of the library as it was installed.

use crate::{Error, changed};
use format::record;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

/// The largest file that is read, in bytes. All pages of PyTorch's libraries for the CPU
/// are 150,000 lines of fifty bytes.
const MAX_BYTES: u64 = 1 << 26;

/// What was brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// For each library the first digits of its hash, and pages.
    pub libraries: BTreeMap<String, (String, BTreeSet<u64>)>,
    /// The sources of modules.
    pub modules: BTreeSet<String>,
    /// How many processes recorded something.
    pub processes: u64,
}

impl Restored {
    /// Reads the records in `folder`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Malformed`], or [`Error::Changed`] where records are of two
    /// builds of one library.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let fail = |path: &Path, source| Error::Read { path: path.display().to_string(), source };
        let mut all = Self::default();
        for entry in fs::read_dir(folder).map_err(|error| fail(folder, error))? {
            let path = entry.map_err(|error| fail(folder, error))?.path();
            if !path.as_os_str().as_encoded_bytes().ends_with(record::ENDING.as_bytes()) {
                continue;
            }
            let mut text = Vec::new();
            let file = fs::File::open(&path).map_err(|error| fail(&path, error))?;
            let limit = file.take(MAX_BYTES + 1).read_to_end(&mut text);
            let name = path.display().to_string();
            let malformed = |reason| Error::Malformed { path: name.clone(), reason };
            if limit.map_err(|error| fail(&path, error))? as u64 > MAX_BYTES {
                return Err(malformed(format!("it has more than {MAX_BYTES} bytes")));
            }
            all.add(&text, &name)?;
        }
        Ok(all)
    }

    /// Adds the lines of one file; `name` is used in errors.
    ///
    /// # Errors
    /// As [`Restored::read`].
    pub fn add(&mut self, text: &[u8], name: &str) -> Result<(), Error> {
        // A process that was killed, or a full disk, may leave a part of a line.
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        for (number, line) in text[..end].split(|byte| *byte == b'\n').enumerate() {
            let line = std::str::from_utf8(line).ok();
            self.line(line.unwrap_or_default())?.ok_or_else(|| Error::Malformed {
                path: name.into(),
                reason: format!("line {} is not a record", number + 1),
            })?;
        }
        self.processes += 1;
        Ok(())
    }

    /// Adds a line; `None` if it is not a record.
    fn line(&mut self, line: &str) -> Result<Option<()>, Error> {
        if let Some(module) = line.strip_prefix(record::MODULE) {
            self.modules.insert(module.to_owned());
            return Ok(Some(()));
        }
        let parts = || {
            let (hash, rest) = line.strip_prefix(record::PAGE)?.split_once(' ')?;
            let (page, library) = rest.split_once(' ')?;
            let page = page.parse::<u64>().ok()?;
            let digits = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            digits.then_some((hash, page, library))
        };
        let Some((hash, page, library)) = parts() else { return Ok(None) };
        let known = self
            .libraries
            .entry(library.to_owned())
            .or_insert_with(|| (hash.to_owned(), BTreeSet::new()));
        if known.0 != hash {
            return Err(changed(library, &known.0, hash));
        }
        known.1.insert(page);
        Ok(Some(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "page 0123456789abcdef 7 torch/lib/a b.so\n\
        page 0123456789abcdef 9 torch/lib/a b.so\nmodule torch/fft/__init__.py\n";

    fn of(text: &str) -> Result<Restored, Error> {
        let mut all = Restored::default();
        all.add(text.as_bytes(), "1.restored").map(|()| all)
    }

    #[test]
    fn lines_are_pages_and_modules() {
        let all = of(LINES).unwrap();
        let (hash, pages) = &all.libraries["torch/lib/a b.so"];
        assert_eq!((hash.as_str(), pages.len()), ("0123456789abcdef", 2));
        assert_eq!(all.modules.len(), 1);
        // The last line was not written to its end.
        assert_eq!(of(&format!("{LINES}page 0123")).unwrap(), all);
    }

    #[test]
    fn what_is_no_record_is_said_by_file_and_line() {
        for line in ["page x 7 a.so", "page 0123456789abcdef -1 a.so", "nonsense", "page"] {
            let error = of(&format!("{LINES}{line}\n")).unwrap_err().to_string();
            assert!(error.contains("1.restored") && error.contains("line 4"), "{error}");
        }
        let other = LINES.replace("def 9", "dee 9");
        assert!(of(&other).unwrap_err().to_string().contains("a b.so changed"));
    }
}
