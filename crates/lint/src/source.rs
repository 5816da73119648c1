//! One file of an application's.

use crate::uses::Uses;
use ruff_text_size::TextSize;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Why a file is left alone.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It could not be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// It is larger than 16 MiB.
    #[error("it has {0} bytes; files of up to 16 MiB are read")]
    Size(u64),
    /// It is not UTF-8, or says that it is something else (PEP 263).
    #[error("it is in the encoding {0}; save it as UTF-8")]
    Encoding(String),
    /// Python does not understand it either.
    #[error("line {line}: {what}")]
    Syntax {
        /// The line.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// A file that was read and understood.
#[derive(Debug)]
pub struct Source {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What it says.
    pub uses: Uses,
}

impl Source {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        let size = std::fs::metadata(path)?.len();
        if size > MAX_BYTES {
            return Err(Unreadable::Size(size));
        }
        let bytes = std::fs::read(path)?;
        if let Some(other) = declared(&bytes) {
            return Err(Unreadable::Encoding(other));
        }
        let text = String::from_utf8(bytes);
        Self::new(path, text.map_err(|_| Unreadable::Encoding("that is not UTF-8".into()))?)
    }

    /// Takes `text` apart.
    ///
    /// # Errors
    /// [`Unreadable::Syntax`].
    pub fn new(path: &Path, text: String) -> Result<Self, Unreadable> {
        let parsed = ruff_python_parser::parse_module(&text).map_err(|error| {
            let at = error.location.start();
            Unreadable::Syntax { line: position(&text, at).0, what: error.error.to_string() }
        })?;
        let uses = Uses::of(parsed.suite());
        Ok(Self { path: path.into(), text, uses })
    }

    /// Line and column, from 1, the column in characters.
    pub fn position(&self, at: TextSize) -> (usize, usize) {
        position(&self.text, at)
    }

    /// The lines that a part of the text touches.
    pub fn lines(&self, range: ruff_text_size::TextRange) -> &str {
        let (start, end) = (range.start().to_usize(), range.end().to_usize());
        let start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at);
        &self.text[start..end]
    }
}

fn position(text: &str, at: TextSize) -> (usize, usize) {
    let before = &text[..at.to_usize().min(text.len())];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The encoding that one of the first two lines declares, unless it is UTF-8.
fn declared(bytes: &[u8]) -> Option<String> {
    let mut lines = bytes.split(|byte| *byte == b'\n').take(2);
    let comment = lines.find(|line| {
        line.trim_ascii_start().starts_with(b"#") && {
            line.windows(6).any(|word| word == b"coding")
        }
    })?;
    let text = String::from_utf8_lossy(comment);
    let (_, rest) = text.split_once("coding")?;
    let rest = rest.strip_prefix([':', '='])?.trim_start();
    let name = rest.split(|letter: char| !letter.is_alphanumeric() && !"-_.".contains(letter));
    let name = name.into_iter().next()?.to_ascii_lowercase().replace('_', "-");
    (!["utf-8", "utf8", "ascii", "us-ascii", "u8"].contains(&name.as_str())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_seen_where_python_looks_for_them() {
        assert_eq!(declared(b"# -*- coding: latin-1 -*-\n"), Some("latin-1".into()));
        assert_eq!(declared(b"#!/x\n# vim: set fileencoding=cp1252 :\n"), Some("cp1252".into()));
        assert_eq!(declared(b"# coding=UTF_8\n"), None);
        assert_eq!(declared(b"x = 1\n\n# coding: latin-1\n"), None);
    }

    #[test]
    fn an_error_of_syntax_has_its_line() {
        let error = Source::new(Path::new("a.py"), "x = 1\ndef f(:\n".into()).unwrap_err();
        assert!(matches!(error, Unreadable::Syntax { line: 2, .. }), "{error}");
    }
}
