//! Modules in a package's store behave as modules in files do: the same program prints
//! the same from both, and damage to the store is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const INIT: &str = "'''The package.'''\nimport sys\nfrom . import child\nfrom .child import f\n";
const CHILD: &str = "
import os
def f(x):
    return x + 1
def fails():
    raise ValueError('said ' + os.path.basename(__file__))
class Kept:
    value = 3
";
const TOOL: &str = "
import sys
from torch import child
print('main', __name__, child.f(4), sys.argv[1:], __spec__ and __spec__.name)
";
const BY_PATH: &str = "DECLARED = 'declared'\n";

/// Prints what depends on how modules are found and loaded, and nothing that depends on
/// where.
const PROGRAM: &str = "
import importlib, importlib.machinery, importlib.resources, importlib.util
import inspect, os, pickle, pkgutil, runpy, sys, traceback
import torch, torch.child, single
from torch.sub import deep
root = os.path.dirname(os.path.dirname(torch.__file__)) + os.sep
short = lambda path: path.replace(root, '')
for module in (torch, torch.child, torch.sub, deep, single):
    spec = module.__spec__
    print(module.__name__, short(module.__file__), spec.name, spec.parent, short(spec.origin),
          [short(p) for p in getattr(module, '__path__', [])], module.__package__,
          short(module.f.__code__.co_filename) if hasattr(module, 'f') else None)
# Nobody imports the tool: it leaves.
print(sorted((m.name, m.ispkg) for m in pkgutil.walk_packages(torch.__path__, 'torch.')
             if m.name != 'torch.tool'))
print(sorted(name for name in os.listdir(os.path.dirname(torch.__file__)) 
             if name not in ('__pycache__', 'tool.py')))
print(importlib.resources.files('torch').joinpath('data.txt').read_text())
print(pkgutil.get_data('torch', 'data.txt'))
print(pickle.loads(pickle.dumps(torch.child.Kept())).value, pickle.dumps(torch.child.f)[:40])
try:
    torch.child.fails()
except ValueError as error:
    print(error, [(short(frame.filename), frame.lineno, frame.name)
                  for frame in traceback.extract_tb(error.__traceback__)][1:])
path = os.path.join(os.path.dirname(torch.__file__), 'declared.py')
spec = importlib.util.spec_from_file_location('by_path', path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.DECLARED, module.__name__)
import torch.declared
print(runpy.run_path(path)['DECLARED'], runpy.run_module('torch.declared')['DECLARED'])
print(importlib.reload(torch.child) is torch.child, torch.child.f(1))
print(importlib.util.find_spec('torch.nothing'), importlib.util.find_spec('nothing'))
print(inspect.getsource(torch.sub.read_as_text), open(torch.sub.__file__).read().count('def'))
try:
    import torch.nothing
except ModuleNotFoundError as error:
    print(error, error.name)
importlib.invalidate_caches()
print(sorted(name for name in sys.modules if name.startswith(('torch', 'single'))))
";

struct World {
    place: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let made = Command::new("python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(place.path().join("env"))
            .status()
            .unwrap();
        assert!(made.success());
        let world = Self { place };
        let lib = fs::read_dir(world.path("env/lib")).unwrap().next().unwrap().unwrap().path();
        let record = [
            ("torch/__init__.py", INIT),
            ("torch/child.py", CHILD),
            ("torch/tool.py", TOOL),
            ("torch/declared.py", BY_PATH),
            ("torch/data.txt", "data\n"),
            ("torch/sub/__init__.py", "def read_as_text():\n    return 1\n"),
            ("torch/sub/deep.py", "f = lambda: 0\n"),
            ("single.py", "def f():\n    return 'single'\n"),
            ("torch-2.0.dist-info/METADATA", "Name: torch\nVersion: 2.0\n"),
        ];
        let mut list = String::from("torch-2.0.dist-info/RECORD,,\n");
        for (path, text) in record {
            let file = lib.join("site-packages").join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
            list.extend([path, ",,\n"]);
        }
        fs::write(lib.join("site-packages/torch-2.0.dist-info/RECORD"), list).unwrap();
        // As an installer does; a module without bytecode has its source in the package.
        let compiled = Command::new(world.path("env/bin/python"))
            .args(["-m", "compileall", "-q"])
            .arg(lib.join("site-packages"))
            .status()
            .unwrap();
        assert!(compiled.success());
        fs::write(world.path("program.py"), PROGRAM).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn pack(&self, out: &str, workload: &[&str]) {
        let done = Command::new(env!("CARGO_BIN_EXE_taper"))
            .arg("--python")
            .arg(self.path("env/bin/python"))
            .args(["pack", "--to", out, "--cpu", "native", "--", "python"])
            .args(workload)
            .current_dir(self.place.path())
            .env_remove("VIRTUAL_ENV")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{said}");
        let text = fs::read_to_string(self.path(out).join("taper.json")).unwrap();
        assert!(text.contains("\"verified\": true"), "{text}\n{said}");
    }

    /// The interpreter of the environment with nothing installed but the package.
    fn python(&self, package: &Path, words: &[&str]) -> Output {
        Command::new(self.path("env/bin/python").canonicalize().unwrap())
            .args(words)
            .env_clear()
            .env("PYTHONPATH", package)
            .current_dir(self.place.path())
            .output()
            .unwrap()
    }
}

#[test]
fn every_way_to_a_module_leads_to_the_same() {
    let world = World::new();
    world.pack("out", &["program.py"]);
    let out = world.path("out");
    // They lie in the store, in order; what was read as text is a file.
    assert!(out.join("_taper/modules").is_file());
    let text = |path: &str| fs::read_to_string(out.join(path)).unwrap();
    assert!(text("torch/sub/deep.py").starts_with("exec("), "{}", text("torch/sub/deep.py"));
    assert!(text("torch/sub/__init__.py").contains("read_as_text"));
    assert!(!out.join("torch/tool.py").exists());
    // It works where it is moved to, and stays as it is.
    let moved = world.path("elsewhere");
    fs::rename(&out, &moved).unwrap();
    let done = world.python(&moved, &["program.py"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    world.pack("tool", &["-m", "torch.tool", "a"]);
    let done = world.python(&world.path("tool"), &["-m", "torch.tool", "a"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(said, "main __main__ 5 ['a'] torch.tool\n");
    world.pack("top", &["-c", "import single; print(single.f())"]);
    let done = world.python(&world.path("top"), &["-m", "single"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn damage_to_the_store_is_said_and_never_run() {
    let world = World::new();
    world.pack("out", &["-c", "import torch, single; print(torch.f(1), single.f())"]);
    let store = world.path("out/_taper/modules");
    let whole = fs::read(&store).unwrap();
    let run = || world.python(&world.path("out"), &["-c", "import torch; print(torch.f(1))"]);
    assert_eq!(run().stdout, b"2\n");
    let mut seen = 0;
    let places = (0..whole.len()).step_by(whole.len() / 40);
    for at in places.clone() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        fs::write(&store, &damaged).unwrap();
        let done = run();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        // Bytes 24 to 32 are reserved; a chunk that is not needed is not read.
        if done.status.success() {
            assert_eq!(done.stdout, b"2\n", "byte {at}");
            continue;
        }
        assert!(said.contains("_taper/modules") && said.contains("copy the package"), "{said}");
        seen += 1;
    }
    assert!(seen * 10 > places.count() * 9, "{seen}");
    fs::write(&store, &whole[..whole.len() / 2]).unwrap();
    let said = String::from_utf8_lossy(&run().stderr).into_owned();
    assert!(said.contains("not as long as it says"), "{said}");
    fs::remove_file(&store).unwrap();
    let said = String::from_utf8_lossy(&run().stderr).into_owned();
    assert!(said.contains("No such file"), "{said}");
}
