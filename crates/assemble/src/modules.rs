//! The Python modules of a package: as files with bytecode, or in its store.

use crate::unit::Unit;
use crate::{Packing, absent};
use anyhow::{Context, Result, bail};
use environment::{Environment, File, bytecode_of, module_of};
use format::{STUB, place};
use package::{
    Answers, Bytecode, Compiler, Content, ENTRANCE, Entry, RUNTIME, StoredModule, archive, cached,
    checked, renamed, unchecked,
};
use plan::{Action, Cold, FilePlan, Plan, Reason};
use rayon::prelude::*;
use startup::defer::Group;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The modules of a package.
#[derive(Default)]
pub struct Modules<'a> {
    /// Files.
    pub units: Vec<Unit<'a>>,
    /// Bytes of the store.
    pub stored: u64,
    /// Bytes that the modules in the store have as they are installed.
    pub original: u64,
}

/// What stands in a source file that nobody read, where such sources leave. Python uses
/// its bytecode; there are no lines for tracebacks and `inspect.getsource` raises OSError.
const NO_SOURCE: &[u8] =
    b"# The source of this module is not in this package: no workload read it.\n";

/// One module while it is prepared.
struct Module<'p> {
    plan: &'p FilePlan,
    text: Vec<u8>,
    /// The file to compile it from.
    source: PathBuf,
    /// Its code, where the installer left it and Python would use it.
    code: Option<Vec<u8>>,
    /// Bytes of the installer's bytecode that are used.
    hot: u64,
}

/// Every module with its bytecode: what the installer left, where Python would use it,
/// and else compiled anew. `answers` is what its functions remember.
/// With [`Cold::Keep`], the sources of what is in the store are there too.
pub fn modules<'a>(packing: &Packing<'_>, answers: &Answers) -> Result<Modules<'a>> {
    let Packing { environment, plan, deferred, asked, .. } = *packing;
    let fate = plan.cold;
    let interpreter = &environment.interpreter;
    let bytecode = Bytecode { magic: interpreter.magic, minor: interpreter.minor() };
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut read = prepared(environment, plan, bytecode, scratch.path())?;
    let compiler = Compiler { python: interpreter.executable.clone() };
    compile_missing(&mut read, &compiler)?;
    let mut out = Modules::default();
    let mut stored = Vec::new();
    for module in read {
        let found = &environment.files[module.plan.index];
        match module.plan.action {
            Action::Module { stored: Some(order), .. } if module.code.is_some() => {
                stored.push((order, out.add_stored(module, found, fate, bytecode)));
            }
            _ => out.add_file(module, found, bytecode),
        }
    }
    texts(environment, plan, &mut out, &mut stored)?;
    if stored.is_empty() {
        return Ok(out);
    }
    // What is deferred is not unpacked with what is not.
    let later = |module: &StoredModule| is_deferred(deferred, &module.path);
    stored.sort_by_key(|(order, module)| (later(module), *order));
    let stored: Vec<StoredModule> = stored.into_iter().map(|(_, module)| module).collect();
    let absent = absent::absent(environment, plan);
    for entry in archive(&stored, answers, &absent, asked.level)? {
        if let Content::Bytes(bytes) = &entry.content {
            out.stored += bytes.len() as u64;
        }
        out.units.push(Unit { entry, reason: Reason::Store, hot: 0, check: None });
    }
    let spares = fate == Cold::Keep && !asked.eager;
    let version = &environment.interpreter.full_version;
    let planned = startup::defer::planned(deferred, spares, version).into_bytes();
    let runtime = || RUNTIME.into_iter().chain([(place::PLANNED, planned.as_slice())]);
    for (path, text) in runtime() {
        out.units.push(unit(path.into(), text.to_vec(), false, Reason::Store, 0));
    }
    let tops = stored.iter().filter(|module| module.is_top());
    let files = tops
        .map(|module| (module.path.clone(), ENTRANCE))
        .chain(runtime().map(|(path, text)| (path.to_owned(), text)));
    entrances(&mut out.units, files.collect(), bytecode, &compiler, scratch.path())?;
    Ok(out)
}

/// Compiles those of `modules` of which the installer left no bytecode that Python would use.
fn compile_missing(modules: &mut [Module<'_>], compiler: &Compiler) -> Result<()> {
    let missing: Vec<&mut Module<'_>> =
        modules.iter_mut().filter(|module| module.code.is_none()).collect();
    let list: Vec<(PathBuf, String)> =
        missing.iter().map(|module| (module.source.clone(), module.plan.path.clone())).collect();
    let compiled = compiler.compile(&list)?;
    if compiled.len() != missing.len() {
        bail!("the compiler left out modules; this is a fault in taper");
    }
    for (module, code) in missing.into_iter().zip(compiled) {
        module.code = code;
    }
    Ok(())
}

impl Modules<'_> {
    /// Adds the file that stands where the module `found` was, and gives what goes to the store.
    fn add_stored(
        &mut self,
        module: Module<'_>,
        found: &File,
        fate: Cold,
        bytecode: Bytecode,
    ) -> StoredModule {
        let (read, cold) = match module.plan.action {
            Action::Module { read, cold, .. } => (read, cold),
            _ => (false, false),
        };
        let path = module.plan.path.clone();
        let keeps = module.plan.action.keeps_source();
        let file = keeps.then(|| bytecode.hash(&module.text));
        let (mut code, mut source) = (module.code, None);
        // A workload read it, perhaps as a file: it stays one.
        let (text, reason, kept) = if keeps {
            (module.text, module.plan.reason, found.size)
        } else {
            if fate == Cold::Keep {
                self.original += found.size;
                source = Some(module.text);
            }
            (STUB.into(), if cold { Reason::Cold } else { Reason::Store }, 0)
        };
        // What no workload imported is compiled when it is imported: its code would
        // take more room than all sources, and Python compiles 13 MB of them a second.
        if cold && source.is_some() {
            code = None;
        } else {
            self.original += module.hot;
        }
        self.units.push(unit(path.clone(), text, found.mode & 0o111 != 0, reason, kept));
        StoredModule { path, code, source, read, cold, file }
    }

    /// Adds the module `found` as a file, with its bytecode.
    fn add_file(&mut self, module: Module<'_>, found: &File, bytecode: Bytecode) {
        // Where Python does not compile it either, the source is what runs.
        let keeps = module.plan.action.keeps_source() || module.code.is_none();
        let kept = if keeps { found.size } else { 0 };
        let text = if keeps { module.text } else { NO_SOURCE.to_vec() };
        let path = module.plan.path.clone();
        if let Some(code) = module.code {
            // Whoever edits the file wants that to run.
            let file = checked(bytecode, &text, &code);
            let path = bytecode_of(&path, bytecode.minor);
            self.units.push(unit(path, file, false, Reason::Bytecode, module.hot));
        }
        self.units.push(unit(path, text, found.mode & 0o111 != 0, module.plan.reason, kept));
    }
}

/// Adds the files whose texts lie beside the sources of modules to `stored`, with the line in
/// their place. Where no module is stored, nothing would give the texts: they are files.
fn texts(
    environment: &Environment,
    plan: &Plan,
    out: &mut Modules<'_>,
    stored: &mut Vec<(usize, StoredModule)>,
) -> Result<()> {
    let after = stored.iter().map(|(order, _)| order + 1).max();
    for file in plan.files.iter().filter(|file| file.action == Action::Text) {
        let found = &environment.files[file.index];
        let source = environment.source(found);
        let text = std::fs::read(&source)
            .map_err(|error| package::Error::Read { path: source.clone(), source: error })?;
        let (path, executable) = (file.path.clone(), found.mode & 0o111 != 0);
        let Some(order) = after else {
            out.units.push(unit(path, text, executable, file.reason, found.size));
            continue;
        };
        out.original += found.size;
        out.units.push(unit(path.clone(), STUB.into(), executable, file.reason, 0));
        let source = Some(text);
        let made = StoredModule { path, code: None, source, read: false, cold: true, file: None };
        stored.push((order, made));
    }
    Ok(())
}

/// Whether the module at `path` is deferred.
fn is_deferred(deferred: &[Group], path: &str) -> bool {
    let name = module_of(path);
    deferred.iter().any(|group| group.may_be_deferred() && group.members.contains(&name))
}

/// Reads every module and the bytecode that the installer left of it.
fn prepared<'p>(
    environment: &Environment,
    plan: &'p Plan,
    bytecode: Bytecode,
    scratch: &Path,
) -> Result<Vec<Module<'p>>> {
    let by_path: BTreeMap<&str, usize> =
        plan.files.iter().map(|file| (file.path.as_str(), file.index)).collect();
    let modules: Vec<&FilePlan> =
        plan.files.iter().filter(|file| matches!(file.action, Action::Module { .. })).collect();
    modules
        .into_par_iter()
        .map(|file| {
            let found = &environment.files[file.index];
            let source = environment.source(found);
            let text = std::fs::read(&source)
                .map_err(|error| package::Error::Read { path: source.clone(), source: error })?;
            let edited = planner::edited(&plan.target, &file.path, &text);
            if let Some(text) = edited.or_else(|| planner::giving(&plan.files, &file.path, &text)) {
                let source = scratch.join(file.path.replace('/', "+"));
                std::fs::write(&source, &text).context("cannot write a temporary file")?;
                return Ok(Module { plan: file, text, source, code: None, hot: 0 });
            }
            let twin = by_path
                .get(bytecode_of(&file.path, bytecode.minor).as_str())
                .map(|index| environment.source(&environment.files[*index]))
                .and_then(|path| std::fs::read(path).ok());
            let (mut code, mut hot) = (None, 0);
            if let Some(twin) = &twin
                && let Some(found) = cached(bytecode, twin, found.mtime, found.size)
            {
                code = Some(renamed(found, &source.to_string_lossy(), &file.path));
                hot = twin.len() as u64;
            }
            Ok(Module { plan: file, text, source, code, hot })
        })
        .collect()
}

/// Adds the bytecode of the modules of taper's own through which Python comes to the
/// store. It is never checked against its source, which may be the stored module's.
fn entrances(
    units: &mut Vec<Unit<'_>>,
    files: Vec<(String, &[u8])>,
    bytecode: Bytecode,
    compiler: &Compiler,
    scratch: &Path,
) -> Result<()> {
    let mut list = Vec::new();
    for (path, text) in &files {
        let source = scratch.join(path.replace('/', "+"));
        std::fs::write(&source, text).context("cannot write a temporary file")?;
        list.push((source, path.clone()));
    }
    let compiled = compiler.compile(&list)?;
    for ((path, text), code) in files.into_iter().zip(compiled) {
        let code = code.with_context(|| format!("this Python does not compile {path}"))?;
        let file = unchecked(bytecode, text, &code);
        let cache = bytecode_of(&path, bytecode.minor);
        units.push(unit(cache, file, false, Reason::Store, 0));
    }
    Ok(())
}

fn unit<'a>(path: String, bytes: Vec<u8>, executable: bool, reason: Reason, hot: u64) -> Unit<'a> {
    let entry = Entry { path, executable, content: Content::Bytes(bytes) };
    Unit { entry, reason, hot, check: None }
}
