//! What is not in a package raises the errors that Python raises, and these say how it comes
//! back. What installs distributions is in one where something needs it.

mod world;

use std::fs;
use std::process::Command;
use world::World;

fn distribution(world: &World, name: &str, requires: &str, files: &[&str]) {
    let folder = format!("{name}-1.0.dist-info");
    let text = format!("Name: {name}\nVersion: 1.0\n{requires}\n");
    world.install(&format!("{folder}/METADATA"), &text);
    let mut list = format!("{folder}/METADATA,,\n{folder}/RECORD,,\n");
    for file in files {
        world.install(file, "VALUE = 1\n");
        list.extend([file, ",,\n"]);
    }
    world.install(&format!("{folder}/RECORD"), &list);
}

fn world(requires: &str) -> World {
    let world = World::with_torch(&[
        ("torch/__init__.py", "VALUE = 1\n"),
        ("torch/used.py", ""),
        ("torch/unused.py", ""),
        ("torch/sub/__init__.py", ""),
        ("torch/sub/deep.py", ""),
        ("torch/some.json", "{}"),
    ]);
    distribution(
        &world,
        "setuptools",
        "",
        &["setuptools/__init__.py", "_distutils_hack/__init__.py"],
    );
    distribution(&world, "wheel", "", &["wheel/__init__.py"]);
    // Its name alone would not make it one for GPUs: it brings code for them.
    let triton = ["triton/__init__.py", "triton/language/__init__.py", "triton/libdevice.bc"];
    distribution(&world, "triton", "", &triton);
    distribution(&world, "needs", requires, &["needs/__init__.py"]);
    // As setuptools has it: every start of the interpreter imports a part of it.
    world.install("distutils-precedence.pth", "import _distutils_hack\n");
    world.compile();
    world
}

fn pack(world: &World, words: &[&str]) -> String {
    let _ = fs::remove_dir_all(world.path("out"));
    let done = world.taper(&[&["pack", "--cpu", "native", "--to", "out"], words].concat());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    fs::read_to_string(world.path("out/taper.json")).unwrap()
}

/// What a program printed in the package, and what it said last.
fn run(world: &World, code: &str) -> (String, String) {
    let bare = world.path("bare");
    if !bare.exists() {
        // The interpreter itself may have setuptools.
        let python = world.path("env/bin/python").canonicalize().unwrap();
        let words = ["-m", "venv", "--without-pip"];
        assert!(Command::new(python).args(words).arg(&bare).status().unwrap().success());
    }
    let done = Command::new(bare.join("bin/python"))
        .args(["-c", code])
        .env_clear()
        .env("PYTHONPATH", world.path("out"))
        .output()
        .unwrap();
    (
        String::from_utf8_lossy(&done.stdout).trim_end().to_owned(),
        String::from_utf8_lossy(&done.stderr).into_owned(),
    )
}

#[test]
fn a_module_that_is_out_says_how_it_comes_back() {
    let world = world("");
    let cases: [(&[&str], &str, &str); 6] = [
        (&["--cold", "drop"], "torch.unused", "--keep torch.unused"),
        (&["--cold", "drop"], "torch.sub.deep", "--keep torch.sub"),
        (&["--cold", "drop"], "needs", "--keep needs"),
        (&["--drop", "torch.sub"], "torch.sub", "--drop named it"),
        (&[], "triton.language", "--keep triton"),
        (&[], "setuptools.build_meta", "--keep setuptools"),
    ];
    let mut packed: Option<&[&str]> = None;
    for (words, module, flag) in cases {
        if packed != Some(words) {
            pack(&world, &[words, &["--", "python", "-c", "import torch.used"]].concat());
            packed = Some(words);
        }
        let first = module.split('.').next().unwrap();
        let missing = if first == "torch" && !module.contains("deep") {
            module
        } else {
            module.rsplit_once('.').map_or(module, |(parent, _)| parent)
        };
        let (_, said) = run(&world, &format!("import torch\nimport {module}"));
        let last = said.trim_end().rsplit('\n').next().unwrap();
        let start = format!("ModuleNotFoundError: No module named '{missing}'; taper left it out");
        assert!(last.starts_with(&start) && last.contains(flag), "{said}");
        // Nothing of taper's in the traceback.
        assert_eq!(said.matches("File ").count(), 1, "{said}");
        // Programs that ask go on as they do where it is not installed.
        let code = format!(
            "import torch, importlib.util as u, pickle\n\
             print(u.find_spec('{missing}'))\n\
             try:\n    import {module}\n\
             except ImportError as error:\n\
             \x20   again = pickle.loads(pickle.dumps(error))\n\
             \x20   print(type(error) is ModuleNotFoundError, error.name, again.name, error.path)\n\
             try:\n    from {missing} import x\n\
             except ModuleNotFoundError:\n    print('caught')"
        );
        let expected = format!("None\nTrue {missing} {missing} None\ncaught");
        assert_eq!(run(&world, &code), (expected, String::new()), "{module}");
    }
    // What is not out has Python's own words, and finders that come later are asked.
    let (_, said) = run(&world, "import torch, nothing");
    assert!(said.ends_with("No module named 'nothing'\n"), "{said}");
    let later = "
import sys, torch, importlib.machinery as m
class Later:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == 'triton':
            return m.ModuleSpec(name, None, is_package=True)
sys.meta_path.append(Later)
import triton
print(triton.__spec__.name)";
    assert_eq!(run(&world, later), ("triton".into(), String::new()));
}

#[test]
fn files_and_distributions_that_are_out_say_how_they_come_back() {
    let world = world("");
    pack(&world, &["--cold", "drop", "--", "python", "-c", "import torch.used"]);
    let code = "
import torch, os, pickle, errno, importlib.metadata as m
place = os.path.join(os.path.dirname(torch.__file__), 'some.json')
try:
    open(place)
except FileNotFoundError as error:
    again = pickle.loads(pickle.dumps(error))
    print(type(error) is FileNotFoundError, error.errno == errno.ENOENT, error.filename == place)
    print(again.filename == place, '--keep torch/some.json' in str(error))
    print(str(error).startswith('[Errno 2] No such file or directory'))
try:
    open(place + 'x')
except FileNotFoundError as error:
    print(error.strerror)
try:
    m.version('Setuptools')
except m.PackageNotFoundError as error:
    again = pickle.loads(pickle.dumps(error))
    print(error)
    print(error.name, again.name, type(again) is m.PackageNotFoundError)
print([d.name for d in m.distributions(name='setuptools')], m.version('torch'))
try:
    m.version('nothing')
except m.PackageNotFoundError as error:
    print(error)";
    let (printed, said) = run(&world, code);
    assert_eq!(said, "");
    let expected = "True True True\nTrue True\nTrue\nNo such file or directory\n\
        No package metadata was found for Setuptools; taper left it out of this package: nothing in the package requires it; pack with --keep setuptools\n\
        Setuptools Setuptools True\n[] 2.0\nNo package metadata was found for nothing";
    assert_eq!(printed, expected);
}

#[test]
fn installers_are_in_scope_where_something_needs_them() {
    let ask = "import torch, setuptools, importlib.metadata as m; print(m.version('setuptools'))";
    let original = |manifest: &str| -> u64 {
        let rest = manifest.split("\"original\": ").nth(1).unwrap();
        rest.split([',', '\n']).next().unwrap().parse().unwrap()
    };
    let bare = world("");
    let without = original(&pack(&bare, &[]));
    // Starting the interpreter, which imports a part of it, is no use.
    assert!(run(&bare, ask).1.contains("--keep setuptools"));
    let with = pack(&bare, &["--keep", "setuptools"]);
    assert_eq!(run(&bare, ask).0, "1.0");
    assert!(original(&with) > without);
    // A run used it, or asked for its version; or for that of all.
    for (code, there) in [
        ("import torch, setuptools", true),
        ("import importlib.metadata as m; m.version('setuptools')", true),
        ("import importlib.metadata as m; [d.metadata['Name'] for d in m.distributions()]", false),
        ("import importlib.metadata as m; m.entry_points()", false),
    ] {
        let manifest = pack(&bare, &["--no-verify", "--", "python", "-c", code]);
        assert_eq!(original(&manifest) > without, there, "{code}");
    }
    for (requires, there) in [
        ("Requires-Dist: setuptools>=40", true),
        ("Requires-Dist: SetupTools ; python_version >= \"3.9\" and os_name == \"posix\"", true),
        ("Requires-Dist: setuptools; python_version < '3.9' or sys_platform == 'win32'", false),
        ("Requires-Dist: setuptools; extra == 'dev'", false),
        ("Requires-Dist: setuptools; python_version ~= '3.0'", true),
        ("Requires-Dist: setuptools-scm", false),
    ] {
        let world = world(requires);
        pack(&world, &["--no-verify"]);
        assert_eq!(run(&world, ask).0 == "1.0", there, "{requires}");
        assert!(run(&world, "import torch, wheel").1.contains("--keep wheel"));
    }
}
