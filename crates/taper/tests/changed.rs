//! What somebody edits, upgrades or removes in a package is what Python then finds.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use world::World;

fn world() -> World {
    let world = World::with_torch(&[
        ("torch/__init__.py", "from torch import child\n"),
        ("torch/child.py", "VALUE = 'old'\n"),
        ("torch/cold.py", "VALUE = 'old'\n"),
        ("torch/early.py", "VALUE = 'old'\n"),
        ("torch/data/plain.py", "VALUE = 'old'\n"),
        ("single.py", "VALUE = 'old'\n"),
        ("foo/__init__.py", "VALUE = 'old'\nfrom foo import gone\n"),
        ("foo/gone.py", ""),
        ("foo-1.0.dist-info/METADATA", "Name: foo\nVersion: 1.0\n"),
        ("x-y.py", "VALUE = 'old'\n"),
    ]);
    world.compile();
    world
}

const RUN: &str = "
import sys, os
for folder in sys.path:
    if os.path.exists(os.path.join(folder, 'torch', 'early.py')):
        open(os.path.join(folder, 'torch', 'early.py')).read()
import torch, single, foo, torch.early, torch.data.plain
";

fn pack(world: &World, cold: &str) -> PathBuf {
    let out = world.path(cold);
    let words =
        ["pack", "--cpu", "native", "--cold", cold, "--to", cold, "--", "python", "-c", RUN];
    let done = world.taper(&words);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    out
}

fn ask(world: &World, out: &Path, code: &str) -> String {
    let done = world.python(out, &["-c", code]);
    let said = String::from_utf8_lossy(&done.stderr);
    let last = said.trim_end().rsplit('\n').next().unwrap_or_default().to_owned();
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned() + &last
}

#[test]
fn an_edited_module_is_used() {
    let world = world();
    for cold in ["keep", "drop"] {
        let out = pack(&world, cold);
        let mut modules =
            vec!["torch.child", "torch.early", "torch.data.plain", "single", "foo", "foo.gone"];
        if cold == "keep" {
            modules.push("torch.cold");
        }
        for module in modules {
            let place = out.join(module.replace('.', "/"));
            let file = if module == "foo" {
                place.join("__init__.py")
            } else {
                place.with_extension("py")
            };
            let before = fs::read(&file).unwrap();
            // As long as what was there, where that was the source.
            fs::write(&file, "VALUE = 'new'\n").unwrap();
            // First, and after others.
            for first in ["", "import torch.child, single\n"] {
                let code = format!("{first}import {module} as m; print(m.VALUE, m.__file__[-3:])");
                assert_eq!(ask(&world, &out, &code), "new .py", "{cold} {module} {first}");
                let code =
                    format!("{first}import {module} as m, inspect; print(inspect.getsource(m))");
                assert_eq!(ask(&world, &out, &code), "VALUE = 'new'", "{cold} {module}");
            }
            fs::write(&file, before).unwrap();
            let code = format!("import {module} as m; print(getattr(m, 'VALUE', 'old'))");
            assert_eq!(ask(&world, &out, &code), "old", "{cold} {module}");
        }
    }
}

#[test]
fn a_removed_module_is_gone_and_an_upgrade_is_whole() {
    let world = world();
    let out = pack(&world, "keep");
    fs::remove_file(out.join("torch/child.py")).unwrap();
    let code = "import torch.cold";
    assert!(ask(&world, &out, code).contains("cannot import name 'child' from"));
    let code = "import single, pkgutil, importlib.util as u\nspec = u.find_spec('foo.gone')\n\
                import foo\nprint([m.name for m in pkgutil.iter_modules(foo.__path__)])";
    assert_eq!(ask(&world, &out, code), "['gone']");
    // As `pip install --target out --upgrade` does: other folders in the place of the old ones.
    fs::remove_dir_all(out.join("foo")).unwrap();
    fs::create_dir_all(out.join("foo/more")).unwrap();
    fs::write(out.join("foo/__init__.py"), "VALUE = 'new'\n").unwrap();
    fs::write(out.join("foo/more/__init__.py"), "VALUE = 'more'\n").unwrap();
    let code = "import single, foo, foo.more, pkgutil\n\
                print(foo.VALUE, foo.more.VALUE, [m.name for m in pkgutil.iter_modules(foo.__path__)])";
    assert_eq!(ask(&world, &out, code), "new more ['more']");
    assert!(ask(&world, &out, "import foo.gone").ends_with("No module named 'foo.gone'"));
    // A module that becomes a package, and one that becomes an extension module.
    fs::remove_file(out.join("torch/cold.py")).unwrap();
    fs::create_dir(out.join("torch/cold")).unwrap();
    fs::write(out.join("torch/cold/__init__.py"), "VALUE = 'package'\n").unwrap();
    fs::write(out.join("torch/child.py"), "VALUE = 'back'\n").unwrap();
    let code = "import torch.cold; print(torch.cold.VALUE, torch.child.VALUE)";
    assert_eq!(ask(&world, &out, code), "package back");
}

#[test]
#[ignore = "needs Python.h and a C compiler: cargo xtask test"]
fn a_new_shared_library_in_a_package_is_loaded() {
    let world = world();
    let out = pack(&world, "keep");
    let source = world.path("made.c");
    let text = "#include <Python.h>\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, \"made\"};\n\
                PyMODINIT_FUNC PyInit_made(void) { return PyModule_Create(&d); }\n";
    fs::write(&source, text).unwrap();
    let python = world.path("env/bin/python");
    let code = "import sysconfig; print(sysconfig.get_path('include'), sysconfig.get_config_var('EXT_SUFFIX'))";
    let told = Command::new(&python).args(["-c", code]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let (include, suffix) = told.trim().split_once(' ').unwrap();
    let library = out.join(format!("foo/made{suffix}"));
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-I", include, "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(built.success());
    assert_eq!(ask(&world, &out, "import foo.made; print(foo.made.__name__)"), "foo.made");
}
