//! The write phase: a plan becomes files, which are then read again.

use crate::view::{NOT_HERE, View};
use anyhow::{Context, Result, bail};
use elf::{Library, PageSet};
use environment::Environment;
use package::{Bytecode, Compiler, Content, Entry, Stage, Written, cached, record, unchecked};
use plan::{Action, FilePlan, MappedFile, Plan, Reason};
use rayon::prelude::*;
use shrink::{Limits, Shrunk};
use standin::Request;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was written, and how many of its bytes are the original's.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The files.
    pub written: Vec<Written>,
    /// Bytes of the original that are in the package as they were.
    pub hot: u64,
    /// Bytes of the package by reason.
    pub reasons: BTreeMap<String, u64>,
}

/// An entry and what it is.
struct Unit<'a> {
    entry: Entry<'a>,
    reason: Reason,
    /// Bytes of the original in it.
    hot: u64,
    /// What the second reader compares with.
    check: Option<(PathBuf, PageSet)>,
}

/// Writes what `plan` says into `stage` and reads every shrunk library again.
pub fn write(
    environment: &Environment,
    view: &View,
    plan: &Plan,
    stage: &Stage,
) -> Result<Outcome> {
    let mut units = modules(environment, plan)?;
    units.extend(
        plan.files
            .par_iter()
            .filter_map(|file| unit(environment, view, file).transpose())
            .collect::<Result<Vec<_>>>()?,
    );
    units.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let mut checks = Vec::new();
    let mut outcome = Outcome::default();
    let mut entries = Vec::with_capacity(units.len());
    let mut reasons = Vec::with_capacity(units.len());
    for unit in units {
        outcome.hot += unit.hot;
        checks.extend(unit.check.map(|(source, keep)| (unit.entry.path.clone(), source, keep)));
        reasons.push(unit.reason);
        entries.push(unit.entry);
    }
    outcome.written = stage.write(&entries)?;
    for (written, reason) in outcome.written.iter().zip(reasons) {
        *outcome.reasons.entry(reason.text().to_owned()).or_default() += written.size;
    }
    checks.par_iter().try_for_each(|(path, source, keep)| read_again(stage, path, source, keep))?;
    records(environment, plan, stage, &mut outcome)?;
    Ok(outcome)
}

/// Reads a written library with the second reader and shows it to the loader.
fn read_again(stage: &Stage, path: &str, source: &Path, keep: &PageSet) -> Result<()> {
    let written = stage.path().join(path);
    let bytes = MappedFile::open(&written)?;
    shrink::reread::check(&MappedFile::open(source)?, &bytes, keep)
        .with_context(|| format!("{path} was not written as planned; this is a fault in taper"))?;
    shrink::loads(&written).with_context(|| format!("the loader refuses {path}"))
}

fn unit<'a>(environment: &Environment, view: &View, file: &FilePlan) -> Result<Option<Unit<'a>>> {
    let found = &environment.files[file.index];
    let source = environment.source(found);
    let entry =
        |content| Entry { path: file.path.clone(), executable: found.mode & 0o111 != 0, content };
    let whole = |source| Unit {
        entry: entry(Content::File(source)),
        reason: file.reason,
        hot: file.size,
        check: None,
    };
    Ok(match &file.action {
        Action::Leave | Action::Record | Action::Module { .. } => None,
        Action::Copy => Some(whole(source)),
        Action::Shrink(pages) => {
            let keep = pages.keep();
            let bytes = MappedFile::open(&source)?;
            let library = Library::parse(&bytes).with_context(|| file.path.clone())?;
            match shrink::shrink(&library, &keep, &Limits::default())
                .with_context(|| format!("cannot shrink {}", file.path))?
            {
                Shrunk::Whole => Some(whole(source)),
                Shrunk::Smaller(smaller) => {
                    let hot = smaller.size().min(file.size);
                    let check = Some((source, keep));
                    let write: package::Writer<'a> =
                        Box::new(move |sink| smaller.write_to(&bytes, sink));
                    let content = Content::Stream(write);
                    Some(Unit { entry: entry(content), reason: file.reason, hot, check })
                }
            }
        }
        Action::StandIn { keep } => {
            let bytes = MappedFile::open(&source)?;
            let library = Library::parse(&bytes).with_context(|| file.path.clone())?;
            let wanted = view.wanted.get(&file.path).cloned().unwrap_or_default();
            let made = standin::standin(&Request {
                library: &library,
                wanted: &wanted,
                keep,
                message: NOT_HERE,
            })
            .with_context(|| format!("cannot make a stand-in for {}", file.path))?;
            let hot = keep.len() * elf::PAGE;
            let write: package::Writer<'a> = Box::new(move |sink| made.write_to(&bytes, sink));
            let content = Content::Stream(write);
            Some(Unit { entry: entry(content), reason: file.reason, hot, check: None })
        }
    })
}

/// A module's source, the file to compile it from, and its bytecode with the number
/// of bytes of it that are the original's, where the installer left it.
type ReadModule = (Vec<u8>, PathBuf, Option<(Vec<u8>, u64)>);

/// What stands in a source file that nobody read. Python uses its bytecode; there
/// are no lines for tracebacks and `inspect.getsource` raises OSError.
const NO_SOURCE: &[u8] =
    b"# The source of this module is not in this package: no workload read it.\n";

/// Every module with its bytecode. What the installer left is used where Python
/// would use it; the rest is compiled.
fn modules<'a>(environment: &Environment, plan: &Plan) -> Result<Vec<Unit<'a>>> {
    let interpreter = &environment.interpreter;
    let bytecode = Bytecode { magic: interpreter.magic, minor: interpreter.minor() };
    let by_path: BTreeMap<&str, usize> =
        plan.files.iter().map(|file| (file.path.as_str(), file.index)).collect();
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut stale = Vec::new();
    let mut units = Vec::new();
    let sources: Vec<&FilePlan> =
        plan.files.iter().filter(|file| matches!(file.action, Action::Module { .. })).collect();
    let read: Vec<ReadModule> = sources
        .par_iter()
        .map(|file| {
            let found = &environment.files[file.index];
            let source = environment.source(found);
            let text = std::fs::read(&source)
                .map_err(|error| package::Error::Read { path: source.clone(), source: error })?;
            if let Some(edited) = plan::edited(&plan.target, &file.path, &text) {
                let place = scratch.path().join(file.path.replace('/', "+"));
                std::fs::write(&place, &edited).context("cannot write a temporary file")?;
                return Ok((edited, place, None));
            }
            let twin = by_path
                .get(bytecode_path(&file.path, interpreter.minor()).as_str())
                .map(|index| environment.source(&environment.files[*index]))
                .and_then(|path| std::fs::read(path).ok());
            let code = twin.as_deref().and_then(|twin| {
                let code = cached(bytecode, twin, found.mtime, found.size)?;
                let old = source.to_string_lossy();
                let file = unchecked(bytecode, &text, code, &old, &file.path);
                Some((file, twin.len() as u64))
            });
            Ok((text, source, code))
        })
        .collect::<Result<_>>()?;
    for (file, (_, source, code)) in sources.iter().zip(&read) {
        if code.is_none() {
            stale.push((source.clone(), file.path.clone()));
        }
    }
    let compiler = Compiler { python: interpreter.executable.clone() };
    let mut compiled = compiler.compile(&stale)?.into_iter();
    for (file, (text, _, code)) in sources.iter().zip(read) {
        let (made, hot) = match code {
            Some((made, size)) => (Some(made), size),
            None => match compiled.next() {
                Some(Some(code)) => (Some(unchecked(bytecode, &text, &code, "", "")), 0),
                // Python does not compile it either: it stays a file.
                Some(None) => (None, 0),
                None => bail!("the compiler left out {}", file.path),
            },
        };
        // Without bytecode, the source is what runs.
        let keeps = file.action == Action::Module { source: true } || made.is_none();
        if let Some(made) = made {
            units.push(Unit {
                entry: Entry {
                    path: bytecode_path(&file.path, interpreter.minor()),
                    executable: false,
                    content: Content::Bytes(made),
                },
                reason: Reason::Bytecode,
                hot,
                check: None,
            });
        }
        let found = &environment.files[file.index];
        units.push(Unit {
            entry: Entry {
                path: file.path.clone(),
                executable: found.mode & 0o111 != 0,
                content: Content::Bytes(if keeps { text } else { NO_SOURCE.to_vec() }),
            },
            reason: file.reason,
            hot: if keeps { file.size } else { 0 },
            check: None,
        });
    }
    Ok(units)
}

/// Where Python caches the bytecode of a source (PEP 3147).
pub fn bytecode_path(source: &str, minor: u32) -> String {
    let (folder, name) =
        source.rsplit_once('/').map_or(("", source), |(folder, name)| (folder, name));
    let stem = name.strip_suffix(".py").unwrap_or(name);
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{slash}__pycache__/{stem}.cpython-3{minor}.pyc")
}

/// Writes each distribution's list of files anew, from what is in the package.
fn records(
    environment: &Environment,
    plan: &Plan,
    stage: &Stage,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for file in &plan.files {
        if let Some(owner) = environment.files[file.index].distribution {
            owners.insert(file.path.clone(), owner);
            if matches!(file.action, Action::Module { .. }) {
                let minor = environment.interpreter.minor();
                owners.insert(bytecode_path(&file.path, minor), owner);
            }
        }
    }
    let entries: Vec<Entry<'_>> =
        plan.files
            .iter()
            .filter(|file| file.action == Action::Record)
            .map(|file| {
                let owner = environment.files[file.index].distribution;
                let own = outcome.written.iter().filter(|written| {
                    owner.is_some() && owners.get(&written.path).copied() == owner
                });
                Entry {
                    path: file.path.clone(),
                    executable: false,
                    content: Content::Bytes(record(&file.path, own)),
                }
            })
            .collect();
    let written = stage.write(&entries)?;
    let sum: u64 = written.iter().map(|file| file.size).sum();
    *outcome.reasons.entry(Reason::Metadata.text().to_owned()).or_default() += sum;
    outcome.hot += sum;
    outcome.written.extend(written);
    Ok(())
}
