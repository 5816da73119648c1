//! The meanings of a name, each with what becomes of it.

use crate::answers::{Answer, Document, SummaryAnswer};
use crate::code;
use crate::files::{FileAnswer, LibraryAnswer, SumAnswer};
use crate::gpu;
use crate::modules::{self, Imports};
use crate::names::{self, Meanings};
use crate::original::Original;
use crate::symbols::{self, Wanted};
use anyhow::Result;
use imports::Modules;
use ledger::Ledger;
use report::{Printer, bad_input};
use std::path::Path;

/// Files and modules that are told of, of those that a name means.
const MOST: usize = 20;

/// The longest name.
const MAX_NAME: usize = 4096;

/// The package as a whole.
pub fn summary(ledger: &Ledger) -> Document {
    Document {
        name: None,
        answers: vec![Answer::Summary(SummaryAnswer {
            about: ledger.about.clone(),
            sum: SumAnswer::of(ledger, "environment", "the environment", |_| true),
        })],
        more: 0,
        problems: Vec::new(),
    }
}

/// What `name` means in the package in `folder`, whose record is `ledger`, and why that has its
/// fate. `python` names the environment that was packed.
///
/// # Errors
/// The name means nothing there.
pub fn explain(
    ledger: &Ledger,
    name: &str,
    folder: &Path,
    python: Option<&Path>,
    printer: &Printer,
) -> Result<Document> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(bad_input("NAME is empty or too long; name a file, a module or a function"));
    }
    let modules = Modules::new(ledger.files.iter().map(|file| file.path.as_str()));
    let meanings = names::meanings(ledger, &modules, name);
    let mut document = Document {
        name: Some(name.to_owned()),
        answers: Vec::new(),
        more: 0,
        problems: Vec::new(),
    };
    of_record(ledger, name, &meanings, folder, &mut document);
    let searched = wanted(name, &meanings);
    if meanings.modules.is_empty() && searched.is_none() && !meanings.architecture {
        return nothing_else(document, ledger, &modules, name);
    }
    let original = Original::find(ledger, python);
    of_modules(ledger, &meanings, &original, printer, &mut document);
    if meanings.architecture {
        let find = || gpu::architecture(ledger, &original, name);
        let (answer, problems) = printer.phase("search", find);
        match answer {
            Some(answer) => {
                document.answers.push(Answer::Architecture(answer));
                document.problems.extend(problems);
            }
            None => return Err(no_architecture(name, &problems)),
        }
    }
    let mut unsearched = String::new();
    if let Some(wanted) = searched {
        match printer.phase("search", || code::find(ledger, &original, &wanted)) {
            Ok(found) if found.matches > 0 => {
                document.problems.extend(found.unread.iter().cloned());
                document.answers.push(Answer::Functions(found));
            }
            Ok(found) if meanings.is_empty() => document.problems.extend(found.unread),
            Err(problem) if meanings.is_empty() => {
                unsearched = format!("; functions and operators were not searched: {problem}");
            }
            Ok(_) | Err(_) => {}
        }
    }
    if !document.answers.is_empty() {
        document.problems.dedup();
        return Ok(document);
    }
    let mut near = names::nearest(ledger, &modules, name);
    if unsearched.is_empty() {
        near.extend(code::nearest(ledger, &original, name));
    }
    Err(nothing(name, &near, &unsearched))
}

/// Adds what the record alone says, modules aside.
fn of_record(
    ledger: &Ledger,
    name: &str,
    meanings: &Meanings<'_>,
    folder: &Path,
    document: &mut Document,
) {
    if let Some(number) = meanings.distribution {
        let title = ledger.about.distributions.get(number as usize).map_or(name, String::as_str);
        let sum = SumAnswer::of(ledger, "distribution", title, |file| file.owner == Some(number));
        document.answers.push(Answer::Sum(sum));
    }
    if meanings.folder {
        let below = format!("{}/", name.trim_end_matches('/'));
        let inside = |file: &ledger::File| file.path.starts_with(&below);
        document.answers.push(Answer::Sum(SumAnswer::of(ledger, "folder", name, inside)));
    }
    for file in meanings.files.iter().take(MOST) {
        document.answers.push(match ledger.libraries.get(&file.path) {
            Some(library) => Answer::Library(LibraryAnswer::of(ledger, file, library, folder)),
            None => Answer::File(FileAnswer::of(ledger, file)),
        });
    }
    for (_, file) in meanings.modules.iter().take(MOST) {
        if let Some(file) = file
            && let Some(library) = ledger.libraries.get(&file.path)
        {
            document
                .answers
                .push(Answer::Library(LibraryAnswer::of(ledger, file, library, folder)));
        }
    }
    let more = |count: usize| count.saturating_sub(MOST);
    document.more = more(meanings.files.len()) + more(meanings.modules.len());
}

/// Adds what is to be said of modules, with the imports of the environment where it is there.
fn of_modules(
    ledger: &Ledger,
    meanings: &Meanings<'_>,
    original: &Original<'_>,
    printer: &Printer,
    document: &mut Document,
) {
    if meanings.modules.is_empty() {
        return;
    }
    let imports = match original.graph_if_there(printer) {
        Ok(graph) => {
            let imports = Imports::new(graph, original.hot());
            match imports.unknown() {
                0 => {}
                count => document.problems.push(format!(
                    "{count} of the modules that were imported are not as they were when they were packed, or not understood: what they import is not known; pack again"
                )),
            }
            Some(imports)
        }
        Err(problem) => {
            let what = "who imports it is not known without the environment's sources";
            document.problems.push(format!("{what}: {problem}"));
            None
        }
    };
    for (module, file) in meanings.modules.iter().take(MOST) {
        if let Some(file) = file
            && original.problem().is_none()
            && let Err(problem) = original.locate(file)
        {
            document.problems.push(problem);
        }
        let answer = modules::module(ledger, module, *file, imports.as_ref());
        document.answers.push(Answer::Module(answer));
    }
}

/// What of the libraries' functions a name may mean: for one that means something else, only
/// those of that very name; none for one that is written as nothing of theirs is.
fn wanted<'n>(name: &'n str, meanings: &Meanings<'_>) -> Option<Wanted<'n>> {
    if let Some(operator) = symbols::operator(name) {
        return Some(operator);
    }
    if name.contains('/') || meanings.architecture {
        return None;
    }
    if meanings.is_empty() {
        return Some(Wanted::Part(name));
    }
    let identifier = name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    identifier.then_some(Wanted::Exactly(name))
}

fn nothing_else(
    document: Document,
    ledger: &Ledger,
    modules: &Modules,
    name: &str,
) -> Result<Document> {
    if document.answers.is_empty() {
        return Err(nothing(name, &names::nearest(ledger, modules, name), ""));
    }
    Ok(document)
}

fn nothing(name: &str, near: &[String], unsearched: &str) -> anyhow::Error {
    let advice = if near.is_empty() {
        "`taper explain OUT` says what there is".to_owned()
    } else {
        format!("the nearest are {}", near.join(", "))
    };
    bad_input(format!(
        "{name} names no file, library, module, distribution, function, operator or GPU \
         architecture that this package was made from; {advice}{unsearched}"
    ))
}

fn no_architecture(name: &str, all: &[String]) -> anyhow::Error {
    bad_input(format!(
        "the environment has no GPU code for {name}; it has {}",
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    ))
}
