//! Which modules are deferred in a package, and what they need for that.

use crate::defer::Group;
use crate::proofs::Proofs;
use elf::{Library, PAGE, PageSet};
use environment::{Environment, MappedFile};
use format::ALLOCATORS;
use package::Deferred;
use profile::Profile;
use report::Printer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// A look at what each of [`crate::defer::CANDIDATES`] does, while something else is done: it takes a
/// processor for some seconds, and a traced workload seldom needs all.
pub struct Looking {
    proofs: Proofs,
    python: PathBuf,
    roots: BTreeMap<&'static str, JoinHandle<Result<Group, crate::defer::Error>>>,
}

impl Looking {
    /// Begins. What the runs will import is not known yet; few that import torch do without.
    pub fn start(environment: &Environment, proofs: &Proofs) -> Self {
        let python = &environment.interpreter.executable;
        let start = |root: &'static str| {
            let (proofs, python) = (proofs.clone(), python.clone());
            (root, std::thread::spawn(move || prove(&proofs, &python, root)))
        };
        let there = |root: &&str| {
            let path = root.replace('.', "/");
            [".py", "/__init__.py"]
                .iter()
                .any(|end| environment.file(&(path.clone() + end)).is_some())
        };
        let roots = crate::defer::CANDIDATES.into_iter().filter(there).map(start).collect();
        Self { proofs: proofs.clone(), python: python.clone(), roots }
    }

    /// What was found of `root`.
    fn found(&mut self, root: &str) -> Result<Group, crate::defer::Error> {
        let looked = self.roots.remove(root).and_then(|looking| looking.join().ok()?.ok());
        // A signal that stops a workload reaches all of a terminal's processes: then again.
        looked.map_or_else(|| prove(&self.proofs, &self.python, root), Ok)
    }
}

/// What the group of `root` does. That it could not be asked is no answer.
fn prove(proofs: &Proofs, python: &Path, root: &str) -> Result<Group, crate::defer::Error> {
    proofs.answer(
        &[b"defer", root.as_bytes()],
        |bytes| Some(Ok(serde_json::from_slice(bytes).ok()?)),
        |found| serde_json::to_vec(found.as_ref().ok()?).ok(),
        || crate::defer::prove(python, root),
    )
}

/// The groups of modules that could be deferred, as the profile's runs imported them, with
/// what was found of each. That one cannot be looked at is something that speaks against it.
/// Where one is, the profile has what that calls, too.
pub fn groups(
    environment: &Environment,
    mut profile: Profile,
    mut looking: Looking,
    printer: &Printer,
) -> (Profile, Vec<Group>) {
    let minor = environment.interpreter.minor();
    let roots: Vec<&str> = crate::defer::CANDIDATES
        .into_iter()
        .filter(|root| {
            let source = format!("{}.py", root.replace('.', "/"));
            let bytecode = environment::bytecode_of(&source, minor);
            profile.opened.contains(&source) || profile.opened.contains(&bytecode)
        })
        .collect();
    if roots.is_empty() {
        return (profile, Vec::new());
    }
    let called = called(environment).filter(|_| profile.libraries.contains_key(ALLOCATORS.0));
    let against = |root: &str, objection: String| Group {
        root: root.into(),
        objections: vec![objection],
        ..Group::default()
    };
    let Some(pages) = called else {
        let objection = format!("{} does not export what gives allocators", ALLOCATORS.0);
        let groups = roots.into_iter().map(|root| against(root, objection.clone())).collect();
        return (profile, groups);
    };
    let groups: Vec<Group> = printer.phase("defer", || {
        let mut found =
            |root| looking.found(root).unwrap_or_else(|error| against(root, error.to_string()));
        roots.into_iter().map(&mut found).collect()
    });
    if groups.iter().any(Group::may_be_deferred)
        && let Some(used) = profile.libraries.get_mut(ALLOCATORS.0)
    {
        used.pages.union(&pages);
    }
    (profile, groups)
}

/// The pages of the function that gives allocators; `None` where it is not exported.
fn called(environment: &Environment) -> Option<PageSet> {
    let bytes = MappedFile::open(&environment.locate(ALLOCATORS.0)?).ok()?;
    let library = Library::parse(&bytes).ok()?;
    let symbols = library.symbols().ok()?;
    let found = symbols.iter().find(|one| one.name == ALLOCATORS.1 && one.is_defined())?;
    let last = found.address.checked_add(found.size.max(1) - 1)?;
    Some((found.address / PAGE..=last / PAGE).collect())
}

/// What the description of a package says of a group.
pub fn described(group: &Group) -> (String, Deferred) {
    let about = Deferred {
        waits: group.may_be_deferred(),
        modules: group.members.clone(),
        objections: group.objections.clone(),
    };
    (group.root.clone(), about)
}
