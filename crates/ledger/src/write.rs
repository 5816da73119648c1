//! The writer.

use crate::entry::{About, File, Form, Library};
use crate::numbers::put;
use crate::{Error, FORMAT, Ledger};
use elf::{PageNumber, PageSet};
use plan::{LibraryPages, Reason};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use store::{Level, Writer};

/// Chunk 0.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub format: u32,
    pub about: About,
    pub reasons: Vec<Reason>,
    pub libraries: BTreeMap<String, Described>,
}

/// A library without its pages.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soname: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bound_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<String>,
    pub absent: u64,
}

/// In a file's code: bytecode lies beside it.
pub const TWIN: u8 = 0x80;

/// What became of pages, in the record.
pub const LOADER: u64 = 1;
pub const TOUCHED: u64 = 2;
pub const ADDRESSED: u64 = 3;
pub const COLD: u64 = 4;

/// Where Python `python`, as `3.11`, caches the bytecode of the module at `source`.
pub fn twin_of(source: &str, python: &str) -> Option<String> {
    let minor = python.split('.').nth(1)?.parse().ok()?;
    source.strip_suffix(".py")?;
    Some(environment::bytecode_of(source, minor))
}

impl Ledger {
    /// The bytes of the record.
    ///
    /// # Errors
    /// [`Error::Write`] if memory is short, or a chunk would have more than 64 MiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let head = Head {
            format: FORMAT,
            about: self.about.clone(),
            reasons: self.reasons(),
            libraries: self
                .libraries
                .iter()
                .map(|(path, one)| (path.clone(), one.into()))
                .collect(),
        };
        let reason = |reason: Reason| {
            head.reasons.iter().position(|known| *known == reason).unwrap_or(0) as u8
        };
        let twins = self.twins();
        let hidden: BTreeSet<&str> = twins.values().map(|twin| twin.path.as_str()).collect();
        let (mut paths, mut codes, mut reasons, mut sizes, mut owners, mut orders, mut twin) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut before = "";
        for file in self.files.iter().filter(|file| !hidden.contains(file.path.as_str())) {
            let shared = before.bytes().zip(file.path.bytes()).take_while(|(a, b)| a == b).count();
            let shared = shared.min(255);
            paths.push(shared as u8);
            paths.extend(&file.path.as_bytes()[shared..]);
            paths.push(0);
            before = &file.path;
            let beside = twins.get(file.path.as_str());
            codes.push(file.form.code() | if beside.is_some() { TWIN } else { 0 });
            reasons.push(reason(file.reason));
            put(&mut sizes, file.size);
            put(&mut owners, file.owner.map_or(0, |owner| u64::from(owner) + 1));
            put(&mut orders, file.order.map_or(0, |order| u64::from(order) + 1));
            if let Some(beside) = beside {
                put(&mut twin, beside.size);
                twin.push(reason(beside.reason));
            }
        }
        let mut pages = Vec::new();
        for library in self.libraries.values() {
            let runs = runs(&library.pages);
            put(&mut pages, runs.len() as u64);
            for (length, state) in runs {
                put(&mut pages, length << 3 | state);
            }
        }
        let failed =
            |error: &dyn std::fmt::Display| Error::Write(std::io::Error::other(error.to_string()));
        let head = serde_json::to_vec(&head).map_err(|error| failed(&error))?;
        let mut columns = Vec::new();
        put(&mut columns, codes.len() as u64);
        for column in [codes, reasons, sizes, owners, orders, twin] {
            columns.extend(column);
        }
        let mut writer = Writer::new();
        for chunk in [head, paths, columns, pages] {
            writer.add(chunk).map_err(|_| failed(&"it has more than 64 MiB"))?;
        }
        writer.finish(Level::Max).map(|(bytes, _)| bytes).map_err(Error::Write)
    }

    /// The reasons that occur.
    fn reasons(&self) -> Vec<Reason> {
        let all: BTreeSet<Reason> = self.files.iter().map(|file| file.reason).collect();
        all.into_iter().collect()
    }

    /// By the path of a module, the bytecode beside it of which no more is to be said than its
    /// size and reason.
    fn twins(&self) -> BTreeMap<&str, &File> {
        let twin = |source: &File| {
            let path = twin_of(&source.path, &self.about.python)?;
            self.file(&path).filter(|twin| {
                twin.form == Form::Out && twin.owner == source.owner && twin.order.is_none()
            })
        };
        self.files.iter().filter_map(|file| Some((file.path.as_str(), twin(file)?))).collect()
    }
}

impl From<&Library> for Described {
    fn from(library: &Library) -> Self {
        Self {
            soname: library.soname.clone(),
            needed: library.needed.clone(),
            bound_by: library.bound_by.clone(),
            build_id: library.build_id.clone(),
            content: library.content.clone(),
            whole: library.whole.clone(),
            absent: library.pages.absent,
        }
    }
}

/// The pages of a library as runs: how many, and what became of them, 0 for those that are in
/// none of the sets.
fn runs(pages: &LibraryPages) -> Vec<(u64, u64)> {
    let sets: [(&PageSet, u64); 4] = [
        (&pages.loader, LOADER),
        (&pages.touched, TOUCHED),
        (&pages.addressed, ADDRESSED),
        (&pages.cold, COLD),
    ];
    let mut all: Vec<(Range<PageNumber>, u64)> = sets
        .into_iter()
        .flat_map(|(set, state)| set.runs().into_iter().map(move |run| (run, state)))
        .collect();
    all.sort_by_key(|(run, _)| run.start);
    let (mut out, mut at) = (Vec::new(), 0);
    for (run, state) in all {
        // The sets of a plan do not overlap; of others, the first counts.
        let start = run.start.max(at);
        if start >= run.end {
            continue;
        }
        if start > at {
            out.push((start - at, 0));
        }
        out.push((run.end - start, state));
        at = run.end;
    }
    out
}
