//! What of an environment a package is about, and what is said of the rest of it.

use crate::talk::Talk;
use environment::{Environment, Used};
use plan::Choice;
use profile::Profile;
use std::collections::BTreeSet;
use std::ffi::OsString;

/// Warns, before anything runs, of what Python finds modules by that a package cannot hold.
pub fn tell(environment: &Environment) {
    for archive in &environment.interpreter.sources.archives {
        Talk::warn(&format!(
            "modules in the archive {} are not packed; install what it holds with pip, or unpack \
             it into a folder and name that instead",
            archive.display()
        ));
    }
}

/// `environment` with what runs used of it beyond its site-packages, and of what installs
/// distributions.
pub fn used(
    environment: Environment,
    profile: &Profile,
    keep: &Choice,
    workload: &[OsString],
    talk: &Talk,
) -> Environment {
    let opened: BTreeSet<&str> =
        profile.opened.iter().chain(profile.libraries.keys()).map(String::as_str).collect();
    let commands = profile.runs.iter().flat_map(|run| run.command.iter().map(OsString::from));
    let words: BTreeSet<OsString> = commands.chain(workload.iter().cloned()).collect();
    let kept =
        |environment: &Environment, file: &environment::File| keep.contains(environment, file);
    let before = environment.places.len();
    let environment =
        environment.used(&Used { opened, own: verify::own_folders(words.iter()), kept: &kept });
    for (folder, from) in &environment.interpreter.sources.plain {
        let here: Vec<&str> = environment.places[before..]
            .iter()
            .filter(|place| place.path.starts_with(folder))
            .map(|place| place.name.as_str())
            .collect();
        if !here.is_empty() {
            let (folder, names) = (folder.display(), here.join(", "));
            talk.say(&format!("of {folder} ({from}), what runs imported is packed: {names}"));
        }
    }
    environment
}
