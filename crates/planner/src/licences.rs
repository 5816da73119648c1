//! Where licences go whose package is not there.
//!
//! A licence always stays. Alone in the folder of its package, it would make that folder
//! one that Python imports as an empty namespace, where a program that asks for the
//! package must find that there is none.

use environment::{Environment, Kind};
use plan::{Action, FilePlan};
use std::collections::BTreeSet;

/// Moves such licences into their distribution's metadata folder, under their old path.
pub fn aside(files: &mut [FilePlan], environment: &Environment) {
    let kind = |file: &FilePlan| environment.files[file.index].kind;
    let top = |path: &str| path.split_once('/').map(|(folder, _)| folder.to_owned());
    let used: BTreeSet<String> = files
        .iter()
        .filter(|file| !matches!(file.action, Action::Leave) && kind(file) != Kind::Licence)
        .filter_map(|file| top(&file.path))
        .collect();
    for file in files {
        let owner = environment.files[file.index].distribution;
        if kind(file) == Kind::Licence
            && file.action == Action::Copy
            && top(&file.path).is_some_and(|folder| !used.contains(&folder))
            && let Some(owner) = owner
        {
            let metadata = &environment.distributions[owner].metadata;
            file.action =
                Action::CopyTo { path: format!("{metadata}/licenses/site-packages/{}", file.path) };
        }
    }
}
