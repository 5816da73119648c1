//! What `taper lint --fix` rewrites does what it did: the examples, and example scripts of
//! three packages. `cargo xtask test` sets the variable that these tests need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use xtask::examples::{self, EXAMPLES, Example};
use xtask::runs::{self, Place};
use xtask::test;

/// Packages whose source archives have example scripts that need no other package.
const PACKAGES: [&str; 3] = ["networkx==3.6.1", "pyparsing==3.2.3", "simpy==4.1.1"];

/// The most scripts of one package.
const SCRIPTS: usize = 6;

/// Adds an import that nothing needs, so that there is something to rewrite.
fn add_import(script: &Path) -> bool {
    let text = fs::read_to_string(script).unwrap();
    let more = text.replacen("\nimport ", "\nimport colorsys\nimport ", 1);
    fs::write(script, &more).unwrap();
    more != text
}

/// Rewrites what lies at `paths`, and gives how many imports were.
fn fix(taper: &Path, python: &Path, modules: Option<&Path>, paths: &[PathBuf]) -> u64 {
    let mut command = Command::new(taper);
    if let Some(modules) = modules {
        command.env("PYTHONPATH", modules);
    }
    command.arg("--json").arg("--quiet").arg("--python").arg(python).args(["lint", "--fix"]);
    let done = command.args(paths).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(matches!(done.status.code(), Some(0 | 1)), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    json["rewritten"].as_u64().unwrap()
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn examples_give_the_same_results() {
    let taper = test::program();
    let place = tempfile::tempdir().unwrap();
    for example in EXAMPLES {
        let python = example.python().unwrap();
        let original = Place::Original(&python);
        let (expected, _) = runs::run(example, original, &[]).unwrap();
        let script = place.path().join(format!("{}.py", example.name));
        fs::copy(examples::repository().join(example.script()), &script).unwrap();
        assert!(add_import(&script));
        assert!(fix(&taper, &python, None, std::slice::from_ref(&script)) >= 1);
        assert!(!fs::read_to_string(&script).unwrap().contains("colorsys"));
        let (found, _) = runs::run_script(&script, original, &[]).unwrap();
        expected.check(&found).unwrap();
    }
}

/// Runs a script for at most ten seconds.
fn trial(python: &Path, modules: &Path, script: &Path) -> Option<Output> {
    let mut command = Command::new(python);
    command.arg(script).current_dir(script.parent().unwrap()).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("PYTHONHASHSEED", "0").stdin(Stdio::null());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", modules);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Large outputs would fill a pipe: such scripts are not taken.
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().ok().filter(|done| done.status.success())
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let named = |part: &str| path.components().any(|one| one.as_os_str() == part);
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "py")
                && named("examples")
                && path.file_name().is_some_and(|name| name != "__init__.py")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn scripts_of_other_packages_print_the_same() {
    let taper = test::program();
    let place = tempfile::tempdir().unwrap();
    let python = Example::named("classify").unwrap().python().unwrap();
    let mut rewritten = 0;
    for package in PACKAGES {
        let folder = place.path().join(package);
        let mut download = Command::new(&python);
        download.args(["-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--quiet"]);
        download.args(["--disable-pip-version-check", "--dest"]).arg(&folder).arg(package);
        assert!(download.status().unwrap().success());
        let modules = place.path().join("modules").join(package);
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--no-deps", "--quiet", "--no-input", "--target"]);
        install.arg(&modules).args(["--disable-pip-version-check", package]);
        assert!(install.status().unwrap().success());
        let archive = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let unpacked = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&folder).status();
        assert!(unpacked.unwrap().success());
        let mut all: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for script in scripts(&folder) {
            if all.len() < SCRIPTS
                && add_import(&script)
                && let Some(done) = trial(&python, &modules, &script)
                // Some print what chance gives them.
                && trial(&python, &modules, &script).is_some_and(|again| again.stdout == done.stdout)
            {
                all.push((script, done.stdout));
            }
        }
        assert!(!all.is_empty(), "no script of {package} runs");
        let paths: Vec<PathBuf> = all.iter().map(|(path, _)| path.clone()).collect();
        rewritten += fix(&taper, &python, Some(&modules), &paths);
        for (script, before) in all {
            let after = trial(&python, &modules, &script).map(|done| done.stdout);
            assert!(!fs::read_to_string(&script).unwrap().contains("colorsys"));
            assert!(after.as_ref() == Some(&before), "{} prints something else", script.display());
        }
    }
    assert!(rewritten > 0, "nothing was rewritten");
}
