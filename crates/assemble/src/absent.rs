//! What a package says of what it does not have.

use environment::{Environment, Kind, normalized};
use package::Absent;
use plan::{Action, Plan, Reason};
use std::collections::BTreeMap;

/// The names at the top of site-packages and the distributions of `environment` that are, in
/// whole or in part, not in a package of `plan`, with why.
pub fn absent(environment: &Environment, plan: &Plan) -> Absent {
    let mut out: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    let mut there: BTreeMap<&str, bool> = BTreeMap::new();
    for file in &plan.files {
        let kind = environment.files[file.index].kind;
        let leaves = file.action == Action::Leave;
        // Bytecode beside a source leaves with it or for its own.
        if let Some(top) = module(&file.path, kind)
            && !matches!(file.reason, Reason::Replaced | Reason::Link)
        {
            *there.entry(top).or_default() |= !leaves;
            if leaves {
                out.entry(top).or_default().insert(dotted(&file.path), word(file.reason));
            }
        }
    }
    let mut absent = Absent::default();
    for (top, parts) in out {
        let why = if there.get(top).copied().unwrap_or_default() {
            absent.parts.extend(parts);
            String::new()
        } else {
            parts.into_values().next().unwrap_or_default()
        };
        absent.modules.insert(top.to_owned(), why);
    }
    for file in environment.files.iter().filter(|file| !file.in_scope) {
        let Some(owner) = file.distribution.map(|owner| &environment.distributions[owner]) else {
            continue;
        };
        let name = normalized(&owner.name);
        if let Some(top) = module(&file.path, file.kind)
            && !there.contains_key(top)
        {
            absent.modules.insert(top.to_owned(), format!("installer:{name}"));
        }
        absent.distributions.insert(name, "installer".to_owned());
    }
    absent
}

/// The name at the top of site-packages of the module at `path`, if it is one.
fn module(path: &str, kind: Kind) -> Option<&str> {
    let code = matches!(kind, Kind::PythonSource | Kind::SharedLibrary);
    let top = path.split('/').next()?.split('.').next()?;
    (code && !top.is_empty()).then_some(top)
}

/// The dotted name of the module at `path`.
fn dotted(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let name = file.split('.').next().unwrap_or(file);
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "__init__") => folder.replace('/', "."),
        (folder, name) => format!("{}.{name}", folder.replace('/', ".")),
    }
}

/// A reason in the record's word for it.
fn word(reason: Reason) -> String {
    let word = serde_json::to_value(reason).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
