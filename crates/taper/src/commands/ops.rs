//! `taper ops`.

use crate::args::{Global, OperatorFormat, Ops};
use crate::exit::Exit;
use anyhow::{Context, Result};
use environment::Interpreter;
use operators::{Format, Model, ModelFile, Operators, Schema, Signatures};
use report::Printer;
use report::bad_input;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use workload::Installed;

/// Runs the command.
pub fn run(command: &Ops, global: &Global, printer: &Printer) -> Result<Exit> {
    if global.json && command.format != OperatorFormat::Text {
        return Err(bad_input("--json and --format are two ways to write the same: name one"));
    }
    let mut all = Operators::default();
    let mut installed = None;
    let mut sources = Vec::new();
    for path in &command.files {
        let found = printer.phase("read", || read(path, global, &mut installed))?;
        sources.push(serde_json::json!({
            "path": path,
            "operators": found.operators.len(),
        }));
        all.merge(found);
    }
    if command.training {
        all.operators.values_mut().for_each(|used| used.training = true);
    }
    let text = if global.json {
        format!("{:#}\n", document(&all, &sources))
    } else {
        match command.format {
            OperatorFormat::Text => lines(&all),
            OperatorFormat::List => operators::list(&all, Format::List),
            OperatorFormat::Selective => operators::list(&all, Format::Selective),
        }
    };
    match &command.output {
        Some(path) => std::fs::write(path, text)
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => print!("{text}"),
    }
    for note in &all.notes {
        Printer::warn(note);
    }
    let roots = all.operators.values().filter(|used| used.root).count();
    printer.say(&format!("{} operators, {roots} of them called directly", all.operators.len()));
    Ok(Exit::Done)
}

/// The operators of one file. `installed` is filled when the first file needs it.
fn read(path: &Path, global: &Global, installed: &mut Option<Installed>) -> Result<Operators> {
    let name = path.display().to_string();
    let failed = |source| operators::Error::Read { path: name.clone(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut start = [0; 4];
    let is_zip = file.read_exact(&mut start).is_ok() && start == *b"PK\x03\x04";
    if !is_zip {
        return workload::profiled_operators(path);
    }
    let model = ModelFile::open(std::io::BufReader::new(file), &name)?;
    match model.model {
        Model::Exported => Ok(model.operators(&Nothing)?),
        Model::Script => {
            let installed = if let Some(installed) = installed {
                installed
            } else {
                let interpreter = Interpreter::find(global.python.as_deref())?;
                installed.insert(Installed::read(&interpreter)?)
            };
            Ok(model.operators(installed)?)
        }
    }
}

/// No signatures: an exported program needs none.
struct Nothing;

impl Signatures for Nothing {
    fn of(&self, _: &str) -> Vec<Arc<Schema>> {
        Vec::new()
    }
}

/// The operators for programs.
fn document(all: &Operators, sources: &[serde_json::Value]) -> serde_json::Value {
    let operators: Vec<serde_json::Value> = all
        .operators
        .iter()
        .map(|(operator, used)| {
            let mut one = serde_json::to_value(used).unwrap_or_default();
            if let Some(one) = one.as_object_mut() {
                one.insert("name".into(), operator.name.clone().into());
                one.insert("overload".into(), operator.overload.clone().into());
            }
            one
        })
        .collect();
    serde_json::json!({
        "sources": sources,
        "operators": operators,
        "outside": all.outside,
        "classes": all.classes,
        "parameters": all.parameters,
        "notes": all.notes,
    })
}

/// The operators for people, a line each.
fn lines(all: &Operators) -> String {
    let mut text = String::new();
    let names: Vec<String> = all.operators.keys().map(ToString::to_string).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0).min(48);
    for (name, used) in names.iter().zip(all.operators.values()) {
        let mut said = Vec::new();
        if !used.dtypes.is_empty() {
            said.push(used.dtypes.iter().cloned().collect::<Vec<_>>().join(" "));
        }
        if used.training {
            said.push("training".into());
        }
        if !used.root {
            said.push("by other operators".into());
        }
        if let Some(calls) = used.calls {
            said.push(format!("{calls} calls"));
        }
        let places = used.origins.len() as u64 + used.more_origins;
        if let Some(first) = used.origins.first() {
            let more = if places > 1 { format!(" and {} more", places - 1) } else { String::new() };
            said.push(format!("{}{more}", first.text()));
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<width$}  {}", said.join("; "));
    }
    for (what, list) in [
        ("parameters and buffers are of", &all.parameters),
        ("classes of C++:", &all.classes),
        ("functions beside operators:", &all.outside),
    ] {
        if !list.is_empty() {
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let _ = writeln!(text, "# {what} {}", list.join(", "));
        }
    }
    text
}
