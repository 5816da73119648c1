//! One file of an application's.

use crate::uses::Uses;
use imports::Unreadable;
use ruff_text_size::TextSize;
use std::path::{Path, PathBuf};

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
        Self::new(path, imports::read(path)?)
    }

    /// Takes `text` apart.
    ///
    /// # Errors
    /// [`Unreadable::Syntax`] and [`Unreadable::Depth`].
    pub fn new(path: &Path, text: String) -> Result<Self, Unreadable> {
        let uses = imports::with_tree(&text, |tree| Uses::of(tree.suite()))?;
        Ok(Self { path: path.into(), text, uses })
    }

    /// Line and column, from 1, the column in characters.
    pub fn position(&self, at: TextSize) -> (usize, usize) {
        imports::position(&self.text, at)
    }

    /// The lines that a part of the text touches.
    pub fn lines(&self, range: ruff_text_size::TextRange) -> &str {
        let (start, end) = (range.start().to_usize(), range.end().to_usize());
        let start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at);
        &self.text[start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_syntax_has_its_line() {
        let error = Source::new(Path::new("a.py"), "x = 1\ndef f(:\n".into()).unwrap_err();
        assert!(matches!(error, Unreadable::Syntax { line: 2, .. }), "{error}");
    }
}
