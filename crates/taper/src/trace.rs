//! `taper trace`, and the trace phase of `taper pack`.

use crate::args::{Cpu, Global, Trace};
use crate::capability::{PINS, capabilities};
use crate::exit::{Exit, bad_input};
use crate::record;
use crate::scope;
use crate::talk::Talk;
use crate::view::{self, View};
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
use tracer::{Options, Output, Status};

/// Runs the command.
pub fn run(command: &Trace, global: &Global, talk: &Talk) -> Result<Exit> {
    let before = match (command.append, command.output.exists()) {
        (true, true) => Some(Profile::read(&command.output)?),
        _ => None,
    };
    let interpreter = Interpreter::find(global.python.as_deref())?;
    let environment = talk.phase("scan", || Environment::scan(interpreter))?;
    environment.torch()?;
    scope::tell(&environment);
    let view = talk.phase("view", || view::for_cpu(&environment))?;
    let mut made = trace(
        &environment,
        &view,
        &command.command,
        command.target.target.name(),
        command.target.cpu,
        talk,
    )?;
    made.operators = record::operators(&environment, &view, &command.command, talk)?;
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
            "seconds": talk.seconds(),
        });
        println!("{summary:#}");
    } else {
        talk.say(&format!(
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
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let context = || format!("cannot write the profile {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.persist(&absolute).with_context(context)?;
    Ok(())
}

/// Runs `command` once for each capability that `cpu` allows, in the view.
pub fn trace(
    environment: &Environment,
    view: &View,
    command: &[OsString],
    target: &str,
    cpu: Cpu,
    talk: &Talk,
) -> Result<Profile> {
    let interpreter = &environment.interpreter;
    let (capabilities, unseen) = capabilities(cpu, interpreter);
    for name in unseen {
        Talk::warn(&format!(
            "this processor cannot show what libraries do on one with {name}, which --cpu {} \
             allows; trace there too and merge the profiles, or set ATEN_CPU_CAPABILITY on it",
            cpu.name()
        ));
    }
    let flips = view::other_vendor(environment)?;
    let mut identities = Identities::new(environment);
    let mut all = Profile::new(&interpreter.version, &environment.torch()?.version, target);
    let shown: Vec<String> =
        command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    for (number, capability) in capabilities.iter().enumerate() {
        if capability.other_vendor && flips.is_empty() && capability.variables.is_empty() {
            continue;
        }
        let results = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut workload = verify::in_original(interpreter, command)?;
        workload.stdout = if number == 0 {
            // The workload's words must not mix with a result on standard output.
            let stderr = std::io::stderr().as_fd().try_clone_to_owned();
            Output::File(stderr.context("cannot share standard error")?.into())
        } else {
            Output::Null
        };
        if number > 0 {
            workload.stderr = Output::Null;
        }
        if !capability.inherits {
            for name in PINS {
                workload.env.remove(OsStr::new(name));
            }
        }
        for (name, value) in &capability.variables {
            workload.env.insert((*name).into(), value.into());
        }
        workload.env.insert(verify::OUTPUT_VARIABLE.into(), results.path().into());
        let options = Options {
            roots: environment.roots(),
            pages: true,
            // Which files are asked about does not depend on the processor.
            probes: number == 0,
            redirects: view.redirects.clone(),
            patches: if capability.other_vendor { flips.clone() } else { BTreeMap::new() },
        };
        let seen = talk.phase("trace", || tracer::run(workload, &options))?;
        let exit = match seen.status {
            Status::Exited(0) => 0,
            Status::Exited(code) => {
                return Err(bad_input(format!(
                    "the workload ended with exit code {code} (CPU capability {}); taper packs \
                     what a successful run uses: make `{}` succeed first",
                    capability.name,
                    shown.join(" ")
                )));
            }
            Status::Signaled(signal) => {
                return Err(bad_input(format!(
                    "the workload was ended by signal {signal} (CPU capability {}); taper packs \
                     what a successful run uses: make `{}` succeed first",
                    capability.name,
                    shown.join(" ")
                )));
            }
        };
        scope::check(environment, &seen.opened, command)?;
        let mut one = Profile::new(&all.python, &all.torch, target);
        one.runs.push(Run {
            command: shown.clone(),
            capability: capability.name.clone(),
            exit,
            processes: seen.processes,
        });
        for (path, pages) in seen.libraries {
            if let Some(name) = environment.relative(&path) {
                let (build_id, content) = identities.of(&path)?;
                let threaded = seen.threaded.contains(&path);
                one.libraries.insert(name, LibraryUse { build_id, content, threaded, pages });
            }
        }
        let inside = |path: &PathBuf| environment.relative(path);
        one.opened.extend(seen.opened.iter().chain(&seen.mapped).filter_map(inside));
        one.probed.extend(seen.probed.iter().filter_map(inside));
        all.merge(&one)?;
    }
    Ok(all)
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
