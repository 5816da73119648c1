//! The environment as the target sees it, while a workload is traced.
//!
//! Nothing is changed on disk: the tracer gives the workload other files where it
//! opens a GPU library that kept libraries need, and hides the rest of the GPU side.

use anyhow::{Context, Result};
use elf::{Library, PageSet};
use environment::{Environment, Kind, MappedFile};
use planner::{Device, Feature, GpuSide};
use rayon::prelude::*;
use standin::{Request, Wanted};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use tracer::{Patch, Redirect};

/// A target's view of an environment.
pub struct TargetView {
    /// What belongs to the GPU side.
    pub gpu: GpuSide,
    /// What kept libraries bind to, for each GPU library that they need.
    pub wanted: BTreeMap<String, Wanted>,
    /// What opens see instead, by absolute path.
    pub redirects: BTreeMap<PathBuf, Redirect>,
    /// Holds the stand-ins that `redirects` lead to.
    _folder: tempfile::TempDir,
}

/// How `device` sees `environment` without some features: divides it, and writes a stand-in for
/// each library that leaves and is needed, with all of its code that is not GPU code: the trace
/// shows which of it runs although nothing has initialised it.
///
/// # Errors
/// What cannot be read, a feature that the environment has nothing for, and stand-ins that cannot
/// be made.
pub fn of(
    environment: &Environment,
    device: &Device,
    without: &[&'static Feature],
) -> Result<TargetView> {
    let mut gpu = match device {
        Device::Cpu => GpuSide::find(environment)?,
        // A machine with a GPU sees all that is installed; what leaves is code that it would not
        // choose.
        Device::Gpu(target) => GpuSide::for_target(environment, target, without)?,
    };
    let wanted = wanted(environment, &gpu)?;
    for (path, wanted) in wanted.iter().filter(|(_, wanted)| wanted.reached) {
        gpu.add_needed_by(path, &wanted.by);
    }
    for (path, wanted) in &wanted {
        gpu.add_standard(path, wanted.standard());
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut redirects: BTreeMap<PathBuf, Redirect> = gpu
        .hidden(environment)
        .into_iter()
        .filter_map(|path| environment.locate(&path))
        .map(|path| (path, Redirect::Hide))
        .collect();
    let probes: Vec<(PathBuf, PathBuf)> = gpu
        .stood_for()
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(path, library)| {
            let probe = folder.path().join(path.replace('/', "+"));
            let bytes = MappedFile::open(&library.source)?;
            let library_read = Library::parse(&bytes).with_context(|| path.clone())?;
            let symbols = wanted.get(path).cloned().unwrap_or_default();
            let keep =
                if symbols.symbols.is_empty() { PageSet::new() } else { host_pages(&library_read) };
            let made = standin::standin(&Request {
                library: &library_read,
                wanted: &symbols,
                keep: &keep,
                message: &library.message,
            })
            .with_context(|| format!("cannot make a stand-in for {path}"))?;
            let file = File::create(&probe).with_context(|| probe.display().to_string())?;
            let mut file = BufWriter::with_capacity(1 << 20, file);
            made.write_to(&bytes, &mut file).and_then(|()| file.flush()).with_context(|| {
                format!("cannot write {}; free space in the temporary folder", probe.display())
            })?;
            Ok((library.source.clone(), probe))
        })
        .collect::<Result<_>>()?;
    let device = device.to_string();
    for path in planner::editable(&device) {
        let Some(source) = environment.locate(path) else { continue };
        let Ok(text) = std::fs::read(&source) else { continue };
        let Some(text) = planner::edited(&device, path, &text) else { continue };
        let place = folder.path().join(path.replace('/', "+"));
        std::fs::write(&place, text).context("cannot write a temporary file")?;
        // Python must not take the bytecode of the other source.
        let cached = environment::bytecode_of(path, environment.interpreter.minor());
        redirects.extend(environment.locate(&cached).map(|cached| (cached, Redirect::Hide)));
        redirects.insert(source, Redirect::To(place));
    }
    redirects.extend(probes.into_iter().map(|(path, probe)| (path, Redirect::To(probe))));
    Ok(TargetView { gpu, wanted, redirects, _folder: folder })
}

/// For each GPU library that kept ones need, the symbols that they bind to.
fn wanted(environment: &Environment, gpu: &GpuSide) -> Result<BTreeMap<String, Wanted>> {
    let kept: Vec<(String, MappedFile)> = environment
        .files
        .iter()
        .filter(|file| file.in_scope && file.kind == Kind::SharedLibrary)
        .filter(|file| !gpu.contains(&file.path))
        .map(|file| Ok((file.path.clone(), MappedFile::open(&environment.source(file))?)))
        .collect::<Result<_, planner::Error>>()?;
    let dropped: Vec<(String, MappedFile)> = gpu
        .libraries
        .iter()
        .map(|(path, library)| Ok((path.clone(), MappedFile::open(&library.source)?)))
        .collect::<Result<_, planner::Error>>()?;
    let kept = parse(&kept);
    let dropped = parse(&dropped);
    let kept: Vec<(&str, &Library<'_>)> =
        kept.iter().map(|(name, library)| (*name, library)).collect();
    let dropped: Vec<(&str, &Library<'_>)> =
        dropped.iter().map(|(name, library)| (*name, library)).collect();
    Ok(standin::wanted(&kept, &dropped)?)
}

fn parse(files: &[(String, MappedFile)]) -> Vec<(&str, Library<'_>)> {
    files
        .iter()
        .filter_map(|(path, bytes)| Some((path.as_str(), Library::parse(bytes).ok()?)))
        .collect()
}

/// Every page of `library` with bytes in the file, except those that GPU code fills.
fn host_pages(library: &Library<'_>) -> PageSet {
    let mut pages = PageSet::new();
    for load in library.loads() {
        pages.insert_addresses(load.file_addresses());
    }
    pages.remove(&planner::gpu_code(library));
    pages
}

/// What makes MKL take this processor's vendor for the other one. MKL picks kernels
/// by vendor and then by instruction set; `mkl_serv_intel_cpu_true` is its check.
pub fn other_vendor(environment: &Environment) -> Result<BTreeMap<PathBuf, Vec<Patch>>> {
    const CHECK: &str = "mkl_serv_intel_cpu_true";
    let vendor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let is_intel = vendor.contains("GenuineIntel");
    let mut patches = BTreeMap::new();
    for file in environment
        .files
        .iter()
        .filter(|file| file.in_scope && file.kind == Kind::SharedLibrary && file.size > 1 << 20)
    {
        let source = environment.source(file);
        let bytes = MappedFile::open(&source)?;
        let Ok(library) = Library::parse(&bytes) else { continue };
        let Some(address) = library.local_symbol(CHECK) else { continue };
        // mov eax, 0 or 1; ret
        let code = vec![0xb8, u8::from(!is_intel), 0, 0, 0, 0xc3];
        patches.insert(source, vec![Patch { address, bytes: code }]);
    }
    Ok(patches)
}
