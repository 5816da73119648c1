//! What a package says of its plan, for `taper explain`.

use crate::modules::Otherwise;
use crate::unit::Unit;
use anyhow::Result;
use defer::Group;
use elf::Library;
use environment::{Environment, Kind};
use ledger::{About, File, Form, Gates, Ledger, Source};
use package::{Content, Entry};
use plan::{Action, Cold, FilePlan, GpuSide, LibraryPages, MappedFile, Plan, Reason};
use profile::Profile;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is known beside the plan.
pub struct Known<'a> {
    /// The GPU side.
    pub gpu: &'a GpuSide,
    /// What the workloads did.
    pub profile: &'a Profile,
    /// What its Python does otherwise.
    pub otherwise: Otherwise<'a>,
    /// The CPU instruction set, as `--cpu` said it.
    pub cpu: &'a str,
    /// Whether `--eager` was given.
    pub eager: bool,
    /// Names that were given with `--keep`.
    pub keep: &'a [String],
    /// Names that were given with `--drop`.
    pub drop: &'a [String],
}

/// The file of the package that says why everything else is in it. `contents` are the hashes
/// of libraries that writing took.
pub fn unit<'a>(
    environment: &Environment,
    plan: &Plan,
    known: &Known<'_>,
    contents: &BTreeMap<String, [u8; 8]>,
) -> Result<Unit<'a>> {
    let bytes = ledger(environment, plan, known, contents)?.to_bytes()?;
    let content = Content::Bytes(bytes);
    let entry = Entry { path: format::place::PLAN.into(), executable: false, content };
    Ok(Unit { entry, reason: Reason::Plan, hot: 0, check: None })
}

fn ledger(
    environment: &Environment,
    plan: &Plan,
    known: &Known<'_>,
    contents: &BTreeMap<String, [u8; 8]>,
) -> Result<Ledger> {
    let order = order(known.profile);
    let mut names: Vec<String> = Vec::new();
    let mut numbers: HashMap<usize, u32> = HashMap::new();
    let mut files = Vec::with_capacity(plan.files.len());
    for file in &plan.files {
        let owner = environment.files[file.index].distribution.map(|index| {
            *numbers.entry(index).or_insert_with(|| {
                names.push(environment.distributions[index].name.clone());
                names.len() as u32 - 1
            })
        });
        files.push(File {
            path: file.path.clone(),
            size: file.size,
            owner,
            form: form(file, plan.cold),
            reason: file.reason,
            order: order.get(file.path.as_str()).copied(),
        });
    }
    let libraries = plan
        .files
        .par_iter()
        .filter(|file| environment.files[file.index].kind == Kind::SharedLibrary)
        .map(|file| {
            let found = library(environment, plan, file, known, contents)?;
            Ok((file.path.clone(), found))
        })
        .collect::<Result<_>>()?;
    let about = About {
        taper: env!("CARGO_PKG_VERSION").into(),
        python: environment.interpreter.version.clone(),
        torch: environment.torch()?.version.clone(),
        target: plan.target.clone(),
        cpu: known.cpu.into(),
        cold: match plan.cold {
            Cold::Keep => "keep".into(),
            Cold::Drop => "drop".into(),
        },
        eager: known.eager,
        keep: known.keep.to_vec(),
        drop: known.drop.to_vec(),
        distributions: names,
        groups: known.otherwise.deferred.iter().map(group).collect(),
    };
    Ok(Ledger { about, files, libraries })
}

/// By the source of a module or the path of a library, its place in the order in which
/// workloads opened them.
fn order(profile: &Profile) -> HashMap<String, u32> {
    let mut order = HashMap::new();
    for path in &profile.opened {
        let file = environment::source_of(path).unwrap_or_else(|| path.clone());
        let next = order.len() as u32;
        order.entry(file).or_insert(next);
    }
    order
}

/// What became of a file.
fn form(file: &FilePlan, fate: Cold) -> Form {
    match &file.action {
        Action::Copy => Form::Copied,
        Action::CopyTo { .. } => Form::Moved,
        Action::Shrink(_) => Form::Shrunk,
        Action::StandIn { .. } => Form::StandIn,
        Action::Module { source, read, stored, cold } => {
            let source = match (source, read) {
                (true, _) => Source::File,
                (_, true) => Source::Read,
                _ if fate == Cold::Keep && stored.is_some() => Source::Store,
                _ => Source::Out,
            };
            Form::Module { stored: stored.is_some(), cold: *cold, source }
        }
        Action::Compress => Form::Compressed,
        Action::Text => Form::Text,
        Action::Record => Form::Listed,
        Action::Leave => Form::Out,
    }
}

fn library(
    environment: &Environment,
    plan: &Plan,
    file: &FilePlan,
    known: &Known<'_>,
    contents: &BTreeMap<String, [u8; 8]>,
) -> Result<ledger::Library> {
    let mut out = ledger::Library {
        whole: plan.whole.get(&file.path).cloned(),
        content: contents
            .get(&file.path)
            .map(|hash| format!("{:016x}", u64::from_be_bytes(*hash)))
            .or_else(|| {
                let used = known.profile.libraries.get(&file.path)?;
                used.content.get(..16).map(str::to_owned)
            }),
        ..ledger::Library::default()
    };
    match &file.action {
        Action::Shrink(pages) => out.pages = pages.clone(),
        Action::StandIn { keep } => {
            out.pages = LibraryPages { touched: keep.clone(), ..LibraryPages::default() };
            let by = known.gpu.libraries.get(&file.path).map(|library| &library.needed_by);
            // They may be there twice: by name, and by symbol.
            let by: BTreeSet<&String> = by.into_iter().flatten().collect();
            out.bound_by = by.into_iter().cloned().collect();
        }
        _ => {}
    }
    let bytes = MappedFile::open(&environment.source(&environment.files[file.index]))?;
    // One that is not understood has no more to say.
    if let Ok(library) = Library::parse(&bytes) {
        out.soname = library.soname().map(str::to_owned);
        out.needed = library.needed().into_iter().map(str::to_owned).collect();
        out.build_id = library.build_id().map(hexadecimal);
    }
    Ok(out)
}

/// Bytes as two digits each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |number: u8| char::from_digit(u32::from(number), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn group(group: &Group) -> ledger::Group {
    let attributes = group.attributes.iter().map(|(module, name, _)| format!("{module}.{name}"));
    let namespaces: BTreeSet<&String> = group.namespaces.iter().chain(&group.changed).collect();
    ledger::Group {
        root: group.root.clone(),
        members: group.members.clone(),
        objections: group.objections.clone(),
        gates: Gates {
            attributes: attributes.collect(),
            namespaces: namespaces.into_iter().cloned().collect(),
            keys: group.keys.clone(),
            functions: group.holders.keys().cloned().collect(),
        },
    }
}
