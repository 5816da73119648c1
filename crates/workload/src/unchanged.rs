//! Whether an environment stayed as it was while it was packed.

use anyhow::Result;
use environment::{Environment, File, Kind};
use rayon::prelude::*;
use report::{Printer, bad_input};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

/// Size in bytes and time of the last change.
type Stamp = (u64, SystemTime);

/// The sizes and times of files, where they can be told.
#[derive(Debug)]
pub struct State(BTreeMap<PathBuf, Option<Stamp>>);

impl State {
    /// Those of the files of `environment`.
    pub fn of(environment: &Environment) -> Self {
        let stamps = environment.files.par_iter().map(|file| {
            let path = environment.source(file);
            let stamp = stamp(&path);
            (path, stamp)
        });
        // A folder's time changes with what is put into it or taken away.
        let roots = environment.roots().into_iter().map(|root| (root.clone(), stamp(&root)));
        Self(stamps.collect::<Vec<_>>().into_iter().chain(roots).collect())
    }

    /// Checks that what `environment` holds, which may be more by now, is as it was. A file of
    /// data that a program writes for itself is only told of.
    ///
    /// # Errors
    /// Code has changed, so that a package would hold a mixture.
    pub fn check(&self, environment: &Environment) -> Result<()> {
        let changed: Vec<&File> = environment
            .files
            .par_iter()
            .filter(|file| {
                let path = environment.source(file);
                self.0.get(&path).is_some_and(|before| *before != stamp(&path))
            })
            .collect();
        let code = |file: &&&File| {
            matches!(file.kind, Kind::PythonSource | Kind::SharedLibrary | Kind::Program)
        };
        let altered = |root: &PathBuf| {
            self.0.get(root).is_some_and(|before| before.map(time) != stamp(root).map(time))
        };
        if let Some(root) = environment.roots().into_iter().find(altered) {
            return Err(bad_input(format!(
                "the environment changed while it was packed: something came into {} or went; pack \
                 again when nothing installs there",
                root.display()
            )));
        }
        let Some(first) = changed.first() else { return Ok(()) };
        let told = |file: &File, number: usize| {
            let more = if number > 1 { format!(" and {} more", number - 1) } else { String::new() };
            format!("{}{more}", environment.source(file).display())
        };
        if let Some(first) = changed.iter().find(code) {
            return Err(bad_input(format!(
                "the environment changed while it was packed: {}; pack again when nothing installs \
                 or edits there",
                told(first, changed.iter().filter(code).count())
            )));
        }
        Printer::warn(&format!("changed while it was packed: {}", told(first, changed.len())));
        Ok(())
    }
}

fn time(stamp: Stamp) -> SystemTime {
    stamp.1
}

fn stamp(path: &std::path::Path) -> Option<Stamp> {
    let found = path.metadata().ok()?;
    Some((found.len(), found.modified().ok()?))
}
