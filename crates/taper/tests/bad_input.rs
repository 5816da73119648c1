//! Bad input gets an error that says what, where and what to do, and leaves nothing
//! behind. A small virtual environment with a make-believe torch is enough to reach
//! each place where input is refused; what runs is real.

mod world;

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;

struct World(world::World);

impl Deref for World {
    type Target = world::World;

    fn deref(&self) -> &world::World {
        &self.0
    }
}

const TORCH: &str = "import ctypes, os
library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), 'lib', 'small.so'))
";

impl World {
    /// A virtual environment and, if `torch`, a distribution of that name whose shared
    /// library is a real one, built here.
    fn new(torch: bool) -> Self {
        if !torch {
            return Self(world::World::new());
        }
        let files = [("torch/__init__.py", TORCH), ("torch/lib/small.so", "")];
        let world = Self(world::World::with_torch(&files));
        world.build("int used(void) { return 7; }");
        world
    }

    fn build(&self, source: &str) {
        let file = self.path("small.c");
        fs::write(&file, source).unwrap();
        let library = self.packages().join("torch/lib/small.so");
        fs::create_dir_all(library.parent().unwrap()).unwrap();
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(library)
            .arg(file)
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// Runs taper and checks exit code, words of the error, and that there is no OUT
    /// nor a part of one.
    fn refuses(&self, code: i32, words: &[&str], arguments: &[&str]) {
        let done = self.taper(arguments);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        for entry in fs::read_dir(self.folder()).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with(".taper") && name != "out", "{name} was left");
        }
    }
}

const PACK: [&str; 7] = ["pack", "--to", "out", "--cpu", "native", "--", "python"];

fn pack<'a>(program: &[&'a str]) -> Vec<&'a str> {
    PACK.iter().copied().chain(program.iter().copied()).collect()
}

#[test]
fn a_small_environment_packs_and_verifies() {
    let world = World::new(true);
    let done = world.taper(&pack(&["-c", "import torch; print(torch.library.used())"]));
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    let text = fs::read_to_string(world.path("out/taper.json")).unwrap();
    assert!(text.contains("\"verified\": true"), "{text}");
    // The same input gives the same package, byte for byte.
    let mut again = pack(&["-c", "import torch; print(torch.library.used())"]);
    again[2] = "twice";
    assert_eq!(world.taper(&again).status.code(), Some(0));
    let mut compare = Command::new("diff");
    compare.args(["-r", "out", "twice"]).current_dir(world.folder());
    assert!(compare.status().unwrap().success());
}

#[test]
fn a_torch_whose_libraries_are_the_systems() {
    let world = World::new(true);
    let build = |out: &str, words: &[&str]| {
        let source = world.path("part.c");
        fs::write(&source, "int part(void) { return 7; }").unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-o", out]).arg(&source).args(words);
        assert!(gcc.current_dir(world.packages()).status().unwrap().success());
    };
    build("torch/lib/libpart.so", &["-Wl,-soname,libpart.so.2.6"]);
    let linked = ["-Wl,--no-as-needed", "torch/lib/libpart.so"];
    build("torch/_C.cpython-311-x86_64-linux-gnu.so", &linked);
    let place = world.path("dist");
    let pack = || {
        let words = ["pack", "--cpu", "native", "--to", place.to_str().unwrap(), "--"];
        let done = world.taper(&[&words[..], &["python", "-c", "import torch"]].concat());
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, said) = pack();
    let why =
        "_C.cpython-311-x86_64-linux-gnu.so needs libpart.so.2.6, and no file of the environment";
    assert!(code == Some(2) && said.contains(why) && !place.exists(), "{code:?}: {said}");
    fs::rename(
        world.packages().join("torch/lib/libpart.so"),
        world.packages().join("torch/lib/libpart.so.2.6"),
    )
    .unwrap();
    assert_eq!(pack().0, Some(0));
}

#[test]
fn no_torch() {
    let world = World::new(false);
    world.refuses(2, &["there is no torch", "--python"], &pack(&["-c", "pass"]));
}

#[test]
fn no_such_interpreter() {
    let world = World::new(false);
    let done = Command::new(env!("CARGO_BIN_EXE_taper"))
        .args(["inspect", "--python", "/nowhere/python"])
        .current_dir(world.folder())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("/nowhere/python"));
}

#[test]
fn a_workload_that_fails() {
    let world = World::new(true);
    world.refuses(2, &["exit code 5", "succeed first"], &pack(&["-c", "raise SystemExit(5)"]));
}

#[test]
fn a_workload_that_is_killed() {
    let world = World::new(true);
    let kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)";
    world.refuses(2, &["signal 9", "succeed first"], &pack(&["-c", kill]));
    // A crash is still a crash under the tracer.
    let crash = "import ctypes; ctypes.string_at(0)";
    world.refuses(2, &["signal 11"], &pack(&["-c", crash]));
}

#[test]
fn a_workload_that_is_not_there() {
    let world = World::new(true);
    let words = ["pack", "--to", "out", "--cpu", "native", "--", "./no-such-program"];
    world.refuses(2, &["no-such-program"], &words);
}

#[test]
fn something_at_the_destination() {
    let world = World::new(true);
    fs::create_dir(world.path("taken")).unwrap();
    let words = ["pack", "--to", "taken", "--", "python", "-c", "import torch"];
    world.refuses(2, &["taken exists", "--to"], &words);
}

#[test]
fn a_library_that_changed_since_the_trace() {
    let world = World::new(true);
    let trace =
        ["trace", "-o", "p.profile", "--cpu", "native", "--", "python", "-c", "import torch"];
    assert_eq!(world.taper(&trace).status.code(), Some(0));
    world.build("int used(void) { return 8; } int more(void) { return 9; }");
    let words = ["pack", "--to", "out", "--profile", "p.profile", "--cpu", "native"];
    world.refuses(2, &["torch/lib/small.so changed", "trace again"], &words);
    fs::remove_file(world.packages().join("torch/lib/small.so")).unwrap();
    world.refuses(2, &["torch/lib/small.so", "trace again"], &words);
}

#[test]
fn a_profile_that_is_none() {
    let world = World::new(true);
    fs::write(world.path("p.profile"), "{\"format\": 77}").unwrap();
    world.refuses(2, &["format is 77"], &["pack", "--to", "out", "--profile", "p.profile"]);
    world.refuses(2, &["no.profile"], &["pack", "--to", "out", "--profile", "no.profile"]);
}

#[test]
fn a_name_that_means_nothing() {
    let world = World::new(true);
    let words = ["pack", "--to", "out", "--keep", "nonesuch", "--cpu", "native"];
    world.refuses(2, &["--keep nonesuch", "inspect"], &words);
}

#[test]
fn a_budget_that_cannot_be_met() {
    let world = World::new(true);
    let words = ["pack", "--to", "out", "--budget", "1kB", "--cpu", "native"];
    world.refuses(1, &["over the budget"], &words);
}

#[test]
fn libraries_that_are_not_understood_are_copied_whole_and_counted() {
    let world = World::new(true);
    let library = world.packages().join("torch/lib/small.so");
    let good = fs::read(&library).unwrap();
    // Opened as data by the workload: a 32-bit file, one for another machine, one
    // that breaks off, and one whose program headers are nonsense.
    let damaged: [(&str, Vec<u8>); 4] = [
        ("bits.so", [&good[..4], &[1], &good[5..]].concat()),
        ("machine.so", [&good[..18], &[183, 0], &good[20..]].concat()),
        ("short.so", good[..200].to_vec()),
        ("headers.so", [&good[..64], &[0xff; 64], &good[128..]].concat()),
    ];
    for (name, bytes) in &damaged {
        fs::write(world.packages().join("torch/lib").join(name), bytes).unwrap();
    }
    let program = "import torch, glob, os
for name in sorted(glob.glob(os.path.dirname(torch.__file__) + '/lib/*.so')):
    print(os.path.basename(name), len(open(name, 'rb').read()) > 0)";
    let done = world.taper(&pack(&["-c", program]));
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    let text = fs::read_to_string(world.path("out/taper.json")).unwrap();
    for (name, bytes) in damaged {
        assert!(text.contains(&format!("torch/lib/{name}\": \"")), "{name} is not counted: {text}");
        assert_eq!(fs::read(world.path("out/torch/lib").join(name)).unwrap(), bytes);
    }
}

#[test]
#[ignore = "needs the right to mount a file system: cargo xtask test"]
fn a_disk_that_is_full() {
    let world = World::new(true);
    let small = world.path("small");
    fs::create_dir(&small).unwrap();
    let words = ["-t", "tmpfs", "-o", "size=16k", "tmpfs"];
    let mounted = Command::new("mount").args(words).arg(&small).output().unwrap();
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    let words = ["pack", "--to", "small/out", "--cpu", "native"];
    let done = world.taper(&words);
    let left = fs::read_dir(&small).unwrap().count();
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{said}");
    assert!(said.contains("free space"), "{said}");
    assert_eq!(left, 0);
}

#[test]
fn a_file_that_cannot_be_read() {
    let world = World::new(true);
    // Even who may read all cannot follow a link to itself.
    let link = world.packages().join("torch/round.txt");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    world.refuses(2, &["torch/round.txt", "permissions"], &pack(&["-c", "import torch"]));
}

#[test]
fn a_package_for_another_python() {
    let world = World::new(true);
    assert_eq!(world.taper(&pack(&["-c", "import torch"])).status.code(), Some(0));
    let manifest = world.path("out/taper.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let start = text.find("\"python\": \"3.").unwrap();
    let end = start + text[start..].find(',').unwrap();
    let other = [&text[..start], "\"python\": \"3.99\"", &text[end..]].concat();
    fs::write(&manifest, other).unwrap();
    let done = world.taper(&["verify", "out", "--", "python", "-c", "import torch"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("Python 3.99"));
    let done = world.taper(&["verify", "env", "--", "python", "-c", "pass"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("not a package"));
}

#[test]
fn results_that_differ_and_leaks_end_with_one() {
    let world = World::new(true);
    assert_eq!(world.taper(&pack(&["-c", "import torch"])).status.code(), Some(0));
    let program = "import torch; print(torch.__file__)";
    let done = world.taper(&["verify", "out", "--", "python", "-c", program]);
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("standard output differs at line 1"), "{said}");
    let outside = world.packages().join("torch/lib/small.so");
    let program = format!("import ctypes; ctypes.CDLL({:?})", outside.display().to_string());
    let done = world.taper(&["verify", "out", "--", "python", "-c", &program]);
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("belongs to the original environment"), "{said}");
}

#[test]
fn the_environment_stays_as_it_is() {
    let world = World::new(true);
    let list = |folder: &Path| {
        let done = Command::new("find")
            .arg(folder)
            .args(["-type", "f", "-printf", "%p %s %T@ %m\\n"])
            .output()
            .unwrap();
        let mut lines: Vec<String> =
            String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = list(&world.path("env"));
    assert_eq!(world.taper(&pack(&["-c", "import torch"])).status.code(), Some(0));
    assert_eq!(list(&world.path("env")), before);
}
