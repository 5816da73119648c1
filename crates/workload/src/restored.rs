//! What packages brought back while they ran becomes part of a profile.

use crate::identities::Identities;
use anyhow::{Context, Result};
use elf::{Library, PageSet};
use environment::{Environment, MappedFile};
use profile::{Error, LibraryUse, Profile, Restored};
use report::Printer;
use std::path::PathBuf;

/// The files and the folders among `paths`, given with `--profile`: profiles, and records
/// that programs left (`TAPER_PROFILE`).
pub fn divided(paths: &[PathBuf]) -> (Vec<&PathBuf>, Vec<&PathBuf>) {
    paths.iter().partition(|path| !path.is_dir())
}

/// `profile` with the records in `folders`, each library of which is that of the `environment`.
///
/// # Errors
/// A folder cannot be read, a file in it is not a record, or a library is another than the
/// one that the package was made of.
pub fn learned(
    environment: &Environment,
    mut profile: Profile,
    folders: &[&PathBuf],
    printer: &Printer,
) -> Result<Profile> {
    let mut identities = Identities::new(environment);
    for folder in folders {
        let restored = Restored::read(folder)?;
        if restored.processes == 0 {
            Printer::warn(&format!(
                "{} holds no records: nothing was brought back, or the program ran without \
                 TAPER_PROFILE={}",
                folder.display(),
                folder.display()
            ));
            continue;
        }
        let mut pages = 0;
        for (name, (hash, touched)) in restored.libraries {
            let content = identities.content(&name).with_context(|| name.clone())?;
            let content = content.ok_or_else(|| Error::Missing(name.clone()))?;
            if !content.starts_with(&hash) {
                let now = content.chars().take(hash.len()).collect();
                return Err(Error::Changed { what: name, was: hash, now }.into());
            }
            let path = environment.locate(&name).context("a library disappeared")?;
            let bytes = MappedFile::open(&path)?;
            let library = Library::parse(&bytes).with_context(|| name.clone())?;
            // Beyond the library's own pages lie tables that the package made anew.
            let own = library.read_only_pages();
            let touched: PageSet = touched.into_iter().filter(|page| own.contains(*page)).collect();
            pages += touched.len();
            if let Some(known) = profile.libraries.get_mut(&name) {
                known.pages.union(&touched);
            } else {
                let (build_id, content) = identities.of(&path)?;
                let used = LibraryUse { build_id, content, threaded: false, pages: touched };
                profile.opened.insert(name.clone());
                profile.libraries.insert(name, used);
            }
        }
        let minor = environment.interpreter.minor();
        let modules = restored.modules.iter().filter(|path| environment.file(path).is_some());
        let mut count = 0;
        for path in modules {
            profile.opened.insert(environment::bytecode_of(path, minor));
            count += 1;
        }
        printer.say(&format!(
            "{}: {pages} pages and {count} modules that {} processes brought back",
            folder.display(),
            restored.processes
        ));
    }
    Ok(profile)
}
