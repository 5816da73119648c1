//! One more run of a workload, in which PyTorch records its operators.
//!
//! PyTorch has an observer that writes each call of its dispatcher to a file, with the
//! operator's signature and the types of its arguments. It is told of calls in every thread,
//! autograd's and TorchScript's own among them, which what Python can wrap around a call is
//! not. It must be started in the process. So the tracer gives the workload, where it opens
//! `torch/__init__.py`, that file with lines at its end: each process that imports torch
//! starts its own, whatever started it. Nothing in the environment is changed, and pages are
//! not traced in this run.

use crate::runs::Order;
use crate::target_view::TargetView;
use anyhow::{Context, Result};
use environment::Environment;
use operators::Execution;
use profile::{OperatorUse, RunOperators};
use report::Printer;
use std::ffi::OsStr;
use std::io::BufReader;
use tracer::{Options, Output, Redirect, Status};

/// Where torch's own module is.
const MODULE: &str = "torch/__init__.py";

/// The variable that says where processes record. Their environment is the only thing that
/// each of them has.
const VARIABLE: &str = "_TAPER_RECORD";

/// What stands at the end of torch's module in this run.
const LINES: &str = include_str!("recorded_operators.py");

/// Runs a workload and gives the operators that it used; `None`, with a warning, where it did
/// not end well this time.
///
/// # Errors
/// If the run cannot be made at all.
pub fn operators(
    environment: &Environment,
    view: &TargetView,
    order: &Order<'_>,
    printer: &Printer,
) -> Result<Option<RunOperators>> {
    let command = order.command;
    let interpreter = &environment.interpreter;
    let Some(source) = environment.locate(MODULE) else { return Ok(None) };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let results = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut text = std::fs::read_to_string(&source)
        .with_context(|| format!("cannot read {}", source.display()))?;
    text.push_str(LINES);
    let place = results.path().join("__init__.py");
    std::fs::write(&place, text).context("cannot write a temporary file")?;
    let mut redirects = view.redirects.clone();
    // Python must not take the bytecode of the other source.
    let cached = environment::bytecode_of(MODULE, interpreter.minor());
    redirects.extend(environment.locate(&cached).map(|cached| (cached, Redirect::Hide)));
    redirects.insert(source, Redirect::To(place));

    let mut workload = verify::in_original(interpreter, command)?;
    (workload.stdout, workload.stderr) = (Output::Null, Output::Null);
    let output = results.path().join("output");
    std::fs::create_dir(&output).context("cannot make a temporary folder")?;
    workload.env.insert(verify::OUTPUT_VARIABLE.into(), output.into());
    workload.env.insert(VARIABLE.into(), folder.path().into());
    verify::own_caches(&mut workload, &results.path().join("caches"));
    // The observer says that it begins.
    let quiet = OsStr::new("TORCH_CPP_LOG_LEVEL");
    workload.env.entry(quiet.into()).or_insert_with(|| "ERROR".into());
    let options = Options { redirects, ..Options::default() };
    let seen = printer.phase("record", || order.runs.run(workload, options))?;
    if seen.status != Status::Exited(0) {
        Printer::warn(&format!(
            "the workload ended with {:?} when PyTorch recorded its operators: the profile has none",
            seen.status
        ));
        return Ok(None);
    }
    let mut all = RunOperators::default();
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    all.commands.insert(words.join(" "));
    let entries = std::fs::read_dir(folder.path()).context("cannot read a temporary folder")?;
    for entry in entries {
        let path = entry.context("cannot read a temporary folder")?.path();
        let file = std::fs::File::open(&path).context("cannot read what PyTorch recorded")?;
        let found = Execution::read(BufReader::with_capacity(1 << 20, file))
            .context("cannot read what PyTorch recorded")?;
        if found.cut {
            Printer::warn("a process made more calls than are read; operators of later ones miss");
        }
        if found.operators.is_empty() {
            continue;
        }
        all.processes += 1;
        for (operator, called) in found.operators {
            let used = OperatorUse {
                calls: called.calls,
                direct: called.direct,
                backward: called.backward,
                differentiated: called.differentiated,
                dtypes: called.dtypes,
            };
            all.operators.entry(operator.to_string()).or_default().add(&used);
        }
    }
    Ok(Some(all))
}
