//! Programs that see what `import torch` registers, in the original environment and in a
//! package for the CPU that was traced with `import torch` alone. By hand:
//!
//!     cd xtask/checks/observers
//!     PYTHONHASHSEED=0 ~/.cache/taper/env-classify/bin/python names.py --names >before
//!     PYTHONHASHSEED=0 PYTHONPATH=PACKAGE python names.py --names >after
//!
//! A part of PyTorch's own tests runs in both as well.
//!
//! `cargo xtask test` sets the variable that these tests need.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use xtask::examples::{self, Example};
use xtask::pytorch_runs as tested;
use xtask::pytorch_tests::{Logs, Two};
use xtask::runs::{self, Place};
use xtask::{operators, python, setup, source, test};

/// The most lines of a difference that are shown.
const SHOWN: usize = 20;

/// What all tests share.
struct Shared {
    original: PathBuf,
    bare: PathBuf,
    package: PathBuf,
    /// Removes the folder that has both when this process is gone.
    _remover: Child,
}

/// Packs once for all tests.
fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    let make = || {
        let taper = test::program();
        let place = tempfile::tempdir().unwrap().keep();
        // Nothing is dropped at the end of a program of tests; a pipe is closed.
        let script = "cat >/dev/null; exec rm -rf -- \"$1\"";
        let mut remover = Command::new("sh");
        remover.args(["-c", script, "sh"]).arg(&place).stdin(Stdio::piped());
        let remover = remover.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let original = Example::named("classify").unwrap().python().unwrap();
        let bare = python::bare(&original, &place.join("bare")).unwrap();
        let package = place.join("package");
        operators::pack(&taper, &package, "cpu", false).unwrap();
        Shared { original, bare, package, _remover: remover }
    };
    SHARED.get_or_init(make)
}

/// Runs a program of `xtask/checks/observers`.
fn run(place: Place<'_>, words: &[&str], home: &Path) -> Output {
    let folder = examples::repository().join("xtask/checks/observers");
    let mut args: Vec<OsString> = words.iter().map(Into::into).collect();
    args[0] = folder.join(format!("{}.py", words[0])).into();
    let variables =
        [("HOME", home.as_os_str()), ("TMPDIR", home.as_os_str()), ("PATH", OsStr::new(PATH))];
    place.python(&args, &variables).unwrap().output().unwrap()
}

/// Where compilers are.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program must print the same, and end well, in both places.
fn check(words: &[&str]) {
    let shared = shared();
    let hidden = runs::hiding().is_some();
    let places = [
        Place::Original(&shared.original),
        Place::Package { bare: &shared.bare, folder: &shared.package, hidden },
    ];
    let scratch = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        places.map(|place| {
            let home = tempfile::tempdir_in(scratch.path()).unwrap();
            let done = run(place, words, home.path());
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(done.status.success(), "{words:?}: {place:?}: {}\n{said}", done.status);
            String::from_utf8(done.stdout).unwrap()
        })
    };
    let [before, after] = run(words);
    assert!(!before.is_empty());
    if before == after {
        return;
    }
    // What is listed by its hash has to be seen.
    let [before, after] = run(&[words, &["--names"]].concat());
    panic!("{words:?} prints something else:\n{}", difference(&before, &after));
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn one_variable_switches_deferral_off() {
    let shared = shared();
    let hidden = runs::hiding().is_some();
    let place = Place::Package { bare: &shared.bare, folder: &shared.package, hidden };
    // Whether bodies of modules are deferred after the import.
    let program = "import sys, torch
deferred = sys.modules.get('_taper.deferred')
print(bool(deferred and deferred.pending))";
    let said = |eager: &str| {
        let args = ["-c", program].map(OsString::from);
        let variables = [("TAPER_EAGER", OsStr::new(eager))];
        let done = place.python(&args, &variables).unwrap().output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    // Were nothing deferred at all, there would be nothing to switch off.
    assert_eq!(["", "0", "1"].map(said), ["True\n", "True\n", "False\n"]);
}

/// Files that also today's PyTorch, for which they were not written, can import.
const SAMPLED: [&str; 7] = [
    "test_autograd",
    "test_indexing",
    "test_mkldnn",
    "test_serialization",
    "test_sparse",
    "test_type_promotion",
    "test_view_ops",
];

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn tests_of_pytorch_pass_as_before() {
    let shared = shared();
    let tests = source::tests().unwrap();
    let helper = setup::database_modules().unwrap();
    let own = [tests, helper];
    let package = [std::slice::from_ref(&shared.package), &own].concat();
    let two = Two {
        original: tested::Place { python: shared.original.clone(), paths: own.to_vec() },
        package: tested::Place { python: shared.bare.clone(), paths: package },
    };
    // One process for all files, and every so many tests of all.
    let listed = two.original.list(&SAMPLED).unwrap();
    let every = listed.len() / 120;
    let chosen: Vec<String> = listed.into_iter().step_by(every).collect();
    let folder = tempfile::tempdir().unwrap();
    let (original, package) = (folder.path().join("original"), folder.path().join("package"));
    for made in [&original, &package] {
        fs::create_dir(made).unwrap();
    }
    let logs = Logs { original: &original, package: &package, name: "sample" };
    let counts = two.compare(&chosen, &logs, None).unwrap().unwrap();
    assert_eq!(counts.different, 0, "{counts:?}");
    // Had most of them failed before, this would say little.
    assert!(counts.same > 60 && chosen.len() >= 120, "{counts:?} of {}", chosen.len());
}

/// The first lines in which two texts differ, as `diff` tells them.
fn difference(before: &str, after: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    let paths = [before, after].map(|text| {
        let path = place.path().join(blake3::hash(text.as_bytes()).to_hex().as_str());
        fs::write(&path, text).unwrap();
        path
    });
    let done = Command::new("diff").args(&paths).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.lines().take(SHOWN).map(|line| line.chars().take(400).collect::<String>() + "\n").collect()
}

/// A test for each program.
macro_rules! programs {
    ($($name:ident: $($word:literal)*;)*) => {
        $(#[test]
        #[ignore = "needs a real PyTorch: cargo xtask test"]
        fn $name() {
            check(&[$($word),*]);
        })*

        #[test]
        fn every_program_is_run() {
            let run: &[&[&str]] = &[$(&[$($word),*]),*];
            let folder = examples::repository().join("xtask/checks/observers");
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                let known = name == "digest" || run.iter().any(|words| words[0] == name);
                assert!(known || path.extension() != Some(OsStr::new("py")), "{name}");
            }
        }
    };
}

programs! {
    // They run by name: the longest come first.
    an_inductor_builds_the_same: "inductor";
    an_extension_builds_the_same: "extension";
    autograd_after_dynamo_is_the_same: "compile" "aot_eager";
    call_watchers_see_the_same: "modes";
    decompositions_are_the_same: "make_fx";
    distributed_processes_agree_as_before: "distributed";
    dynamo_captures_the_same: "compile" "eager";
    exported_programs_are_the_same: "export";
    fake_tensors_are_the_same: "fake";
    functional_transforms_give_the_same: "func";
    graph_modules_are_the_same: "fx";
    kernels_of_a_key_are_found: "keys";
    meta_tensors_have_the_same_shapes: "meta";
    modules_and_their_members_are_the_same: "walk";
    names_and_handlers_are_the_same: "names";
    operators_of_programs_work_as_before: "library";
    pickles_name_the_same_types: "pickled";
    quantized_models_give_the_same: "quantize";
    saved_programs_and_graphs_find_operators: "readers";
    scripted_modules_are_the_same: "script";
    the_dispatcher_has_the_same_state: "dispatcher";
    threads_and_forks_see_all_or_nothing: "threads";
}
