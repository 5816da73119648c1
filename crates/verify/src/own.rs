//! What belongs to the application and not to an environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folders of the Python programs that the words of commands name, and the current folder,
/// with links resolved: modules in these are the application's own. A program of an
/// environment, as `pytest`, is no application in its folder.
pub fn own_folders<'w>(words: impl Iterator<Item = &'w OsString>) -> Vec<PathBuf> {
    let mut own: Vec<PathBuf> = std::env::current_dir().into_iter().collect();
    for word in words {
        if Path::new(word).extension() == Some("py".as_ref())
            && let Ok(path) = Path::new(word).canonicalize()
        {
            own.extend(path.parent().map(Path::to_path_buf));
        }
    }
    own.sort();
    own.dedup();
    own
}
