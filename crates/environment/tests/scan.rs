//! Scans of environments made for the purpose, and of a real one where
//! `TAPER_TEST_ENV` names a virtual environment with torch.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use taper_environment::{Environment, Error, Interpreter, Kind};

/// An environment without packages over the first Python of the PATH.
fn empty(folder: &Path) -> PathBuf {
    let made = std::process::Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(folder)
        .status()
        .unwrap();
    assert!(made.success());
    folder.join("bin/python")
}

#[test]
fn owners_come_from_record_and_the_rest_has_none() {
    let place = tempfile::tempdir().unwrap();
    let interpreter = Interpreter::find(Some(&empty(&place.path().join("env")))).unwrap();
    let [root] = &interpreter.site_packages[..] else { panic!("one folder") };
    assert!(root.starts_with(place.path().canonicalize().unwrap()));
    for (path, text) in [
        ("thing/__init__.py", "x = 1\n"),
        ("thing/__pycache__/__init__.cpython-311.pyc", "code"),
        ("stray.txt", "nobody's"),
        (
            "thing-1.5.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Thing\nVersion: 1.5\n\nName: no\n",
        ),
        ("thing-1.5.dist-info/RECORD", "thing/__init__.py,,\n../../../bin/thing,,\n"),
        ("old/__init__.py", ""),
        ("old-2.egg-info/PKG-INFO", "Name: old\nVersion: 2\n"),
        ("old-2.egg-info/installed-files.txt", "../old/__init__.py\nPKG-INFO\n../../bin/old\n"),
        ("pip-1.dist-info/METADATA", "Name: pip\nVersion: 1\n"),
        ("pip-1.dist-info/RECORD", "pip/__init__.py,,\n"),
        ("pip/__init__.py", ""),
    ] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }
    let scanned = Environment::scan(interpreter).unwrap();
    let owner = |path: &str| {
        let file = scanned.file(path).unwrap_or_else(|| panic!("{path}"));
        file.distribution.map(|index| scanned.distributions[index].name.as_str())
    };
    assert_eq!(owner("thing/__init__.py"), Some("Thing"));
    assert_eq!(owner("thing/__pycache__/__init__.cpython-311.pyc"), Some("Thing"));
    assert_eq!(owner("thing-1.5.dist-info/METADATA"), Some("Thing"));
    assert_eq!(owner("old/__init__.py"), Some("old"));
    assert_eq!(owner("old-2.egg-info/PKG-INFO"), Some("old"));
    assert_eq!(owner("stray.txt"), None);
    assert!(scanned.file("stray.txt").unwrap().in_scope);
    assert!(!scanned.file("pip/__init__.py").unwrap().in_scope);
    assert_eq!(scanned.distribution("THING").unwrap().version, "1.5");
    let error = scanned.torch().unwrap_err().to_string();
    assert!(error.contains("there is no torch"), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let place = tempfile::tempdir().unwrap();
    let interpreter = Interpreter::find(Some(&empty(&place.path().join("env")))).unwrap();
    let packages = interpreter.site_packages[0].clone();
    // A name that is not UTF-8.
    let name = std::ffi::OsStr::from_bytes(b"secret\xff.so");
    std::fs::write(packages.join(name), b"x").unwrap();
    // Linux distributions link to parts that may not be installed: no file, and no problem.
    std::os::unix::fs::symlink("/nowhere/at/all", packages.join("gone.so")).unwrap();
    let scanned = Environment::scan(interpreter).unwrap();
    assert_eq!(scanned.problems.len(), 1);
    assert!(scanned.problems[0].to_string().contains("secret"));
    assert!(scanned.file("gone.so").is_none());
}

#[test]
fn an_interpreter_says_what_it_is() {
    let found = Interpreter::find(None).unwrap();
    assert!(found.full_version.starts_with(&found.version), "{found:?}");
    assert!(found.version.starts_with("3.") && found.minor() >= 10);
    assert_eq!(found.machine, std::env::consts::ARCH);
    assert!(found.base_executable.is_absolute() && found.magic[2..] == *b"\r\n");
}

#[test]
fn modules_of_the_current_folder_are_not_imported() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("json.py"), "raise SystemExit('imported')").unwrap();
    let done = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_interpreter_says_what_it_is"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"));
}

#[test]
fn an_interpreter_that_is_not_one_is_refused() {
    let missing = Interpreter::find(Some(Path::new("/nowhere/python"))).unwrap_err();
    assert!(matches!(missing, Error::NoInterpreter(_)));
    let place = tempfile::tempdir().unwrap();
    let fake = place.path().join("python");
    fs::write(&fake, "#!/bin/sh\necho broken >&2; exit 3\n").unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Interpreter::find(Some(&fake)).unwrap_err().to_string();
    assert!(error.contains("broken") && error.contains("--python"), "{error}");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn a_real_environment_is_accounted_for() {
    let place =
        std::env::var_os("TAPER_TEST_ENV").expect("TAPER_TEST_ENV is set by cargo xtask test");
    let python = Path::new(&place).join("bin/python");
    let scanned = Environment::scan(Interpreter::find(Some(&python)).unwrap()).unwrap();
    assert!(scanned.problems.is_empty(), "{:?}", scanned.problems);
    let sum: u64 = scanned.files.iter().map(|file| file.size).sum();
    let on_disk: u64 =
        scanned.files.iter().map(|file| fs::metadata(scanned.source(file)).unwrap().len()).sum();
    assert_eq!(sum, on_disk);
    let torch = scanned.torch().unwrap();
    assert!(torch.version.starts_with('2'), "{}", torch.version);
    let kinds: BTreeSet<Kind> = scanned.files.iter().map(|file| file.kind).collect();
    assert!(kinds.len() >= 9, "{kinds:?}");
    assert_eq!(scanned.file("torch/lib/libtorch_cpu.so").unwrap().kind, Kind::SharedLibrary);
}

/// A program that answers as an interpreter does that cannot be had here.
fn pretended(folder: &Path, name: &str, change: &str) -> PathBuf {
    let real = empty(&folder.join(format!("{name}-env")));
    let program = folder.join(name);
    // What it is asked stands after `-B -c`.
    let script = format!(
        "#!/bin/sh\nexec {} -B -c 'import platform, sys, sysconfig\n{change}\nexec(sys.argv[1])' \"$3\"\n",
        real.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn interpreters_that_were_never_tested_are_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let said = |python: &Path| match Interpreter::find(Some(python)) {
        Ok(_) => String::new(),
        Err(error @ Error::Untested { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
    };
    let usual = pretended(place.path(), "usual", "");
    assert_eq!(said(&usual), "");
    for (name, change, expected) in [
        (
            "threads",
            "sysconfig.get_config_vars()[\"Py_GIL_DISABLED\"] = 1",
            "a free-threaded build of Python 3",
        ),
        ("other", "platform.python_implementation = lambda: \"PyPy\"", "is PyPy 3"),
        (
            "newer",
            "sys.version_info = (3, 16, 0); platform.python_version = lambda: \"3.16.0\"",
            "is Python 3.16.0",
        ),
    ] {
        let python = pretended(place.path(), name, change);
        let error = said(&python);
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&*python.to_string_lossy()), "{error}");
        assert!(error.contains("CPython 3.10 to 3.15") && error.contains("--python"), "{error}");
    }
    // Old ones that pyenv may have are real.
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    for entry in fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let minor = name.strip_prefix("3.").and_then(|rest| rest.split('.').next());
        let old = name.starts_with("2.")
            || minor.and_then(|minor| minor.parse().ok()).is_some_and(|minor: u32| minor < 10);
        let python = entry.path().join("bin/python");
        if old && python.exists() {
            let error = said(&python);
            assert!(error.contains(&format!("is Python {name}")), "{error}");
        }
    }
}
