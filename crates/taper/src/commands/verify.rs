//! `taper verify`.

use crate::args::{Global, Verify};
use crate::exit::Exit;
use anyhow::Result;
use environment::Interpreter;
use package::{MANIFEST, Manifest};
use report::Printer;
use report::bad_input;

/// Runs the command.
pub fn run(command: &Verify, global: &Global, printer: &Printer) -> Result<Exit> {
    let interpreter = Interpreter::find(global.python.as_deref())?;
    let manifest = command.package.join(MANIFEST);
    let text = std::fs::read(&manifest).map_err(|error| {
        bad_input(format!(
            "{} is not a package: cannot read {MANIFEST}: {error}",
            command.package.display()
        ))
    })?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| {
        bad_input(format!("{} is damaged: {error}; pack again", manifest.display()))
    })?;
    if manifest.python != interpreter.version {
        return Err(bad_input(format!(
            "the package is for Python {}, the environment has {}; name another with --python",
            manifest.python, interpreter.version
        )));
    }
    workload::can_start(&interpreter, &command.command)?;
    let verdict = printer.phase("verify", || {
        verify::verify(&interpreter, &command.package, &command.command, command.stop_after)
    })?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&verdict)?);
    }
    tell(&verdict, printer);
    Ok(if verdict.holds { Exit::Done } else { Exit::DoesNotHold })
}

/// Says what a verification found.
pub fn tell(verdict: &verify::Verdict, printer: &Printer) {
    for difference in &verdict.differences {
        Printer::warn(&difference.to_string());
    }
    for leak in &verdict.leaks {
        Printer::warn(&format!(
            "the run in the package used {}: {}",
            leak.path.display(),
            leak.why
        ));
    }
    if verdict.holds {
        printer.say(&format!(
            "verified: exit code {}, standard output and {} files are identical; nothing outside \
             the package and the bare interpreter was loaded",
            verdict.exit, verdict.files
        ));
    }
}
