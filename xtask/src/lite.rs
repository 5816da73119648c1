//! `cargo xtask source --lite`: the lite product, built and run.

use crate::examples::Example;
use crate::{packages, setup, shell};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the lite product for resnet18's operators, links a program with it, runs the saved
/// model, and compares with what the installed PyTorch computes. `python` has what the build needs.
pub fn run(tree: &Path, python: &Path, work: Option<&Path>) -> Result<()> {
    setup::run()?;
    let taper = packages::build()?;
    let place = tempfile::tempdir()?;
    let folder = place.path();
    let script = crate::examples::repository().join("xtask/checks/lite/model.py");
    let interpreter = Example::named("classify")?.python()?;
    let model = |words: &[&str]| {
        let mut command = Command::new(&interpreter);
        command.args(["-W", "ignore"]).arg(&script).arg(folder).args(words);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    shell::run(&mut model(&[]))?;
    let out = folder.join("out");
    let mut build = Command::new(taper);
    build.args(["build", "--json", "--product", "lite", "--cpu", "x86-64-v3", "--source"]);
    build.arg(tree).arg("--operators").arg(folder.join("operators.txt")).arg("--to").arg(&out);
    build.arg("--build-python").arg(python);
    if let Some(work) = work {
        build.arg("--work").arg(work);
    }
    let done = build.stderr(std::process::Stdio::inherit()).output()?;
    anyhow::ensure!(done.status.success(), "taper build: {}", done.status);
    let document: Value = serde_json::from_slice(&done.stdout)?;
    println!("product: {} bytes, {}", document["bytes"], document["libraries"]);
    let words =
        document["build"]["link"].as_array().context("taper names no words to link with")?;
    let program = link(folder, &out, words)?;
    let size = fs::metadata(&program)?.len();
    println!("program: {size} bytes stripped");
    let mut run = Command::new(program);
    run.current_dir(folder).args(["model.ptl", "input.f32", "got.f32", "1", "3", "224", "224"]);
    shell::run(&mut run)?;
    shell::run(&mut model(&["compare"]))
}

/// Compiles and links the program as taper says, and strips it.
fn link(folder: &Path, out: &Path, words: &[Value]) -> Result<PathBuf> {
    let program = folder.join("run");
    let mut compile = Command::new("c++");
    compile.args([
        "-std=c++17",
        "-Os",
        "-march=x86-64-v3",
        "-DC10_MOBILE",
        "-DBUILD_LITE_INTERPRETER",
    ]);
    compile.arg(crate::examples::repository().join("xtask/checks/lite/run.cpp"));
    compile.arg("-I").arg(out.join("include")).arg("-o").arg(&program);
    let place = out.to_string_lossy();
    compile.args(words.iter().filter_map(Value::as_str).map(|word| word.replace("OUT", &place)));
    shell::run(&mut compile)?;
    shell::run(Command::new("strip").arg(&program))?;
    Ok(program)
}
