//! Programs that modules start.

use crate::{Error, GpuSide};
use environment::{Environment, File, Kind, MappedFile};
use memchr::memmem::Finder;
use profile::Profile;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// The programs of `environment` that no workload opened and that a module may start: those
/// outside `bin` folders, whose names are often put together from parts, and those whose
/// file name is in the source of a module, as a string in either kind of quotes or as the
/// end of a path in one.
///
/// # Errors
/// [`Error::Read`] for a source that cannot be read.
pub fn named(
    environment: &Environment,
    profile: &Profile,
    gpu: &GpuSide,
) -> Result<BTreeSet<String>, Error> {
    let stays = |file: &&File| file.in_scope && !gpu.contains(&file.path);
    let cold = |file: &&File| file.kind == Kind::Program && !profile.opened.contains(&file.path);
    let all: Vec<&File> = environment.files.iter().filter(stays).filter(cold).collect();
    let (beside, apart): (Vec<&File>, Vec<&File>) =
        all.into_iter().partition(|file| file.path.split('/').any(|part| part == "bin"));
    let apart = apart.into_iter().map(|file| file.path.clone());
    let programs: Vec<(&File, [Vec<u8>; 2])> = beside
        .into_iter()
        .map(|file| (file, literals(file.path.rsplit('/').next().unwrap_or(&file.path))))
        .collect();
    if programs.is_empty() {
        return Ok(apart.collect());
    }
    let finders: Vec<(&str, [Finder<'_>; 2])> = programs
        .iter()
        .map(|(file, [double, single])| {
            (file.path.as_str(), [Finder::new(double), Finder::new(single)])
        })
        .collect();
    let sources: Vec<&File> = environment
        .files
        .iter()
        .filter(stays)
        .filter(|file| file.kind == Kind::PythonSource && file.size > 0)
        .collect();
    let found: Vec<BTreeSet<String>> = sources
        .into_par_iter()
        .map(|source| {
            let text = MappedFile::open(&environment.source(source))?;
            let here = finders
                .iter()
                .filter(|(_, names)| names.iter().any(|name| name.find(&text).is_some()));
            Ok(here.map(|(path, _)| (*path).to_owned()).collect())
        })
        .collect::<Result<_, Error>>()?;
    Ok(found.into_iter().flatten().chain(apart).collect())
}

/// The end of a string with `name` as Python writes it in a source.
fn literals(name: &str) -> [Vec<u8>; 2] {
    [format!("{name}\"").into_bytes(), format!("{name}'").into_bytes()]
}
