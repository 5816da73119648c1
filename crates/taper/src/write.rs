//! The write phase: a plan becomes files, which are then read again.

use crate::cold::{self, Revived};
use crate::headers;
use crate::modules;
use crate::plan_record::{self, Known};
use crate::printer::Printer;
use crate::remembered::{self, Observing};
use crate::symbol_names::{StandIns, SymbolNames};
use crate::target_view::{NOT_HERE, TargetView};
use crate::unit::{Check, Unit};
use answers::Observed;
use anyhow::{Context, Result};
use elf::Library;
use environment::Environment;
use format::place;
use package::{Content, Entry, Level, Stage, Written, record};
use plan::{Action, FilePlan, MappedFile, Plan, Reason};
use rayon::prelude::*;
use shrink::{Limits, Original, Shrunk};
use standin::Request;
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

/// What a package is made of.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Where its files come from.
    pub environment: &'a Environment,
    /// What it is to stand for.
    pub view: &'a TargetView,
    /// What becomes of each file.
    pub plan: &'a Plan,
    /// How hard to compress.
    pub level: Level,
}

/// Files of which a person is told.
const LARGEST: usize = 5;

/// What a file of the plan becomes.
enum Made<'a> {
    /// A file.
    Unit(Unit<'a>),
    /// A library whose cold pages go to the store.
    Revived(Revived),
}

/// Writes what the plan says into `stage` and reads every shrunk library again. Meanwhile,
/// `observing` goes on: only the modules need what it finds.
pub fn write(
    sources: &Sources<'_>,
    known: &Known<'_>,
    observing: Observing,
    stage: &Stage,
    printer: &Printer,
) -> Result<Outcome> {
    let Sources { environment, view, plan, level } = *sources;
    let mut units = Vec::new();
    printer.step("divides libraries");
    let stand_ins = stand_ins(environment, view, plan)?;
    let symbol_names = SymbolNames::of(environment, plan, &stand_ins)?;
    // One library takes as long as all others: headers are compressed beside it.
    let (made, headers) = rayon::join(
        || -> Result<Vec<_>> {
            let made = plan.files.par_iter();
            made.filter_map(|file| unit(environment, &stand_ins, &symbol_names, file).transpose())
                .collect()
        },
        || headers::compressed(environment, plan, level),
    );
    let (made, headers) = (made?, headers?);
    let mut revived = Vec::new();
    for made in made {
        match made {
            Made::Unit(unit) => units.push(unit),
            Made::Revived(library) => revived.push(library),
        }
    }
    printer.step("compresses code that no run touched");
    let cold = cold::write(revived, level)?;
    let mut outcome =
        Outcome { stored: cold.stored, stored_original: cold.original, ..Outcome::default() };
    if let Some((unit, stored, original)) = headers {
        outcome.stored += stored;
        outcome.stored_original += original;
        units.push(unit);
    }
    let has_runtime = !cold.units.is_empty();
    units.extend(cold.units);
    units.push(plan_record::unit(environment, plan, known, &cold.contents)?);
    // The largest library is read again on one core, and modules are compiled on one.
    printer.step("compresses modules, reads libraries again");
    let (files, modules) = rayon::join(
        || write_checked(units, stage, &symbol_names),
        || {
            let observed = observing.found();
            let answers = remembered::answers(&observed);
            let made =
                modules::modules(environment, plan, plan.cold, level, &known.otherwise, &answers)?;
            anyhow::Ok((observed, made))
        },
    );
    let (observed, mut modules) = modules?;
    outcome.observed = observed;
    outcome.stored += modules.stored;
    outcome.stored_original += modules.original;
    // The store of cold pages may have brought it.
    modules.units.retain(|unit| !(has_runtime && unit.entry.path == place::RUNTIME));
    printer.step("writes modules");
    let mut files = files?;
    files.extend(write_units(modules.units, stage)?);
    outcome.add(files);
    records(environment, plan, stage, &mut outcome)?;
    Ok(outcome)
}

/// A file that was written, and what it was planned as.
struct Filed {
    written: Written,
    reason: Reason,
    hot: u64,
    check: Option<Check>,
}

impl Outcome {
    /// Counts `files`.
    fn add(&mut self, mut files: Vec<Filed>) {
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

/// Writes `units` into `stage`.
fn write_units(units: Vec<Unit<'_>>, stage: &Stage) -> Result<Vec<Filed>> {
    let (mut entries, mut others) = (Vec::new(), Vec::new());
    for unit in units {
        entries.push(unit.entry);
        others.push((unit.reason, unit.hot, unit.check));
    }
    let written = stage.write(&entries)?.into_iter().zip(others);
    Ok(written
        .map(|(written, (reason, hot, check))| Filed { written, reason, hot, check })
        .collect())
}

/// Writes `units` into `stage` and reads those again that are to be checked.
fn write_checked(
    units: Vec<Unit<'_>>,
    stage: &Stage,
    symbol_names: &SymbolNames,
) -> Result<Vec<Filed>> {
    let files = write_units(units, stage)?;
    let checked = files.par_iter().filter_map(|file| Some((file, file.check.as_ref()?)));
    checked
        .try_for_each(|(file, check)| read_again(stage, &file.written.path, check, symbol_names))?;
    Ok(files)
}

/// Reads a written library with the second reader and shows it to the loader.
fn read_again(stage: &Stage, path: &str, check: &Check, symbol_names: &SymbolNames) -> Result<()> {
    let written = stage.path().join(path);
    let bytes = MappedFile::open(&written)?;
    let private = |name: &str| symbol_names.is_private(name);
    let runtime = cold::runtime(path);
    let revive = check.cold.as_ref().map(|pages| cold::revive(path, &runtime, pages));
    let source = MappedFile::open(&check.source)?;
    let original = Original::read(&source, &check.keep, revive.as_ref())
        .with_context(|| format!("cannot read {}", check.source.display()))?;
    let (mut beside, mut at) = (Vec::new(), 0);
    if check.cold.is_some() {
        (at, beside) = cold::read_again(stage, path, &original, &bytes)?;
    }
    shrink::check(&original, &bytes, &private, revive.as_ref(), (at, &beside))
        .with_context(|| format!("{path} was not written as planned; this is a fault in taper"))?;
    shrink::loads(&written).with_context(|| format!("the loader refuses {path}"))
}

/// The stand-ins of `plan`, by path.
fn stand_ins(environment: &Environment, view: &TargetView, plan: &Plan) -> Result<StandIns> {
    plan.files
        .par_iter()
        .filter_map(|file| match &file.action {
            Action::StandIn { keep } => Some((file, keep)),
            _ => None,
        })
        .map(|(file, keep)| {
            let bytes = MappedFile::open(&environment.source(&environment.files[file.index]))?;
            let library = Library::parse(&bytes).with_context(|| file.path.clone())?;
            let wanted = view.wanted.get(&file.path).cloned().unwrap_or_default();
            let request = Request { library: &library, wanted: &wanted, keep, message: NOT_HERE };
            let made = standin::standin(&request)
                .with_context(|| format!("cannot make a stand-in for {}", file.path))?;
            let mut written = Vec::with_capacity(made.size() as usize);
            made.write_to(&bytes, &mut written)
                .with_context(|| format!("cannot make a stand-in for {}", file.path))?;
            Ok((file.path.clone(), written))
        })
        .collect()
}

fn unit<'a>(
    environment: &Environment,
    stand_ins: &StandIns,
    symbol_names: &SymbolNames,
    file: &FilePlan,
) -> Result<Option<Made<'a>>> {
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
        Action::Leave
        | Action::Compress
        | Action::Record
        | Action::Text
        | Action::Module { .. } => None,
        Action::Copy => Some(whole(source)),
        Action::CopyTo { path } => {
            let mut unit = whole(source);
            unit.entry.path.clone_from(path);
            Some(unit)
        }
        Action::Shrink(pages) => {
            let bytes = MappedFile::open(&source)?;
            let library = Library::parse(&bytes).with_context(|| file.path.clone())?;
            let private = |name: &str| symbol_names.is_private(name);
            let runtime = cold::runtime(&file.path);
            let revive = cold::revive(&file.path, &runtime, &pages.cold);
            let limits = Limits::default();
            let (mut keep, mut cold) = (pages.hot(), Some(pages.cold.clone()));
            let mut made = shrink::shrink(&library, &keep, &private, Some(&revive), &limits);
            if let Err(shrink::Error::Library(elf::Error::Unsupported(_))) = made {
                // It cannot be tied to the runtime: what would come back stays.
                keep.union(&pages.cold);
                cold = None;
                made = shrink::shrink(&library, &keep, &private, None, &limits);
            }
            match (made.with_context(|| format!("cannot shrink {}", file.path))?, cold) {
                (Shrunk::Whole, _) => Some(whole(source)),
                (Shrunk::Smaller(smaller), Some(cold)) => {
                    let (path, reason) = (file.path.clone(), file.reason);
                    let check = Check { source, keep, cold: Some(cold) };
                    let revived = Revived { path, reason, check, bytes, smaller };
                    return Ok(Some(Made::Revived(revived)));
                }
                (Shrunk::Smaller(smaller), None) => {
                    let hot = smaller.size().min(file.size);
                    let check = Some(Check { source, keep, cold: None });
                    let write: package::Writer<'a> =
                        Box::new(move |sink| smaller.write_to(&bytes, sink));
                    let content = Content::Stream(write);
                    Some(Unit { entry: entry(content), reason: file.reason, hot, check })
                }
            }
        }
        Action::StandIn { keep } => {
            let made = stand_ins.get(&file.path).context("a stand-in was not made")?;
            let content = Content::Bytes(made.clone());
            let hot = keep.len() * elf::PAGE;
            Some(Unit { entry: entry(content), reason: file.reason, hot, check: None })
        }
    }
    .map(Made::Unit))
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
            if let Action::CopyTo { path } = &file.action {
                owners.insert(path.clone(), owner);
            }
            if matches!(file.action, Action::Module { .. }) {
                let minor = environment.interpreter.minor();
                owners.insert(environment::bytecode_of(&file.path, minor), owner);
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
    // A list may be longer than the installer's; that much is not the original's.
    let hot = entries.iter().zip(&written).map(|(entry, file)| {
        environment.file(&entry.path).map_or(0, |original| original.size.min(file.size))
    });
    outcome.hot += hot.sum::<u64>();
    outcome.written.extend(written);
    Ok(())
}
