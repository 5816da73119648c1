//! What of an environment a package is about, and what is said of the rest of it.

use anyhow::Result;
use environment::{Environment, Used};
use planner::Choice;
use profile::Profile;
use report::{Printer, bad_input, megabytes};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Warns, before anything runs, of what Python finds modules by that a package cannot hold.
pub fn tell(environment: &Environment) {
    for archive in &environment.interpreter.sources.archives {
        Printer::warn(&format!(
            "modules in the archive {} are not packed; install what it holds with pip, or unpack \
             it into a folder and name that instead",
            archive.display()
        ));
    }
    for (name, tree) in &environment.interpreter.sources.lost {
        Printer::warn(&lost(name, tree));
    }
}

fn lost(name: &str, tree: &Path) -> String {
    let tree = tree.display();
    format!(
        "{name} is installed in place (editable), and nothing says which modules of {tree} it has: \
         they are not packed; install it with `pip install {tree}`"
    )
}

/// Checks that no run used modules of which [`tell`] said that they are not packed.
///
/// # Errors
/// Says which distribution it was, and what to do.
pub fn check<'p>(
    environment: &Environment,
    opened: impl IntoIterator<Item = &'p PathBuf>,
    command: &[OsString],
) -> Result<()> {
    let sources = &environment.interpreter.sources;
    if sources.lost.is_empty() {
        return Ok(());
    }
    let own = verify::own_folders(command.iter());
    for path in opened {
        let module = path.extension().is_some_and(|end| end == "py" || end == "pyc" || end == "so");
        let is_own =
            |tree: &PathBuf| own.iter().any(|own| own.starts_with(tree) && path.starts_with(own));
        let from = sources.lost.iter().find(|(_, tree)| path.starts_with(tree) && !is_own(tree));
        if let Some((name, tree)) = from.filter(|_| module) {
            return Err(bad_input(format!(
                "the run used {}: {}",
                path.display(),
                lost(name, tree)
            )));
        }
    }
    Ok(())
}

/// `environment` with what runs used of it beyond its site-packages, and of what installs
/// distributions.
pub fn used(
    environment: Environment,
    profile: &Profile,
    keep: &Choice,
    workload: &[OsString],
    printer: &Printer,
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
        let here: Vec<String> = (before..environment.places.len())
            .filter(|number| environment.places[*number].path.starts_with(folder))
            .map(|number| {
                let files = environment.files.iter().filter(|file| file.root == number);
                let size = files.map(|file| file.size).sum();
                format!("{} ({})", environment.places[number].name, megabytes(size))
            })
            .collect();
        if !here.is_empty() {
            let (folder, names) = (folder.display(), here.join(", "));
            printer.say(&format!("of {folder} ({from}), what runs imported is packed: {names}"));
        }
    }
    environment
}
