//! What the Python of a package finds ready.

use crate::proofs::Proofs;
use crate::talk::Talk;
use answers::Observed;
use environment::Environment;
use package::{Answers, Remembered};
use plan::{Action, Plan};
use std::collections::BTreeMap;

/// What imports of the package's modules find out each time, as `plan` has them. Nothing where
/// they cannot be imported under observation, with a warning.
pub fn observe(environment: &Environment, plan: &Plan, proofs: &Proofs, talk: &Talk) -> Observed {
    let mut modules = Vec::new();
    for file in &plan.files {
        if let Action::Module { stored: Some(place), cold: false, .. } = file.action {
            modules.push((place, name(&file.path)));
        }
    }
    modules.sort();
    let modules: Vec<String> = modules.into_iter().map(|(_, name)| name).collect();
    let interpreter = &environment.interpreter;
    let found = talk.phase("answers", || {
        let names = modules.join("\n");
        proofs.answer(
            &[b"answers", names.as_bytes()],
            |bytes| Some(Ok(Observed::from_bytes(bytes)?)),
            |found| found.as_ref().ok().map(Observed::to_bytes),
            || answers::observe(&interpreter.executable, &interpreter.site_packages, &modules),
        )
    });
    found.unwrap_or_else(|error| {
        Talk::warn(&format!("{error}; each start compiles and reads anew"));
        Observed::default()
    })
}

/// What of it a package holds.
pub fn answers(observed: &Observed) -> Answers {
    let remembered = observed.functions.iter().filter(|one| one.may_be_remembered());
    Answers {
        functions: remembered
            .map(|one| ((one.module.clone(), one.name.clone()), one.answers.clone()))
            .collect(),
        version: observed.version.clone(),
        codes: observed.codes.clone(),
        patterns: observed.patterns.clone(),
    }
}

/// What the description of a package says of functions.
pub fn described(observed: &Observed) -> BTreeMap<String, Remembered> {
    observed
        .functions
        .iter()
        .map(|one| {
            let about = Remembered {
                remembers: one.may_be_remembered(),
                calls: one.answers.len() as u64,
                files: one.files,
                objection: one.objection.clone(),
            };
            (format!("{}.{}", one.module, one.name), about)
        })
        .collect()
}

/// The module with the source at `path`.
fn name(path: &str) -> String {
    let name = path.strip_suffix(".py").unwrap_or(path);
    name.strip_suffix("/__init__").unwrap_or(name).replace('/', ".")
}
