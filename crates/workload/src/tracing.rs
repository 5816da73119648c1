//! Runs of a workload under the tracer, one for each kind of processor that a target allows.

use crate::Cpu;
use crate::cpu_levels::{Capability, PINS, capabilities};
use crate::identities::Identities;
use crate::runs::{self, Order};
use crate::scope;
use crate::target_view::{self, TargetView};
use anyhow::{Context, Result};
use environment::{Environment, Interpreter};
use profile::{LibraryUse, Profile, Run};
use report::{Printer, bad_input};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use tracer::{Observations, Options, Output, Status, Workload};

/// Checks that there is a program to start.
///
/// # Errors
/// Says which there is not.
pub fn can_start(interpreter: &Interpreter, command: &[OsString]) -> Result<()> {
    let program = verify::in_original(interpreter, command)?.program;
    if program.is_file() {
        return Ok(());
    }
    Err(bad_input(format!(
        "there is no program {}: after -- comes the command that starts the application, as in \
         -- python app.py",
        program.display()
    )))
}

/// Runs a workload once for each capability that `cpu` allows, in the view.
pub fn trace(
    environment: &Environment,
    view: &TargetView,
    order: &Order<'_>,
    target: &str,
    cpu: Cpu,
    printer: &Printer,
) -> Result<Profile> {
    let interpreter = &environment.interpreter;
    let Order { command, runs, then } = *order;
    let (mut capabilities, unseen) = capabilities(cpu, interpreter);
    for name in unseen {
        printer.say(&format!(
            "what libraries run on processors with {name} is not traced: this one has none; trace on \
             one that has and pack from both profiles, or say --cpu native"
        ));
    }
    let flips = target_view::other_vendor(environment)?;
    capabilities.retain(|capability| {
        !(capability.other_vendor && flips.is_empty() && capability.variables.is_empty())
    });
    runs.announce(capabilities.len() as u32, then, printer);
    let wanted = runs.allowed(capabilities.len() as u32) as usize;
    capabilities.truncate(wanted);
    let mut identities = Identities::new(environment);
    let mut all = Profile::new(&interpreter.version, &environment.torch()?.version, target);
    let shown: Vec<String> =
        command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    for (number, capability) in capabilities.iter().enumerate() {
        if runs.were_stopped() {
            break;
        }
        let results = tempfile::tempdir().context("cannot make a temporary folder")?;
        let caches = tempfile::tempdir().context("cannot make a temporary folder")?;
        let said = results.path().with_extension("stderr");
        let said = (number > 0).then_some(&*said);
        let mut workload = workload(interpreter, command, capability, said)?;
        workload.env.insert(verify::OUTPUT_VARIABLE.into(), results.path().into());
        verify::own_caches(&mut workload, caches.path());
        let options = Options {
            roots: environment.roots(),
            pages: true,
            // Which files are asked about does not depend on the processor.
            probes: number == 0,
            redirects: view.redirects.clone(),
            patches: if capability.other_vendor { flips.clone() } else { BTreeMap::new() },
            ..Options::default()
        };
        let seen = printer.phase("trace", || {
            printer.step(format!("run {} of {wanted}, as {}", number + 1, capability.name));
            runs.run(workload, options)
        })?;
        if seen.status != Status::Exited(0) {
            let (name, variables) = (&capability.name, &capability.variables);
            return Err(runs::failed(seen.status, name, command, variables, said));
        }
        scope::check(environment, &seen.opened, command)?;
        let run = Run {
            command: shown.clone(),
            capability: capability.name.clone(),
            exit: 0,
            processes: seen.processes,
        };
        let mut one = Profile::new(&all.python, &all.torch, target);
        one.runs.push(run);
        add(&mut one, seen, environment, &mut identities)?;
        all.merge(&one)?;
    }
    if runs.were_stopped() {
        printer.say(
            "a person stopped the workload, so it is not run again: what it does on other \
             processors was not seen; --stop-after SECONDS stops each run by itself",
        );
    }
    Ok(all)
}

/// The workload `command` held at `capability`. It speaks on standard error, or where it is one of
/// several runs, into the file `said`.
fn workload(
    interpreter: &Interpreter,
    command: &[OsString],
    capability: &Capability,
    said: Option<&Path>,
) -> Result<Workload> {
    let mut workload = verify::in_original(interpreter, command)?;
    if let Some(said) = said {
        workload.stdout = Output::Null;
        let file = std::fs::File::create(said).context("cannot make a temporary file")?;
        workload.stderr = Output::File(file);
    } else {
        // The workload's words must not mix with a result on standard output.
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        workload.stdout = Output::File(stderr.context("cannot share standard error")?.into());
    }
    if !capability.inherits {
        for name in PINS {
            workload.env.remove(OsStr::new(name));
        }
    }
    for (name, value) in &capability.variables {
        workload.env.insert((*name).into(), value.into());
    }
    Ok(workload)
}

/// Adds what a run was seen to use of `environment` to its `profile`.
fn add(
    profile: &mut Profile,
    seen: Observations,
    environment: &Environment,
    identities: &mut Identities<'_>,
) -> Result<()> {
    for (path, pages) in seen.libraries {
        if let Some(name) = environment.relative(&path) {
            let (build_id, content) = identities.of(&path)?;
            let threaded = seen.threaded.contains(&path);
            profile.libraries.insert(name, LibraryUse { build_id, content, threaded, pages });
        }
    }
    let inside = |path: &PathBuf| environment.relative(path);
    profile.opened.extend(seen.opened.iter().chain(&seen.mapped).filter_map(inside));
    profile.probed.extend(seen.probed.iter().filter_map(inside));
    Ok(())
}

/// The workload when none is given.
pub fn default_workload() -> Vec<OsString> {
    ["python", "-c", "import torch"].map(Into::into).to_vec()
}
