//! `taper trace`, and the trace phase of `taper pack`.

use crate::args::{Cpu, Global, Trace};
use crate::capability::{Capability, PINS, capabilities};
use crate::exit::{Exit, bad_input};
use crate::printer::Printer;
use crate::recorded_operators;
use crate::runs::{self, Order, Runs};
use crate::scope;
use crate::target_view::{self, TargetView};
use anyhow::{Context, Result};
use elf::Library;
use environment::{Environment, Interpreter};
use plan::MappedFile;
use profile::{LibraryUse, Profile, Run};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use tracer::{Observations, Options, Output, Status, Workload};

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
    scope::tell(&environment);
    let view = printer.phase("view", || target_view::for_cpu(&environment))?;
    let runs = Runs::new(&command.run);
    let order =
        Order { command: &command.command, runs: &runs, then: &[("to record operators", 1)] };
    let (target, cpu) = (command.target.target.name(), command.target.cpu);
    let mut made = trace(&environment, &view, &order, target, cpu, printer)?;
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
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    tempfile::NamedTempFile::new_in(folder)
        .map_err(|error| bad_input(format!("cannot write the profile {}: {error}", path.display())))
}

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

/// The identities of libraries, each worked out once.
pub struct Identities<'a> {
    environment: &'a Environment,
    known: BTreeMap<PathBuf, (Option<String>, String)>,
}

impl<'a> Identities<'a> {
    /// None known yet.
    pub fn new(environment: &'a Environment) -> Self {
        Self { environment, known: BTreeMap::new() }
    }

    /// The build id, where there is one, and the BLAKE3 hash of the library at `path`.
    pub fn of(&mut self, path: &Path) -> Result<(Option<String>, String)> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let bytes = MappedFile::open(path)?;
        let build_id = Library::parse(&bytes).ok().and_then(|library| {
            library.build_id().map(|id| id.iter().copied().fold(String::new(), hex))
        });
        let content = blake3::Hasher::new().update_rayon(&bytes).finalize().to_hex().to_string();
        self.known.insert(path.into(), (build_id.clone(), content.clone()));
        Ok((build_id, content))
    }

    /// The hash of the library with this path in site-packages; `None` if it is gone.
    pub fn content(&mut self, name: &str) -> std::io::Result<Option<String>> {
        let Some(path) = self.environment.locate(name) else { return Ok(None) };
        if !path.exists() {
            return Ok(None);
        }
        self.of(&path).map(|(_, content)| Some(content)).map_err(std::io::Error::other)
    }
}

fn hex(mut text: String, byte: u8) -> String {
    use std::fmt::Write;
    // Writing to a string does not fail.
    let _ = write!(text, "{byte:02x}");
    text
}

/// The workload when none is given.
pub fn default_workload(_: &Interpreter) -> Vec<OsString> {
    ["python", "-c", "import torch"].map(Into::into).to_vec()
}
