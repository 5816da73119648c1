//! The write phase: a plan becomes files, which are then read again.

use crate::cold_store::{self, Revived};
use crate::outcome::{Filed, Outcome};
use crate::records::records;
use crate::symbol_names::{StandIns, SymbolNames};
use crate::unit::{Check, Unit};
use crate::{Packing, headers, modules, plan_record};
use anyhow::{Context, Result};
use elf::Library;
use elf_verify::{Cold, Expected};
use environment::{Environment, MappedFile};
use format::place;
use package::{Content, Entry, Stage};
use plan::{Action, FilePlan, Plan};
use rayon::prelude::*;
use report::Printer;
use shrink::{Limits, Shrunk};
use standin::Request;
use startup::Observing;
use workload::TargetView;

/// What a file of the plan becomes.
enum Made<'a> {
    /// A file.
    Unit(Unit<'a>),
    /// A library whose cold pages go to the store.
    Revived(Revived),
}

/// Writes what the plan says into `stage` and reads every shrunk library again. Meanwhile,
/// `observing` goes on: only the modules need what it finds.
///
/// # Errors
/// What cannot be read, written, or is not as it was planned.
pub fn write(
    packing: &Packing<'_>,
    observing: Observing,
    stage: &Stage,
    printer: &Printer,
) -> Result<Outcome> {
    let Packing { environment, view, plan, asked, .. } = *packing;
    let level = asked.level;
    let mut units = Vec::new();
    printer.step("divides libraries");
    let stand_ins = stand_ins(environment, view, plan)?;
    let symbol_names = SymbolNames::of(environment, plan, &stand_ins)?;
    // One library takes as long as all others: headers are compressed beside it.
    let (made, headers) = rayon::join(
        || -> Result<Vec<_>> {
            let made = plan.files.par_iter();
            made.filter_map(|file| {
                unit(environment, view, &stand_ins, &symbol_names, file).transpose()
            })
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
    let cold = cold_store::write(revived, level)?;
    let mut outcome =
        Outcome { stored: cold.stored, stored_original: cold.original, ..Outcome::default() };
    if let Some((unit, stored, original)) = headers {
        outcome.stored += stored;
        outcome.stored_original += original;
        units.push(unit);
    }
    let has_runtime = !cold.units.is_empty();
    units.extend(cold.units);
    units.push(plan_record::unit(packing, &cold.contents)?);
    // The largest library is read again on one core, and modules are compiled on one.
    printer.step("compresses modules, reads libraries again");
    let (files, modules) = rayon::join(
        || write_checked(units, stage, &symbol_names),
        || {
            let observed = observing.found();
            let made = modules::modules(packing, &startup::stored_answers(&observed))?;
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
    let store = check.cold.as_ref().map(|_| MappedFile::open(&stage.path().join(place::COLD)));
    let store = store.transpose()?;
    let installed = MappedFile::open(&check.source)?;
    let source = MappedFile::changed(&check.source, &check.changes)?;
    let runtime = cold_store::runtime(path);
    let cold = check.cold.as_ref().zip(store.as_deref());
    let expected = Expected {
        original: &source,
        installed: &installed,
        keep: &check.keep,
        cold: cold.map(|(pages, store)| Cold { pages, name: path, runtime: &runtime, store }),
        private: &|name: &str| symbol_names.is_private(name),
    };
    let not_as_planned = || format!("{path} was not written as planned; this is a fault in taper");
    if !check.changes.is_empty() {
        elf_verify::gpu_code(&installed, &source, &check.gpu_code).with_context(not_as_planned)?;
    }
    elf_verify::verify(&expected, &bytes).with_context(not_as_planned)?;
    elf_verify::loads(&written).with_context(|| format!("{path} cannot be loaded"))
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
            let left = view.gpu.libraries.get(&file.path);
            let message = left.map_or("is not in this package", |left| &left.message);
            let request = Request { library: &library, wanted: &wanted, keep, message };
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
    view: &TargetView,
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
            let bytes = view.gpu.open(environment, found)?;
            let changes = view.gpu.changes(&file.path).to_vec();
            let code = view.gpu.code.get(&file.path);
            let gpu_code = code.map_or_else(Vec::new, |code| code.kept.clone());
            let library = Library::parse(&bytes).with_context(|| file.path.clone())?;
            let private = |name: &str| symbol_names.is_private(name);
            let runtime = cold_store::runtime(&file.path);
            let revive = cold_store::revive(&file.path, &runtime, &pages.cold);
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
                    let check = Check { source, changes, gpu_code, keep, cold: Some(cold) };
                    let revived = Revived { path, reason, check, bytes, smaller };
                    return Ok(Some(Made::Revived(revived)));
                }
                (Shrunk::Smaller(smaller), None) => {
                    let hot = smaller.size().min(file.size);
                    let check = Some(Check { source, changes, gpu_code, keep, cold: None });
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
