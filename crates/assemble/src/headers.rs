//! The store of what only compilers and linkers read.

use crate::unit::Unit;
use anyhow::Result;
use environment::Environment;
use package::{Content, Level};
use plan::{Action, Plan, Reason};

/// The store, its bytes, and those of the original in it; nothing where `plan` compresses
/// no such file.
pub fn compressed<'a>(
    environment: &Environment,
    plan: &Plan,
    level: Level,
) -> Result<Option<(Unit<'a>, u64, u64)>> {
    let mut files = Vec::new();
    for file in plan.files.iter().filter(|file| file.action == Action::Compress) {
        let path = environment.source(&environment.files[file.index]);
        let bytes = std::fs::read(&path).map_err(|source| package::Error::Read { path, source })?;
        files.push((file.path.clone(), bytes));
    }
    if files.is_empty() {
        return Ok(None);
    }
    let original = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    // The plan's order puts `a-b/c` before `a/c`.
    files.sort_by(|one, other| folder(&one.0).cmp(&folder(&other.0)));
    let entry = package::headers(&files, level)?;
    let stored = match &entry.content {
        Content::Bytes(bytes) => bytes.len() as u64,
        _ => 0,
    };
    Ok(Some((Unit { entry, reason: Reason::Tools, hot: 0, check: None }, stored, original)))
}

/// A path as its folder and its name.
fn folder(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
