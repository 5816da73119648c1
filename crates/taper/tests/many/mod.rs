//! A library of two thousand functions of C++ of which next to none is called while it is
//! traced, and a package that `taper pack --cold keep` makes of it.

// Each test program uses its part of this.
#![allow(dead_code)]

use crate::world::World;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How many functions there are.
const COUNT: usize = 2000;

/// What is traced. Pages between those that a run touched come back in small chunks, others in
/// large ones.
pub const TRACED: &str = "import torch; [torch.library.call(n, n) for n in range(0, 1000, 60)]";

const MODULE: &str = "
import ctypes, os
library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), 'lib', 'many.so'))
library.call.restype = ctypes.c_uint64
library.call.argtypes = [ctypes.c_int, ctypes.c_uint64]
def value(n, x):
    for i in range(1, 40):
        x = (x * (6364136223846793005 + 2 * n) + n * i) % 2**64
    return x
";

/// The C++ source: functions that fill pages, a table to call them by, and what a process
/// may do to its signals, stacks and threads.
fn source() -> String {
    let mut text = String::from(include_str!("head.cc"));
    for n in 0..COUNT {
        let _ = writeln!(text, "MADE({n})");
    }
    text.push_str("made *const all[] = {");
    for n in 0..COUNT {
        let _ = write!(text, "f{n},");
    }
    text.push_str("};\n");
    text.push_str(include_str!("tail.cc"));
    text
}

/// An environment whose torch has the library, with so many bytes that do nothing in each
/// function.
pub fn world(fill: u32) -> World {
    let world = World::with_torch(&[
        ("torch/__init__.py", MODULE),
        ("torch/later.py", ""),
        ("torch/lib/many.so", ""),
    ]);
    let source = source();
    let (before, after) = source.split_once("#define FILL ").unwrap();
    let after = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
    fs::write(world.path("many.cc"), format!("{before}#define FILL {fill}{after}")).unwrap();
    let built = Command::new("c++")
        .args(["-O1", "-shared", "-fPIC", "-pthread", "-w", "-o"])
        .arg(world.packages().join("torch/lib/many.so"))
        .arg(world.path("many.cc"))
        .status()
        .unwrap();
    assert!(built.success());
    world
}

/// An environment and a package made of it, `dist`.
pub struct Packed {
    /// The environment.
    pub world: World,
    /// Its bare interpreter.
    pub python: PathBuf,
}

/// The package, made once.
pub fn packed() -> &'static Packed {
    static MADE: OnceLock<Packed> = OnceLock::new();
    MADE.get_or_init(|| {
        let world = world(1500);
        let words = ["pack", "--cold", "keep", "--to", "dist", "--", "python", "-c", TRACED];
        let done = world.taper(&words);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let python = fs::canonicalize(world.path("env/bin/python")).unwrap();
        Packed { world, python }
    })
}

/// Runs `program` with the package at `package`, and fails where it takes a minute.
pub fn run(package: &Path, program: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(&packed().python);
    command.arg("-c").arg(program).env_clear().env("PYTHONPATH", package);
    command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command.envs(variables.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_mins(1) {
            child.kill().unwrap();
            panic!("it hangs: {program}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// The package.
pub fn dist() -> PathBuf {
    packed().world.path("dist")
}

/// Runs a program that must end well, and gives what it printed.
pub fn well(program: &str) -> String {
    let done = run(&dist(), program, &[]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{:?} {said}\n{}\n{program}",
        done.status,
        String::from_utf8_lossy(&done.stdout)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// A copy of the package.
pub fn copied(name: &str) -> PathBuf {
    let place = packed().world.path(name);
    let done = Command::new("cp").arg("-r").arg(dist()).arg(&place).status().unwrap();
    assert!(done.success());
    place
}
