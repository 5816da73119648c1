//! `cargo xtask gpu-code`: NVIDIA's own tool lists, for each library and each architecture, the GPU
//! code that a target sees, and extracts it: exactly what the plan keeps, with the same bytes.

use crate::{examples, setup, shell};
use anyhow::{Context, Result, bail};
use elf::Library;
use environment::{Environment, Interpreter, Kind, MappedFile};
use planner::GpuCode;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the task runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The targets.
    #[arg(long, value_delimiter = ',',
        default_values = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"])]
    pub targets: Vec<String>,
    /// Only libraries whose paths hold this.
    #[arg(long)]
    pub only: Option<String>,
    /// Extract the machine code as well, of originals and of what targets see.
    #[arg(long)]
    pub extract: bool,
}

/// How many entries there are by what the tool calls them: `sm_90.cubin`, `sm_90.ptx`.
type Listed = BTreeMap<String, u64>;

/// How many it is to list; nothing where that is not known.
type Expected = BTreeMap<String, Option<u64>>;

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::run()?;
    compare(&examples::environment(examples::BASE)?.join("bin/python"), arguments)
}

/// Compares the libraries of the environment of `python`.
///
/// # Errors
/// Where one is seen otherwise than planned.
pub fn compare(python: &Path, arguments: &Arguments) -> Result<()> {
    let tool = setup::cuobjdump()?;
    let environment = Environment::scan(Interpreter::find(Some(python))?)?;
    let mut wrong = 0;
    for file in environment.files.iter().filter(|file| file.kind == Kind::SharedLibrary) {
        if arguments.only.as_ref().is_none_or(|part| file.path.contains(part)) {
            wrong += library(&tool, &environment.source(file), &file.path, arguments)?;
        }
    }
    if wrong > 0 {
        bail!("{wrong} libraries are seen otherwise than planned");
    }
    Ok(())
}

/// Compares one library for every target; gives how often something is another.
fn library(tool: &Path, source: &Path, path: &str, arguments: &Arguments) -> Result<u32> {
    let bytes = MappedFile::open(source)?;
    let Ok(library) = Library::parse(&bytes) else { return Ok(0) };
    let mut original = None;
    let mut wrong = 0;
    for target in &arguments.targets {
        let code = GpuCode::of(&library, &target.parse()?);
        if code.changes.is_empty() {
            continue;
        }
        let work = tempfile::tempdir().context("cannot make a temporary folder")?;
        if original.is_none() {
            let Some(listed) = listed(tool, source)? else {
                println!("{path}: the tool cannot read it");
                return Ok(0);
            };
            original = Some((listed, extracted(tool, source, arguments, &work)?));
        }
        let Some((before, all)) = &original else { continue };
        let seen = work.path().join("seen.so");
        fs::write(&seen, &*MappedFile::changed(source, &code.changes)?)?;
        let after = listed(tool, &seen)?.unwrap_or_default();
        let (expected, unknown) = expected(&code, before);
        let some = extracted(tool, &seen, arguments, &work)?;
        let counted = |name: &String, count: Option<u64>| {
            count.is_none_or(|count| after.get(name) == Some(&count))
        };
        let same = after.keys().all(|name| expected.contains_key(name))
            && expected.iter().all(|(name, count)| counted(name, *count))
            && some.is_subset(all);
        println!(
            "{} {target:<7} {path}: {} of {} entries{}{}",
            if same { "same" } else { "OTHER" },
            after.values().sum::<u64>(),
            before.values().sum::<u64>(),
            if unknown > 0 {
                format!(", {unknown} more that the tool does not list")
            } else {
                String::new()
            },
            if arguments.extract { format!(", {} extracted", some.len()) } else { String::new() },
        );
        if !same {
            wrong += 1;
            println!("  planned {expected:?}\n  listed  {after:?}");
        }
    }
    Ok(wrong)
}

/// What the tool says: nothing where it finds no code, which it calls an error; `None` where it
/// takes a library for damaged that the loader loads.
fn said(command: &mut Command) -> Result<Option<String>> {
    let done = command.output().with_context(|| shell::line(command))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() {
        return Ok(Some(text(&done.stdout)));
    }
    let error = text(&done.stderr);
    if error.contains("does not contain device code") {
        return Ok(Some(String::new()));
    }
    if error.contains("Invalid ELF") {
        return Ok(None);
    }
    bail!("{} failed: {}", shell::line(command), error.trim())
}

/// What the tool lists of a library; `None` where it cannot read it.
fn listed(tool: &Path, library: &Path) -> Result<Option<Listed>> {
    let mut all = Listed::new();
    for flag in ["--list-elf", "--list-ptx"] {
        let Some(said) = said(Command::new(tool).arg(flag).arg(library))? else {
            return Ok(None);
        };
        for line in said.lines() {
            // ELF file   12: libcublas.12.sm_90.cubin
            let mut parts = line.rsplit('.');
            let (Some(kind), Some(name)) = (parts.next(), parts.next()) else { continue };
            if name.starts_with("sm_") {
                *all.entry(format!("{name}.{kind}")).or_default() += 1;
            }
        }
    }
    Ok(Some(all))
}

/// What the tool is to list of what stays, where `before` is what it lists of the original; and
/// how many entries it does not look for: it knows the sections that compilers write to.
fn expected(code: &GpuCode, before: &Listed) -> (Expected, u64) {
    let (mut all, mut kept) = (Listed::new(), Listed::new());
    for (part, bytes) in code.parts.iter().filter(|(part, _)| !part.bare) {
        let Some(name) = called(&part.label) else { continue };
        *all.entry(name.clone()).or_default() += bytes.count;
        if part.why.stays() {
            *kept.entry(name).or_default() += bytes.count;
        }
    }
    let mut expected = Expected::new();
    let mut unknown = 0;
    for (name, all) in &all {
        let listed = before.get(name).copied().unwrap_or_default();
        let kept = kept.get(name).copied().unwrap_or_default();
        // Where it lists a part, it must list the same part of what stays, and of what leaves
        // nothing. What stays in part is left to the second reader.
        let now = match (kept, listed == *all) {
            (kept, true) => Some(kept),
            (0, _) => Some(0),
            _ if kept == *all => Some(listed),
            _ => None,
        };
        unknown += kept - now.unwrap_or_default();
        if now != Some(0) {
            expected.insert(name.clone(), now);
        }
    }
    (expected, unknown)
}

/// What the tool calls an entry with this label; `None` for one that it does not list. It does not
/// tell families.
fn called(label: &str) -> Option<String> {
    let (name, kind) = label.split_once(' ').unwrap_or((label, ""));
    let plain = name.strip_suffix('f').unwrap_or(name);
    match kind {
        "" | "(Mercury)" => Some(format!("{plain}.cubin")),
        "(PTX)" => Some(format!("{}.ptx", plain.replace("compute_", "sm_"))),
        _ => None,
    }
}

/// The hashes of the machine code that the tool extracts from a library.
fn extracted(
    tool: &Path,
    library: &Path,
    arguments: &Arguments,
    work: &tempfile::TempDir,
) -> Result<BTreeSet<[u8; 32]>> {
    let mut all = BTreeSet::new();
    if !arguments.extract {
        return Ok(all);
    }
    let folder: PathBuf = work.path().join("extracted");
    fs::create_dir(&folder)?;
    let mut extract = Command::new(tool);
    said(extract.args(["--extract-elf", "all"]).arg(library).current_dir(&folder))?;
    for file in fs::read_dir(&folder)? {
        all.insert(*blake3::hash(&fs::read(file?.path())?).as_bytes());
    }
    fs::remove_dir_all(&folder)?;
    Ok(all)
}
