//! What the Python of a package finds ready.

use crate::answers::Observed;
use crate::proofs::Proofs;
use environment::{Environment, module_of};
use package::{Answers, Remembered};
use plan::{Action, Plan};
use report::Printer;
use std::collections::BTreeMap;
use std::thread::JoinHandle;

/// Imports under observation, while something else is done.
pub struct Observing(Option<JoinHandle<Result<Observed, crate::answers::Error>>>);

/// Begins to look at what imports of the package's modules find out each time, as `plan` has
/// them.
pub fn observe(environment: &Environment, plan: &Plan, proofs: &Proofs) -> Observing {
    let mut modules = Vec::new();
    for file in &plan.files {
        if let Action::Module { stored: Some(place), cold: false, .. } = file.action {
            modules.push((place, module_of(&file.path)));
        }
    }
    modules.sort();
    let modules: Vec<String> = modules.into_iter().map(|(_, name)| name).collect();
    let (python, folders) =
        (environment.interpreter.executable.clone(), environment.interpreter.site_packages.clone());
    let proofs = proofs.clone();
    Observing(Some(std::thread::spawn(move || {
        let names = modules.join("\n");
        proofs.answer(
            &[b"answers", names.as_bytes()],
            |bytes| Some(Ok(Observed::from_bytes(bytes)?)),
            |found| found.as_ref().ok().map(Observed::to_bytes),
            || crate::answers::observe(&python, &folders, &modules),
        )
    })))
}

impl Observing {
    /// Nothing is looked at, and nothing found.
    pub fn nothing() -> Self {
        Self(None)
    }

    /// What was found. Nothing where modules cannot be imported under observation, with a
    /// warning.
    pub fn found(self) -> Observed {
        let Some(looking) = self.0 else { return Observed::default() };
        let why = match looking.join() {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a fault in taper ended the observation of imports".to_owned(),
        };
        Printer::warn(&format!("{why}; each start compiles and reads anew"));
        Observed::default()
    }
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
