//! Headers lie compressed in a package and come back as files for compilers, once for each
//! package, wherever the package lies and whatever may be written.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use world::World;

const GIVER: &str = "import os
_TORCH_PATH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
def include_paths():
    return [os.path.join(_TORCH_PATH, 'include')]
";

/// Prints the folder, and all that a compiler would find.
const PROGRAM: &str = "
import os, torch
from torch.utils import cpp_extension
folder, = cpp_extension.include_paths()
print(folder)
above = os.path.dirname(folder)
for base, folders, files in sorted(os.walk(above, followlinks=True)):
    inside = base[len(above):]
    if inside.startswith(('/lib', '/include', '/share')):
        texts = [open(os.path.join(base, file)).read() for file in sorted(files)]
        print(inside, sorted(files), texts)
";

fn world() -> World {
    World::with_torch(&[
        ("torch/__init__.py", "from . import utils\n"),
        ("torch/utils/__init__.py", ""),
        ("torch/utils/cpp_extension.py", GIVER),
        ("torch/include/first.h", "int first;\n"),
        ("torch/include/deep/second.h", "int second;\n"),
        ("torch/include/deep/empty.h", ""),
        ("torch/include-more/include/third.h", "int third;\n"),
        ("torch/share/cmake/TorchConfig.cmake", "set(X 1)\n"),
        ("torch/lib/data.txt", "data\n"),
        ("torch/templates/read.h", "by Python\n"),
        ("torch/types.pyi", "x: int\n"),
        ("torch/py.typed", "partial\n"),
        ("torch/share/x.pc", "Name: x\n"),
        ("torch/lib/libx.a", "!<arch>\n"),
    ])
}

fn pack(world: &World, out: &str, cold: &str) -> PathBuf {
    let place = world.path(out);
    let words = ["pack", "--target", "cpu", "--cold", cold, "--no-verify", "--cpu", "native"];
    let workload = ["--to", place.to_str().unwrap(), "--", "python", "-c", "import torch"];
    let done = world.taper(&[&words[..], &workload].concat());
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    place
}

/// What a program prints in a package, with a folder for the caches of users.
fn said(world: &World, package: &Path, cache: &Path, words: &[&str]) -> String {
    let mut command = Command::new(world.path("env/bin/python").canonicalize().unwrap());
    command.args(words).env_clear().env("PYTHONPATH", package).env("XDG_CACHE_HOME", cache);
    command.env("TMPDIR", world.path("temporary")).env("PYTHONDONTWRITEBYTECODE", "1");
    let done = command.current_dir(world.folder()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn headers_come_back_for_compilers() {
    let world = world();
    world.compile();
    fs::create_dir(world.path("temporary")).unwrap();
    let (package, cache) = (pack(&world, "dist", "keep"), world.path("cache"));
    assert!(!package.join("torch/include").exists());
    // Nobody hands these out, or programs read them.
    let same = |path: &str| {
        assert_eq!(
            fs::read(package.join(path)).unwrap(),
            fs::read(world.packages().join(path)).unwrap()
        );
    };
    for path in [
        "torch/share/cmake/TorchConfig.cmake",
        "torch/include-more/include/third.h",
        "torch/py.typed",
        "torch/share/x.pc",
        "torch/lib/libx.a",
    ] {
        same(path);
    }
    assert_eq!(fs::read_to_string(package.join("torch/templates/read.h")).unwrap(), "by Python\n");
    let before = said(&world, &world.packages(), &cache, &["-c", PROGRAM]);
    let rest = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert!(before.contains("int first") && before.contains("int third") && !cache.exists());

    let after = said(&world, &package, &cache, &["-c", PROGRAM]);
    let folder = PathBuf::from(after.lines().next().unwrap());
    assert_eq!(rest(&after), rest(&before));
    assert!(folder.starts_with(&cache) && count(&cache.join("taper")) == 1);
    // The next process finds it there, and so does a person.
    let made = fs::metadata(folder.join("first.h")).unwrap().modified().unwrap();
    assert_eq!(said(&world, &package, &cache, &["-c", PROGRAM]), after);
    assert_eq!(fs::metadata(folder.join("first.h")).unwrap().modified().unwrap(), made);
    let asked = said(&world, &package, &cache, &["-m", "_taper.tools", "torch"]);
    assert_eq!(Path::new(asked.trim()), folder.parent().unwrap());
    // What is beside a folder is found from within it.
    let beside = Path::new(asked.trim()).join("share/cmake/../../include/deep/second.h");
    assert_eq!(fs::read_to_string(beside).unwrap(), "int second;\n");
    // What has nothing compressed stays where it is.
    let asked = said(&world, &package, &cache, &["-m", "_taper.tools", "torch/templates"]);
    assert_eq!(asked.trim(), "torch/templates");

    // Elsewhere, links lead elsewhere.
    let moved = world.path("moved");
    fs::rename(&package, &moved).unwrap();
    let after = said(&world, &moved, &cache, &["-c", PROGRAM]);
    assert_eq!(rest(&after), rest(&before));
    assert_eq!(count(&cache.join("taper")), 2);

    // Where nothing can be kept, it is there as long as the process.
    fs::write(world.path("file"), "").unwrap();
    let after = said(&world, &moved, &world.path("file"), &["-c", PROGRAM]);
    assert_eq!(rest(&after), rest(&before));
    assert!(after.starts_with(world.path("temporary").to_str().unwrap()), "{after}");
    assert_eq!(count(&world.path("temporary")), 0);
}

#[test]
fn where_cold_files_leave_so_do_headers() {
    let world = world();
    world.compile();
    let package = pack(&world, "dist", "drop");
    assert!(!package.join("_taper/tools").exists() && !package.join("torch/include").exists());
}

#[test]
fn headers_that_nothing_would_bring_back_are_files() {
    let world = World::with_torch(&[
        ("torch/__init__.py", ""),
        ("torch/utils/__init__.py", ""),
        // Another version, which hands its folder out in a way that is not known.
        ("torch/utils/cpp_extension.py", "def include_paths(): return []\n"),
        ("torch/include/first.h", "int first;\n"),
    ]);
    world.compile();
    let package = pack(&world, "dist", "keep");
    assert!(package.join("torch/include/first.h").is_file());
    assert!(!package.join("_taper/tools").exists());
}

#[test]
fn a_program_is_whole_wherever_it_lies() {
    let world = world();
    let source = world.path("tool.c");
    let text = "#include <stdio.h>\nint main(void) { puts(\"started\"); return 0; }\n";
    fs::write(&source, text).unwrap();
    let programs = [
        ("torch/lib/tool-v7", "-pie"),
        ("torch/data/libtool.so", "-static-pie"),
        ("torch/t", "-no-pie"),
    ];
    for (path, flag) in programs {
        let out = world.packages().join(path);
        fs::create_dir_all(out.parent().unwrap()).unwrap();
        let mut link = Command::new("gcc");
        let made = link.args(["-fPIE", flag, "-o"]).arg(&out).arg(&source).status().unwrap();
        assert!(made.success());
        let list = world.packages().join("torch-2.0.dist-info/RECORD");
        fs::write(&list, fs::read_to_string(&list).unwrap() + path + ",,\n").unwrap();
    }
    world.compile();
    let package = pack(&world, "dist", "keep");
    for (path, _) in programs {
        let packed = package.join(path);
        assert_eq!(fs::read(&packed).unwrap(), fs::read(world.packages().join(path)).unwrap());
        assert_eq!(Command::new(&packed).output().unwrap().stdout, b"started\n", "{path}");
    }
}
