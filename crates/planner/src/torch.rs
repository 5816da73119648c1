//! Whether a PyTorch can be packed: its libraries have to be in the environment.
//!
//! Linux distributions and conda build PyTorch so that its libraries lie in the system's or the
//! prefix's folders. A package has what lies in the environment's, and would need the same system.

use crate::Error;
use elf::Library;
use environment::{Environment, Kind, MappedFile};

/// What every system has that runs C++ programs, by the names that libraries need it by.
const SYSTEM: [&str; 8] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
];

/// Checks that all that torch's own extension module needs is in `environment`.
///
/// # Errors
/// [`Error::Elsewhere`] for a library that is not, [`Error::Read`] where the module cannot be read.
pub fn has_libraries_of_torch(environment: &Environment) -> Result<(), Error> {
    let is_own = |path: &str| {
        path.strip_prefix("torch/_C.")
            .is_some_and(|rest| rest.ends_with("so") && !rest.contains('/'))
    };
    let libraries = environment.files.iter().filter(|file| file.kind == Kind::SharedLibrary);
    for file in libraries.filter(|file| is_own(&file.path)) {
        let bytes = MappedFile::open(&environment.source(file))?;
        // One that is not understood is copied whole.
        let Ok(library) = Library::parse(&bytes) else { continue };
        let is_there = |name: &str| {
            let mut all = environment.files.iter();
            SYSTEM.contains(&name) || all.any(|file| file.path.rsplit('/').next() == Some(name))
        };
        if let Some(needed) = library.needed().into_iter().find(|name| !is_there(name)) {
            let (library, needed) = (file.path.clone(), needed.to_owned());
            return Err(Error::Elsewhere { library, needed });
        }
    }
    Ok(())
}
