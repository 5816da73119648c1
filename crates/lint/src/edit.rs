//! Rewriting imports. Everything else stays as it was, to the byte.

use crate::source::Source;
use imports::Import;
use ruff_text_size::{TextRange, TextSize};
use std::collections::BTreeMap;

/// A name of an import that leaves its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The import.
    pub import: Import,
    /// Before which statement it is put, if anywhere.
    pub to: Option<TextSize>,
}

impl Change {
    /// It leaves.
    pub fn remove(import: &Import) -> Option<Self> {
        Some(Self { import: import.clone(), to: None })
    }

    /// It goes before the statement at `to`.
    pub fn moved(import: &Import, to: TextSize) -> Self {
        Self { import: import.clone(), to: Some(to) }
    }

    /// What keeps it from being made.
    pub fn obstacle(&self, source: &Source) -> Option<String> {
        let text = &source.text;
        let other = || Some("other statements share its line".to_owned());
        if let Some(to) = self.to
            && indent(text, to).is_none()
        {
            return other();
        }
        if alone(text, self.import.statement).is_none() {
            return other();
        }
        let slice = &text[self.import.statement];
        if self.import.number.1 > 1 && (slice.contains('\\') || slice.contains('#')) {
            return Some("its list of names has comments or broken lines".into());
        }
        None
    }
}

/// The white space before a statement that starts its line.
fn indent(text: &str, at: TextSize) -> Option<&str> {
    let before = &text[..at.to_usize()];
    let line = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
    line.chars().all(|letter| letter == ' ' || letter == '\t').then_some(line)
}

/// The whole lines of a statement that has them to itself, but for a comment after it.
fn alone(text: &str, statement: TextRange) -> Option<std::ops::Range<usize>> {
    let indent = indent(text, statement.start())?.len();
    let end = statement.end().to_usize();
    let rest = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
    let after = text[end..rest].trim();
    (after.is_empty() || after.starts_with('#'))
        .then_some(statement.start().to_usize() - indent..rest)
}

/// `source` with the `changes` made. Those that stand in each other's way wait for the next
/// time.
pub fn apply(source: &Source, changes: &[&Change]) -> String {
    let text = &source.text;
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut edits: Vec<(std::ops::Range<usize>, String)> = Vec::new();
    let mut by_statement: BTreeMap<usize, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        by_statement.entry(change.import.statement.start().to_usize()).or_default().push(change);
    }
    let mut put: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for changes in by_statement.values() {
        let Some(first) = changes.first() else { continue };
        let statement = first.import.statement;
        let Some(lines) = alone(text, statement) else { continue };
        let whole = changes.len() == first.import.number.1;
        // A comment after a name goes with it.
        let comment = text[statement.end().to_usize()..lines.end].trim();
        for change in changes {
            if let Some(to) = change.to {
                let mut line = change.import.text();
                if whole && !comment.is_empty() {
                    line = format!("{line}  {comment}");
                }
                put.entry(to.to_usize()).or_default().push(line);
            }
        }
        if whole {
            edits.push((lines, String::new()));
        } else {
            edits.push(names(source, changes));
        }
    }
    for (at, lines) in put {
        let indent = indent(text, TextSize::new(at as u32)).unwrap_or_default();
        let end = format!("{newline}{indent}");
        edits.push((at..at, lines.join(&end) + &end));
    }
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (range, new) in edits {
        if range.start < done {
            return text.clone();
        }
        out.push_str(&text[done..range.start]);
        out.push_str(&new);
        done = range.end;
    }
    out.push_str(&text[done..]);
    // What Python would not take is not written.
    match Source::new(&source.path, out) {
        Ok(made) => made.text,
        Err(_) => text.clone(),
    }
}

/// The edit that takes names out of a statement's list.
fn names(source: &Source, changes: &[&Change]) -> (std::ops::Range<usize>, String) {
    let statement = changes[0].import.statement;
    let all: Vec<&Import> =
        source.uses.imports.iter().filter(|import| import.statement == statement).collect();
    let left: Vec<&Import> = all
        .iter()
        .copied()
        .filter(|import| !changes.iter().any(|change| change.import.alias == import.alias))
        .collect();
    let slice = &source.text[statement];
    let (Some(first), Some(last)) = (all.first(), all.last()) else {
        return (0..0, String::new());
    };
    // Between two names of the old list lies what is to lie between those of the new one.
    let between = match all.get(1) {
        Some(second) => &source.text[TextRange::new(first.alias.end(), second.alias.start())],
        None => ", ",
    };
    let between = if slice.contains('\n') { between } else { ", " };
    let kept: Vec<&str> = left.iter().map(|import| &source.text[import.alias]).collect();
    (first.alias.start().to_usize()..last.alias.end().to_usize(), kept.join(between))
}
