//! Sources as text and as trees, within limits.

use ruff_python_ast::ModModule;
use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, Parsed, lexer, parse_module};
use ruff_text_size::TextSize;
use std::path::Path;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// So many tokens may lie in one another. Python itself refuses 200 brackets, and sums of
/// some 3,000 terms.
const MAX_DEPTH: usize = 8_000;

/// So many blocks may lie in one another. Python refuses 100.
const MAX_INDENTS: usize = 200;

/// Bytes of stack for a tree of that depth: walking it, and taking it down, take up to 2 kB
/// for each level without optimisation. The system gives only what is touched.
const STACK: usize = 64 << 20;

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
    /// Nor does it understand what lies so deep.
    #[error("something in it is nested too deep")]
    Depth,
}

/// The text of the file at `path`.
///
/// # Errors
/// [`Unreadable::Read`], [`Unreadable::Size`] and [`Unreadable::Encoding`].
pub fn read(path: &Path) -> Result<String, Unreadable> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_BYTES {
        return Err(Unreadable::Size(size));
    }
    let bytes = std::fs::read(path)?;
    if let Some(other) = declared(&bytes) {
        return Err(Unreadable::Encoding(other));
    }
    let text = String::from_utf8(bytes);
    text.map_err(|_| Unreadable::Encoding("that is not UTF-8".into()))
}

/// Runs `work` on the tree of a module's `text`, with a stack that is large enough for it.
///
/// # Errors
/// [`Unreadable::Size`], [`Unreadable::Syntax`] and [`Unreadable::Depth`].
pub fn with_tree<T>(
    text: &str,
    work: impl FnOnce(&Parsed<ModModule>) -> T,
) -> Result<T, Unreadable> {
    if text.len() as u64 > MAX_BYTES {
        return Err(Unreadable::Size(text.len() as u64));
    }
    if is_too_deep(text) {
        return Err(Unreadable::Depth);
    }
    stacker::grow(STACK, || {
        let tree = parse_module(text).map_err(|error| {
            let at = error.location.start();
            Unreadable::Syntax { line: position(text, at).0, what: error.error.to_string() }
        })?;
        Ok(work(&tree))
    })
}

/// Whether something may lie deeper in the tree than [`MAX_DEPTH`].
///
/// What begins or continues an expression may lie one level deeper than what stands before
/// it, until a comma at the same brackets, or the line's end.
fn is_too_deep(text: &str) -> bool {
    let mut lexer = lexer::lex(text, Mode::Module);
    // For each open bracket, the tokens before it that count.
    let mut around: Vec<usize> = Vec::new();
    let (mut here, mut sum) = (0, 0);
    let mut indents = 0_usize;
    loop {
        match lexer.next_token() {
            TokenKind::EndOfFile => return false,
            TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => {
                around.push(here + 1);
                sum += here + 1;
                here = 0;
            }
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => {
                let before = around.pop().unwrap_or(0);
                sum -= before;
                here = before;
            }
            TokenKind::Comma | TokenKind::Semi => here = 0,
            TokenKind::Newline => {
                around.clear();
                (here, sum) = (0, 0);
            }
            TokenKind::Indent => indents += 1,
            TokenKind::Dedent => indents = indents.saturating_sub(1),
            // Neighbours are one string.
            TokenKind::String
            | TokenKind::FStringStart
            | TokenKind::FStringMiddle
            | TokenKind::FStringEnd
            | TokenKind::TStringStart
            | TokenKind::TStringMiddle
            | TokenKind::TStringEnd
            | TokenKind::NonLogicalNewline
            | TokenKind::Comment => {}
            _ => here += 1,
        }
        if sum + here > MAX_DEPTH || indents > MAX_INDENTS {
            return true;
        }
    }
}

/// Line and column of a place in `text`, from 1, the column in characters.
pub fn position(text: &str, at: TextSize) -> (usize, usize) {
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
    fn what_lies_too_deep_is_refused_before_it_is_parsed() {
        let count = 400_000;
        for text in [
            "(".repeat(count),
            format!("{}1{}", "(".repeat(count), ")".repeat(count)),
            format!("{}1{} = 2", "[".repeat(count), ",]".repeat(count)),
            format!("x = 1{}", "+1".repeat(count)),
            format!("x = {}1", "not ".repeat(count)),
            format!("{}x = 1", "-".repeat(count)),
            format!("x = {}1", "lambda: ".repeat(count)),
            format!("x = {}1", "1 if 1 else ".repeat(count)),
            format!("x{}", ".y".repeat(count)),
            format!("x{}", "(1, 2)".repeat(count)),
            format!("x = f'{}'", "{1+".repeat(count)),
            (0..900)
                .map(|depth| format!("{}if x:\n", " ".repeat(depth)))
                .collect::<Vec<_>>()
                .concat(),
        ] {
            let found = with_tree(&text, |_| ());
            assert!(matches!(found, Err(Unreadable::Depth)), "{}", &text[..20]);
        }
        // Long, and not deep.
        for text in [
            format!("x = [{}]", "-1, ".repeat(count)),
            format!("x = (\n{})\n", "'text'\n".repeat(count)),
            "x = 1\n".repeat(count),
            format!("x = 1{}", "+1".repeat(2_000)),
        ] {
            with_tree(&text, |tree| assert!(!tree.suite().is_empty())).unwrap();
        }
    }
}
