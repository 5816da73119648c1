//! What a run in a package used from outside of it.

use crate::launch::Bare;
use environment::Interpreter;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tracer::Observations;

/// A file that a run in a package should not have used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Leak {
    /// The file.
    pub path: PathBuf,
    /// Whether it was mapped as code, or only opened.
    pub mapped: bool,
    /// Why it counts.
    pub why: &'static str,
}

/// Where a system keeps the C library and its companions, and the loader's index of
/// them.
const SYSTEM_LIBRARIES: [&str; 5] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];

/// Every file of `seen` that is neither in the package nor part of the bare
/// interpreter, the system's libraries, or the application.
pub(crate) fn leaks(
    interpreter: &Interpreter,
    bare: &Bare,
    package: &Path,
    command: &[OsString],
    seen: &Observations,
) -> Vec<Leak> {
    let own = [package, &bare.folder];
    let application = crate::own_folders(command.iter());
    let files: BTreeSet<&PathBuf> =
        seen.opened.iter().chain(&seen.mapped).chain(&seen.executed).collect();
    files
        .into_iter()
        .filter(|path| !own.iter().any(|folder| path.starts_with(folder)))
        .filter_map(|path| {
            let mapped = seen.mapped.contains(path);
            why(interpreter, &application, path, mapped).map(|why| Leak {
                path: path.clone(),
                mapped,
                why,
            })
        })
        .collect()
}

fn why(
    interpreter: &Interpreter,
    application: &[PathBuf],
    path: &Path,
    mapped: bool,
) -> Option<&'static str> {
    if interpreter.site_packages.iter().any(|folder| path.starts_with(folder)) {
        return Some("it belongs to the original environment");
    }
    if is_source(interpreter, application, path) {
        return Some("it is a module that the original environment finds elsewhere");
    }
    let third_party = path
        .components()
        .any(|part| part.as_os_str() == "site-packages" || part.as_os_str() == "dist-packages");
    if third_party {
        return Some("it is an installed package outside the package");
    }
    let virtual_environment = interpreter.prefix != interpreter.base_prefix;
    if virtual_environment && path.starts_with(&interpreter.prefix) {
        return Some("it belongs to the original virtual environment");
    }
    let bare = path.starts_with(&interpreter.base_prefix)
        || SYSTEM_LIBRARIES.iter().any(|folder| path.starts_with(folder));
    let here = std::env::current_dir().is_ok_and(|folder| path.starts_with(folder));
    let program = interpreter.base_executable == path;
    let is_library = path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"));
    (mapped && is_library && !bare && !here && !program)
        .then_some("it is a library from neither the package nor the system")
}

/// Whether `path` is code of a source tree that the environment imports from, and not of the
/// application: what lies in its folders inside of such a tree.
fn is_source(interpreter: &Interpreter, application: &[PathBuf], path: &Path) -> bool {
    let code = path.extension().is_some_and(|end| end == "py" || end == "pyc" || end == "so");
    let sources = &interpreter.sources;
    let plain = sources.plain.iter().map(|(folder, _)| folder);
    let own =
        |root: &Path| application.iter().any(|own| own.starts_with(root) && path.starts_with(own));
    let mut roots = plain.chain(sources.modules.iter().map(|(_, place)| place));
    code && roots.any(|root| path.starts_with(root) && !own(root))
}
