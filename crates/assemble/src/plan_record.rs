//! What a package says of its plan, for `taper explain`.

use crate::Packing;
use crate::unit::Unit;
use anyhow::Result;
use elf::Library;
use environment::{Kind, MappedFile};
use ledger::{About, File, Form, Gates, Ledger, Source};
use package::{Content, Entry};
use plan::{Action, Cold, FilePlan, LibraryPages, Reason};
use profile::Profile;
use rayon::prelude::*;
use startup::defer::Group;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The file of the package that says why everything else is in it. `contents` are the hashes
/// of libraries that writing took.
pub fn unit<'a>(packing: &Packing<'_>, contents: &BTreeMap<String, [u8; 8]>) -> Result<Unit<'a>> {
    let bytes = ledger(packing, contents)?.to_bytes()?;
    let content = Content::Bytes(bytes);
    let entry = Entry { path: format::place::PLAN.into(), executable: false, content };
    Ok(Unit { entry, reason: Reason::Plan, hot: 0, check: None })
}

fn ledger(packing: &Packing<'_>, contents: &BTreeMap<String, [u8; 8]>) -> Result<Ledger> {
    let Packing { environment, profile, plan, deferred, asked, .. } = *packing;
    let order = order(profile);
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
            let found = library(packing, file, contents)?;
            Ok((file.path.clone(), found))
        })
        .collect::<Result<_>>()?;
    let about = About {
        taper: env!("CARGO_PKG_VERSION").into(),
        python: environment.interpreter.version.clone(),
        torch: environment.torch()?.version.clone(),
        target: plan.target.clone(),
        cpu: asked.cpu.into(),
        cold: plan.cold.name().into(),
        eager: asked.eager,
        keep: asked.keep.to_vec(),
        drop: asked.drop.to_vec(),
        distributions: names,
        groups: deferred.iter().map(group).collect(),
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
    packing: &Packing<'_>,
    file: &FilePlan,
    contents: &BTreeMap<String, [u8; 8]>,
) -> Result<ledger::Library> {
    let Packing { environment, view, profile, plan, .. } = *packing;
    let mut out = ledger::Library {
        whole: plan.whole.get(&file.path).cloned(),
        content: contents
            .get(&file.path)
            .map(|hash| format!("{:016x}", u64::from_be_bytes(*hash)))
            .or_else(|| {
                let used = profile.libraries.get(&file.path)?;
                used.content.get(..16).map(str::to_owned)
            }),
        ..ledger::Library::default()
    };
    match &file.action {
        Action::Shrink(pages) => out.pages = pages.clone(),
        Action::StandIn { keep } => {
            out.pages = LibraryPages { touched: keep.clone(), ..LibraryPages::default() };
            let by = view.gpu.libraries.get(&file.path).map(|library| &library.needed_by);
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
        out.build_id = library.build_id_text();
    }
    Ok(out)
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
