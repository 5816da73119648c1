//! The lists of files that distributions have.

use crate::outcome::Outcome;
use anyhow::Result;
use environment::Environment;
use package::{Content, Entry, Stage, record};
use plan::{Action, Plan, Reason};
use std::collections::BTreeMap;

/// Writes each distribution's list of files anew, from what is in the package.
pub fn records(
    environment: &Environment,
    plan: &Plan,
    stage: &Stage,
    outcome: &mut Outcome,
) -> Result<()> {
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for file in &plan.files {
        if let Some(owner) = environment.files[file.index].distribution {
            owners.insert(file.path.clone(), owner);
            if let Action::CopyTo { path } = &file.action {
                owners.insert(path.clone(), owner);
            }
            if matches!(file.action, Action::Module { .. }) {
                let minor = environment.interpreter.minor();
                owners.insert(environment::bytecode_of(&file.path, minor), owner);
            }
        }
    }
    let entries: Vec<Entry<'_>> =
        plan.files
            .iter()
            .filter(|file| file.action == Action::Record)
            .map(|file| {
                let owner = environment.files[file.index].distribution;
                let own = outcome.written.iter().filter(|written| {
                    owner.is_some() && owners.get(&written.path).copied() == owner
                });
                Entry {
                    path: file.path.clone(),
                    executable: false,
                    content: Content::Bytes(record(&file.path, own)),
                }
            })
            .collect();
    let written = stage.write(&entries)?;
    let sum: u64 = written.iter().map(|file| file.size).sum();
    *outcome.reasons.entry(Reason::Metadata.text().to_owned()).or_default() += sum;
    // A list may be longer than the installer's; that much is not the original's.
    let hot = entries.iter().zip(&written).map(|(entry, file)| {
        environment.file(&entry.path).map_or(0, |original| original.size.min(file.size))
    });
    outcome.hot += hot.sum::<u64>();
    outcome.written.extend(written);
    Ok(())
}
