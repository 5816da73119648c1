//! Which bodies of modules wait in a package, and what they need for that.

use crate::modules::bytecode_path;
use crate::proofs::Proofs;
use crate::talk::Talk;
use defer::Group;
use elf::{Library, PAGE, PageSet};
use environment::Environment;
use package::Deferred;
use plan::MappedFile;
use profile::Profile;

/// The library with the allocators, and the function that gives one, which a package calls
/// for itself (`runtime/python/gates.py`): no workload need have done so.
const ALLOCATORS: (&str, &str) =
    ("torch/lib/libc10.so", "_ZN3c1012GetAllocatorERKNS_10DeviceTypeE");

/// The groups of modules whose bodies could wait, as the profile's runs imported them, with
/// what was found of each. That one cannot be looked at is something that speaks against it.
pub fn groups(
    environment: &Environment,
    profile: &mut Profile,
    proofs: &Proofs,
    talk: &Talk,
) -> Vec<Group> {
    let minor = environment.interpreter.minor();
    let roots: Vec<&str> = defer::CANDIDATES
        .into_iter()
        .filter(|root| {
            let source = format!("{}.py", root.replace('.', "/"));
            let bytecode = bytecode_path(&source, minor);
            profile.opened.contains(&source) || profile.opened.contains(&bytecode)
        })
        .collect();
    if roots.is_empty() {
        return Vec::new();
    }
    let called = called(environment).filter(|_| profile.libraries.contains_key(ALLOCATORS.0));
    let against = |root: &str, objection: String| Group {
        root: root.into(),
        objections: vec![objection],
        ..Group::default()
    };
    let Some(pages) = called else {
        let objection = format!("{} does not export what gives allocators", ALLOCATORS.0);
        return roots.into_iter().map(|root| against(root, objection.clone())).collect();
    };
    let groups: Vec<Group> = talk.phase("defer", || {
        let python = &environment.interpreter.executable;
        // That it could not be asked is no answer.
        let prove = |root: &str| {
            let found = proofs.answer(
                &[b"defer", root.as_bytes()],
                |bytes| Some(Ok(serde_json::from_slice(bytes).ok()?)),
                |found| serde_json::to_vec(found.as_ref().ok()?).ok(),
                || defer::prove(python, root),
            );
            found.unwrap_or_else(|error| against(root, error.to_string()))
        };
        roots.into_iter().map(prove).collect()
    });
    if groups.iter().any(Group::may_wait)
        && let Some(used) = profile.libraries.get_mut(ALLOCATORS.0)
    {
        used.pages.union(&pages);
    }
    groups
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
        waits: group.may_wait(),
        modules: group.members.clone(),
        objections: group.objections.clone(),
    };
    (group.root.clone(), about)
}
