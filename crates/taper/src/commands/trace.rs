//! `taper trace`.

use crate::args::{Global, Trace};
use crate::exit::Exit;
use anyhow::{Context, Result};
use environment::{Environment, Interpreter};
use profile::Profile;
use report::{Printer, bad_input};
use std::io::Write;
use std::path::Path;
use workload::{Order, can_start, recorded_operators, scope, target_view};

/// Runs the command.
pub fn run(command: &Trace, global: &Global, printer: &Printer) -> Result<Exit> {
    let before = match (command.append, command.output.exists()) {
        (true, true) => Some(Profile::read(&command.output)?),
        _ => None,
    };
    let interpreter = Interpreter::find(global.python.as_deref())?;
    can_start(&interpreter, &command.command)?;
    // A place that cannot be written to is said before minutes of tracing, not after.
    drop(beside(&command.output)?);
    let environment = printer.phase("scan", || Environment::scan(interpreter))?;
    environment.torch()?;
    planner::has_libraries_of_torch(&environment)?;
    scope::tell(&environment);
    let view =
        printer.phase("view", || target_view::of(&environment, &command.target.target, &[]))?;
    let runs = command.run.runs();
    let order =
        Order { command: &command.command, runs: &runs, then: &[("to record operators", 1)] };
    let (target, cpu) = (command.target.target.to_string(), command.target.cpu.processors());
    let mut made = workload::trace(&environment, &view, &order, &target, cpu, printer)?;
    if runs.allowed(1) == 1 {
        made.operators = recorded_operators::operators(&environment, &view, &order, printer)?;
    }
    if let Some(mut before) = before {
        before.merge(&made)?;
        made = before;
    }
    write_whole(&command.output, &made.to_bytes())?;
    let operators = made.operators.as_ref().map(|seen| seen.operators.len());
    let pages: u64 = made.libraries.values().map(|library| library.pages.len()).sum();
    if global.json {
        let summary = serde_json::json!({
            "profile": command.output,
            "runs": made.runs,
            "libraries": made.libraries.len(),
            "files": made.opened.len(),
            "pages": pages,
            "operators": operators,
            "seconds": printer.seconds(),
        });
        println!("{summary:#}");
    } else {
        printer.say(&format!(
            "{}: {} libraries, {pages} pages, {} files, {} operators, {} runs",
            command.output.display(),
            made.libraries.len(),
            made.opened.len(),
            operators.unwrap_or(0),
            made.runs.len()
        ));
    }
    Ok(Exit::Done)
}

/// Writes `bytes` so that the file is the old or the new one, never a part.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let context = || format!("cannot write the profile {}", path.display());
    let mut file = beside(path)?;
    file.write_all(bytes).with_context(context)?;
    file.persist(std::path::absolute(path)?).with_context(context)?;
    Ok(())
}

/// A file in the folder of `path` that disappears unless it is given that name.
fn beside(path: &Path) -> Result<tempfile::NamedTempFile> {
    let refused =
        |why: String| bad_input(format!("cannot write the profile {}: {why}", path.display()));
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        return Err(refused(format!("there is no folder {}", folder.display())));
    }
    tempfile::NamedTempFile::new_in(folder).map_err(|error| refused(error.to_string()))
}
