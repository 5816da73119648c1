//! What may yet be called in the libraries of an environment, where the rest leaves.

use crate::{Error, GpuSide};
use elf::{Library, PageSet};
use environment::{Environment, File, MappedFile};
use functions::{Functions, Member};
use profile::Profile;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// The addresses of what functions that ran can call, by the path of the library that has
/// them. Libraries that are not understood have none: they are kept whole.
pub fn callable(
    environment: &Environment,
    profile: &Profile,
    gpu: &GpuSide,
) -> Result<BTreeMap<String, Vec<u64>>, Error> {
    let used = |file: &&File| {
        file.in_scope
            && profile.libraries.contains_key(&file.path)
            && !gpu.libraries.contains_key(&file.path)
    };
    let files: Vec<&File> = environment.files.iter().filter(used).collect();
    let bytes: Vec<MappedFile> = files
        .iter()
        .map(|file| MappedFile::open(&environment.source(file)))
        .collect::<Result<_, _>>()?;
    let read: Vec<(&str, Library<'_>, Functions)> = files
        .par_iter()
        .zip(&bytes)
        .filter_map(|(file, bytes)| {
            let library = Library::parse(bytes).ok()?;
            let functions = Functions::read(&library).ok()?;
            Some((file.path.as_str(), library, functions))
        })
        .collect();
    let none = PageSet::new();
    let members: Vec<(&str, Member<'_, '_>)> = read
        .par_iter()
        .filter_map(|(path, library, functions)| {
            let touched = profile.libraries.get(*path).map_or(&none, |seen| &seen.pages);
            Some((*path, Member::new(library, functions, touched).ok()?))
        })
        .collect();
    let (paths, members): (Vec<&str>, Vec<Member<'_, '_>>) = members.into_iter().unzip();
    let found = functions::callable(&members);
    Ok(paths.into_iter().map(str::to_owned).zip(found).collect())
}
