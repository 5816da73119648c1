//! Answers of `taper explain` as text.

use crate::answers::{Answer, Document, SummaryAnswer};
use crate::code::{FunctionAnswer, FunctionsAnswer};
use crate::files::{FileAnswer, LibraryAnswer, SumAnswer};
use crate::gpu::ArchitectureAnswer;
use crate::modules::{Imported, ModuleAnswer, Waiting};
use std::fmt::Write;

/// Names that are shown of a list.
const NAMES: usize = 6;

/// Files and architectures that are shown of many.
const ROWS: usize = 8;

/// The whole answer.
pub fn render(document: &Document) -> String {
    let mut out = String::new();
    for (number, answer) in document.answers.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        match answer {
            Answer::File(file) => one_file(&mut out, file),
            Answer::Library(library) => one_library(&mut out, library),
            Answer::Module(module) => one_module(&mut out, module),
            Answer::Sum(sum) => many_files(&mut out, sum),
            Answer::Functions(functions) => code(&mut out, functions),
            Answer::Architecture(architecture) => gpu(&mut out, architecture),
            Answer::Summary(summary) => all(&mut out, summary),
        }
    }
    if document.more > 0 {
        line(&mut out, 0, &format!("and {} more of that name", document.more));
    }
    out
}

/// Adds a line; writing to a string does not fail.
fn line(out: &mut String, depth: usize, text: &str) {
    let _ = writeln!(out, "{:indent$}{text}", "", indent = 2 * depth);
}

/// Bytes as people read them, powers of ten.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..100_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => report::megabytes(bytes),
    }
}

/// The first names of a list, and how many follow.
fn some(names: &[String]) -> String {
    let first = names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn owned(file: &FileAnswer) -> String {
    let owner = file.distribution.as_ref().map(|owner| format!(", of {owner}"));
    format!("{}{}; {}", size(file.size), owner.unwrap_or_default(), file.form)
}

fn one_file(out: &mut String, file: &FileAnswer) {
    line(out, 0, &format!("{}: {}: {}", file.path, file.fate.word(), file.why));
    line(out, 1, &owned(file));
}

fn one_library(out: &mut String, library: &LibraryAnswer) {
    one_file(out, &library.file);
    if let Some(pages) = &library.pages {
        let rows = [
            ("hot", pages.touched, "a workload touched"),
            ("hot", pages.loader, "the loader reads"),
            (
                "hot",
                pages.addressed,
                "run or may be read by the kernel before anything brings them back",
            ),
            ("cold", pages.cold, "come back when they are touched"),
            ("out", pages.out, "are not there, or were made anew"),
        ];
        line(out, 1, "its pages that are not written to:");
        for (fate, bytes, what) in rows.into_iter().filter(|(_, bytes, _)| *bytes > 0) {
            line(out, 2, &format!("{fate:<4} {:>10}  {what}", size(bytes)));
        }
    }
    if let Some(bytes) = library.package {
        line(out, 1, &format!("its file in the package has {}", size(bytes)));
    }
    if let Some(why) = &library.whole {
        line(out, 1, &format!("it was not understood: {why}"));
    }
    let by: Vec<String> = library
        .needed_by
        .iter()
        .map(|other| format!("{} ({})", other.path, other.fate.word()))
        .collect();
    if by.is_empty() {
        let brings =
            if library.loaded { "a program opened it" } else { "only a program would open it" };
        line(out, 1, &format!("no library of the environment needs it: {brings}"));
    } else {
        line(out, 1, &format!("needed by {}", some(&by)));
    }
    if !library.bound_by.is_empty() {
        line(out, 1, &format!("its stand-in is for {}", some(&library.bound_by)));
    }
    if !library.needs.is_empty() {
        line(out, 1, &format!("needs {}", some(&library.needs)));
    }
}

/// One import.
fn import(step: &Imported) -> String {
    let Imported { path, line, kind, text, target, .. } = step;
    format!("{path}:{line}  {kind}  `{text}` → {target}")
}

fn one_module(out: &mut String, module: &ModuleAnswer) {
    match &module.file {
        Some(file) => {
            line(out, 0, &format!("{}: {}: {}", module.name, file.fate.word(), file.why));
            line(out, 1, &format!("{}: {}", file.path, owned(file)));
        }
        None => line(out, 0, &format!("{}: a folder that Python makes a package of", module.name)),
    }
    match module.chain.as_deref() {
        Some([first, ..]) => {
            line(out, 1, "what imports it, from what the application imports itself:");
            line(out, 2, &first.importer);
            for step in module.chain.iter().flatten() {
                line(out, 2, &import(step));
            }
            if let Some(unsure) = &module.unsure {
                line(
                    out,
                    2,
                    &format!(
                        "(whether that import of {unsure} ran is not known; the application may import it itself)"
                    ),
                );
            }
        }
        Some([]) => line(
            out,
            1,
            "no module that was imported before it imports it by name: the application does, a library's code, or Python itself",
        ),
        None => {}
    }
    if !module.importers.is_empty() {
        line(out, 1, "would be imported by:");
        for step in &module.importers {
            let hot = if step.hot { "" } else { "  (not imported itself)" };
            let around = if step.around { ", around what is named" } else { "" };
            line(out, 2, &format!("{}{around}{hot}", import(step)));
        }
        let more = module.importers_all - module.importers.len();
        if more > 0 {
            line(out, 2, &format!("and {more} more imports"));
        }
    }
    if module.importers.is_empty() && module.known && !module.imported {
        line(out, 1, "no module of the environment imports it by name");
    }
    if !module.calls.is_empty() {
        line(out, 1, "calls near it that import what their text does not say:");
        for found in &module.calls {
            line(out, 2, &format!("{}:{}  `{}`", found.path, found.call.line, found.call.text));
        }
    }
    if let Some(waiting) = &module.waiting {
        waits(out, 1, waiting);
    }
}

fn waits(out: &mut String, depth: usize, waiting: &Waiting) {
    let gates = &waiting.gates;
    if !waiting.waits {
        let group = &waiting.group;
        line(
            out,
            depth,
            &format!(
                "it runs when it is imported, with the group of {group}, which cannot be deferred:"
            ),
        );
        let objections = waiting.objections.iter().take(ROWS);
        objections.for_each(|one| line(out, depth + 1, one));
        let more = waiting.objections.len().saturating_sub(ROWS);
        if more > 0 {
            line(out, depth + 1, &format!("and {more} more"));
        }
        return;
    }
    line(out, depth, &format!("it is deferred with the group of {}, until", waiting.group));
    gate(out, depth + 1, "one of these is read", &gates.attributes);
    line(out, depth + 1, "a module of the same package is imported that no workload imported");
    gate(out, depth + 1, "operators of these namespaces are looked at", &gates.namespaces);
    gate(out, depth + 1, "a tensor without data is made, for which it has kernels", &gates.keys);
    gate(out, depth + 1, "torch._C is asked for what is registered", &gates.functions);
}

fn gate(out: &mut String, depth: usize, what: &str, names: &[String]) {
    if !names.is_empty() {
        line(out, depth, &format!("{what}: {}", some(names)));
    }
}

fn many_files(out: &mut String, sum: &SumAnswer) {
    let (files, bytes) = (sum.files, size(sum.bytes));
    match sum.of {
        "environment" => line(out, 0, &format!("{files} files of the environment, {bytes}:")),
        of => line(out, 0, &format!("{} ({of}): {files} files, {bytes}:", sum.name)),
    }
    let shares = &sum.shares;
    let (hot, cold, left) = (size(shares.hot), size(shares.cold), size(shares.out));
    line(out, 1, &format!("{hot} hot, {cold} cold, {left} out"));
    for row in &sum.rows {
        let parts = &row.shares;
        let stays = match (parts.hot, parts.cold) {
            (0, 0) => String::new(),
            (hot, 0) if hot == row.bytes => String::new(),
            (0, cold) if cold == row.bytes => String::new(),
            (hot, cold) => format!(" ({} hot, {} cold of it)", size(hot), size(cold)),
        };
        line(
            out,
            1,
            &format!(
                "{:<4} {:>6} files {:>10}  {}{stays}",
                row.fate.word(),
                row.files,
                size(row.bytes),
                row.why
            ),
        );
    }
    if sum.of == "environment" {
        return;
    }
    line(out, 1, "the largest files:");
    for file in &sum.largest {
        let (path, fate) = (&file.path, file.fate.word());
        line(out, 2, &format!("{fate:<4} {:>10}  {path}", size(file.size)));
    }
}

fn code(out: &mut String, answer: &FunctionsAnswer) {
    if let Some(operator) = &answer.operator {
        line(out, 0, &format!("{operator} (operator): {} functions serve it", answer.matches));
    } else if answer.matches > 1 {
        line(
            out,
            0,
            &format!("{} functions of libraries have that in their names", answer.matches),
        );
    }
    for function in &answer.shown {
        one_function(out, function);
    }
    let more = answer.matches - answer.shown.len();
    if more > 0 {
        line(out, 0, &format!("and {more} more"));
    }
}

/// At most so many letters of a name.
fn cut(name: &str, letters: usize) -> String {
    let mut out: String = name.chars().take(letters).collect();
    if out.len() < name.len() {
        out.push('…');
    }
    out
}

fn short(names: &[String]) -> String {
    names.iter().map(|name| cut(name, 60)).collect::<Vec<_>>().join(", ")
}

fn one_function(out: &mut String, function: &FunctionAnswer) {
    let name = cut(&function.name, 160);
    line(out, 0, &format!("{name}: {}: {}", function.fate.word(), function.why));
    let role = function.role.map(|role| format!("{role}; ")).unwrap_or_default();
    let bytes = if function.size == 0 { "size unknown".into() } else { size(function.size) };
    let pages = function.pages.iter().map(|(state, count)| format!("{count} {state}"));
    let pages = pages.collect::<Vec<_>>().join(", ");
    let pages = if pages.is_empty() { pages } else { format!("; pages: {pages}") };
    line(out, 1, &format!("{role}{} at {:#x}, {bytes}{pages}", function.library, function.address));
    if !function.shares_with.is_empty() {
        line(out, 1, &format!("on its page: {}", short(&function.shares_with)));
    }
}

fn gpu(out: &mut String, answer: &ArchitectureAnswer) {
    line(
        out,
        0,
        &format!("{} (GPU architecture): {}: {}", answer.name, answer.fate.word(), answer.why),
    );
    let Some(bytes) = answer.bytes else { return };
    let files = answer.files.len();
    line(out, 1, &format!("the environment has {} of code for it, in {files} files", size(bytes)));
    if answer.stays > 0 {
        line(out, 1, &format!("of that, {} are in the package", size(answer.stays)));
    }
    for file in answer.files.iter().take(ROWS) {
        let stays = if file.stays > 0 {
            format!(", {} of it in the package", size(file.stays))
        } else {
            String::new()
        };
        line(
            out,
            2,
            &format!("{:>10}  {} ({}{stays})", size(file.bytes), file.path, file.fate.word()),
        );
    }
}

fn all(out: &mut String, summary: &SummaryAnswer) {
    let about = &summary.about;
    let mut flags = format!("--target {} --cpu {} --cold {}", about.target, about.cpu, about.cold);
    if about.eager {
        flags.push_str(" --eager");
    }
    for (flag, names) in [("--keep", &about.keep), ("--drop", &about.drop)] {
        for name in names {
            flags.extend([" ", flag, " ", name]);
        }
    }
    let (python, torch) = (&about.python, &about.torch);
    line(
        out,
        0,
        &format!(
            "packed by taper {} with {flags}, for Python {python}, torch {torch}",
            about.taper
        ),
    );
    many_files(out, &summary.sum);
    if about.groups.is_empty() {
        let why = match (about.eager, about.cold.as_str()) {
            (true, _) => "--eager was given",
            (_, "drop") => "with --cold drop, none may",
            _ => "no workload imported one that could",
        };
        line(out, 0, &format!("no module is deferred: {why}"));
    }
    for group in &about.groups {
        let modules = group.members.len();
        if group.is_deferred() {
            line(
                out,
                0,
                &format!(
                    "{} and what it alone imports are deferred, {modules} modules:",
                    group.root
                ),
            );
            line(out, 1, &some(&group.members));
            line(out, 1, &format!("`taper explain OUT {}` says until when", group.root));
        } else {
            line(out, 0, &format!("{} is not deferred:", group.root));
            line(out, 1, &some(&group.objections));
        }
    }
}
