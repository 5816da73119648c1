//! What Python finds by other ways than site-packages is in a package as what it is, and what
//! it finds nowhere is not found in a package either.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use world::World;

const OWN: &str = "
import importlib.metadata, importlib.resources, json
def cfg():
    return json.loads(importlib.resources.files(__package__).joinpath('c.json').read_text())
def version():
    return importlib.metadata.version('own-pkg')
";

/// What `setuptools` writes for an installation in place that maps names.
const FINDER: &str = "
import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_file_location
MAPPING = {'ownpkg': '@TREE@/lib', 'lone': '@TREE@/lone.py'}
class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        place = MAPPING.get(fullname)
        if place and place.endswith('.py'):
            return spec_from_file_location(fullname, place)
        if place:
            return spec_from_file_location(fullname, place + '/__init__.py')
def install():
    if not any(finder == _EditableFinder for finder in sys.meta_path):
        sys.meta_path.append(_EditableFinder)
";

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn world() -> World {
    World::with_torch(&[("torch/__init__.py", "VALUE = 1\n"), ("torch/unused.py", "")])
}

/// Metadata of a distribution that is installed in place from `tree`.
fn installed(world: &World, tree: &Path, links: &[&str]) {
    let folder = "own_pkg-1.5.dist-info";
    world.install(&format!("{folder}/METADATA"), "Name: own-pkg\nVersion: 1.5\n");
    let url =
        format!(r#"{{"dir_info": {{"editable": true}}, "url": "file://{}"}}"#, tree.display());
    world.install(&format!("{folder}/direct_url.json"), &url);
    world.install(&format!("{folder}/top_level.txt"), "ownpkg\n");
    let mut record =
        format!("{folder}/METADATA,,\n{folder}/direct_url.json,,\n{folder}/RECORD,,\n");
    record.extend(links.iter().map(|link| format!("{link},,\n")));
    world.install(&format!("{folder}/RECORD"), &record);
}

fn pack(world: &World, words: &[&str], variables: &[(&str, PathBuf)]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_taper"))
        .arg("--python")
        .arg(world.path("env/bin/python"))
        .args(["pack", "--to", "out", "--cpu", "native"])
        .args(words)
        .current_dir(world.folder())
        .env_remove("VIRTUAL_ENV")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    said
}

/// Runs a program in the package, where nothing of `hidden` is there.
fn run(world: &World, hidden: &[PathBuf], code: &str) -> String {
    for path in hidden.iter().chain([&world.packages()]) {
        fs::rename(path, path.with_extension("hidden")).unwrap();
    }
    let done = world.python(&world.path("out"), &["-c", code]);
    for path in hidden.iter().chain([&world.packages()]) {
        fs::rename(path.with_extension("hidden"), path).unwrap();
    }
    text(&done)
}

fn text(done: &Output) -> String {
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

const ASK: &str = "import ownpkg, torch; print(ownpkg.cfg(), ownpkg.version(), torch.VALUE)";

/// A source tree, with what no package may hold beside it.
fn tree(world: &World, package: &str) -> PathBuf {
    let tree = world.path("tree");
    write(&tree.join(package).join("__init__.py"), OWN);
    write(&tree.join(package).join("c.json"), r#"{"a": 1}"#);
    write(&tree.join(package).join("sub/later.py"), "LATER = 2\n");
    write(&tree.join(".git/HEAD"), "ref\n");
    write(&tree.join("data/large.bin"), "large\n");
    tree
}

#[test]
fn a_tree_that_a_pth_file_names_is_packed_as_its_package() {
    let world = world();
    let tree = tree(&world, "src/ownpkg");
    write(&tree.join("src/own_pkg.egg-info/PKG-INFO"), "Name: own-pkg\nVersion: 0.1\n");
    write(&tree.join("src/unrelated.py"), "");
    world.install("__editable__.own.pth", &format!("{}\n", tree.join("src").display()));
    installed(&world, &tree, &["__editable__.own.pth"]);
    pack(&world, &["--", "python", "-c", ASK], &[]);
    let out = world.path("out");
    assert_eq!(run(&world, std::slice::from_ref(&tree), ASK), "{'a': 1} 1.5 1\n");
    assert!(out.join("ownpkg/sub/later.py").exists() && !out.join("unrelated.py").exists());
    assert!(!out.join("__editable__.own.pth").exists() && !out.join("own_pkg.egg-info").exists());
    let record = fs::read_to_string(out.join("own_pkg-1.5.dist-info/RECORD")).unwrap();
    assert!(record.contains("ownpkg/c.json,") && !record.contains(".pth"), "{record}");
    // Nothing leads back.
    let grep = Command::new("grep").args(["-rlF"]).arg(&tree).arg(&out).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    // It may leave like any other.
    fs::remove_dir_all(&out).unwrap();
    pack(&world, &["--drop", "own-pkg", "--", "python", "-c", "import torch"], &[]);
    assert!(!out.join("ownpkg/__init__.py").exists());
}

#[test]
fn names_that_a_finder_maps_are_packed_as_their_packages() {
    for cold in ["keep", "drop"] {
        let world = world();
        let tree = tree(&world, "lib");
        write(&tree.join("lone.py"), "LONE = 3\n");
        let finder = FINDER.replace("@TREE@", tree.to_str().unwrap());
        world.install("__editable___own_finder.py", &finder);
        let line = "import __editable___own_finder; __editable___own_finder.install()";
        world.install("__editable__.own.pth", line);
        installed(&world, &tree, &["__editable__.own.pth", "__editable___own_finder.py"]);
        let ask = format!("{ASK}; import lone; print(lone.LONE, ownpkg.__name__)");
        let said = pack(&world, &["--cold", cold, "--", "python", "-c", &ask], &[]);
        assert!(said.contains("verif"), "{said}");
        let printed = run(&world, std::slice::from_ref(&tree), &ask);
        assert_eq!(printed, "{'a': 1} 1.5 1\n3 ownpkg\n");
        let out = world.path("out");
        assert!(!out.join("__editable___own_finder.py").exists());
        assert_eq!(out.join("ownpkg/sub/later.py").exists(), cold == "keep");
    }
}

#[test]
fn what_an_egg_link_or_pythonpath_leads_to_is_packed_if_a_run_used_it() {
    let world = world();
    // `setup.py develop`: the metadata lies in the tree.
    let tree = tree(&world, "ownpkg");
    write(&tree.join("own_pkg.egg-info/PKG-INFO"), "Name: own-pkg\nVersion: 1.5\n");
    write(&tree.join("own_pkg.egg-info/top_level.txt"), "ownpkg\n");
    world.install("easy-install.pth", &format!("{}\n", tree.display()));
    world.install("own-pkg.egg-link", &format!("{}\n.", tree.display()));
    // A namespace over three folders, and a program in one of them.
    world.install("spans/one.py", "ONE = 1\n");
    let more = world.path("more");
    write(&more.join("spans/two.py"), "TWO = 2\n");
    write(&more.join("never/__init__.py"), "");
    write(&more.join("program.py"), "import spans.one, spans.two\nprint(spans.two.TWO)\n");
    let ask = format!("{ASK}\nimport spans.one, spans.two\nprint(spans.one.ONE, spans.two.TWO)");
    let said = pack(&world, &["--", "python", "-c", &ask], &[("PYTHONPATH", more.clone())]);
    assert!(said.contains("(PYTHONPATH)") && said.contains("spans"), "{said}");
    let printed = run(&world, &[tree, more], &ask);
    assert_eq!(printed, "{'a': 1} 1.5 1\n1 2\n");
    let out = world.path("out");
    assert!(!out.join("never").exists() && !out.join("data").exists());
    assert!(!out.join("own-pkg.egg-link").exists() && !out.join("easy-install.pth").exists());
}

#[test]
fn what_pythonpath_has_hides_what_site_packages_has_of_that_name() {
    let world = world();
    for (folder, version) in [(world.packages(), 1), (world.path("more"), 2)] {
        let about = folder.join(format!("two_copies-{version}.0.dist-info"));
        write(&about.join("METADATA"), &format!("Name: two-copies\nVersion: {version}.0\n"));
        let lists = format!("two_copies/__init__.py,,\nlone{version}.py,,\n");
        write(&about.join("RECORD"), &lists);
        write(&about.join("top_level.txt"), "two_copies\nlone\n");
        write(&folder.join("two_copies/__init__.py"), &format!("VERSION = {version}\n"));
        write(&folder.join("two_copies/both.py"), &format!("BOTH = {version}\n"));
        write(&folder.join(format!("two_copies/only{version}.py")), "");
        write(&folder.join("lone.py"), &format!("LONE = {version}\n"));
        write(&folder.join("spans").join(format!("part{version}.py")), "");
    }
    let more = world.path("more");
    let ask = "
import importlib.metadata, lone, torch, two_copies.both, spans.part1, spans.part2
print(two_copies.VERSION, two_copies.both.BOTH, lone.LONE, torch.VALUE,
      importlib.metadata.version('two-copies'))";
    for cold in ["keep", "drop"] {
        let words = ["--cold", cold, "--", "python", "-c", ask];
        let _ = fs::remove_dir_all(world.path("out"));
        pack(&world, &words, &[("PYTHONPATH", more.clone())]);
        assert_eq!(run(&world, std::slice::from_ref(&more), ask), "2 2 2 1 2.0\n");
        let out = world.path("out");
        assert!(!out.join("two_copies/only1.py").exists());
        assert!(!out.join("two_copies-1.0.dist-info").exists());
        assert_eq!(out.join("two_copies/only2.py").exists(), cold == "keep");
    }
}

#[test]
fn folders_in_site_packages_that_a_pth_file_names_are_found() {
    let world = world();
    for (path, text) in [
        ("vendor/packages/found/__init__.py", "VALUE = 5\n"),
        ("vendor/packages/found/data.txt", "data\n"),
        ("vendor/packages/single.py", "VALUE = 6\n"),
        ("vendor.pth", "vendor/packages\n"),
        ("vendor-1.0.dist-info/METADATA", "Name: vendor\nVersion: 1.0\n"),
        (
            "vendor-1.0.dist-info/RECORD",
            "vendor/packages/found/__init__.py,,\nvendor/packages/found/data.txt,,\n\
          vendor/packages/single.py,,\nvendor.pth,,\nvendor-1.0.dist-info/RECORD,,\n",
        ),
    ] {
        world.install(path, text);
    }
    let ask = "import torch, found, single, pkgutil
print(found.VALUE, single.VALUE, pkgutil.get_data('found', 'data.txt'))";
    for cold in ["keep", "drop"] {
        pack(&world, &["--cold", cold, "--", "python", "-c", ask], &[]);
        assert_eq!(run(&world, &[], ask), "5 6 b'data\\n'\n");
        let out = world.path("out");
        let record = fs::read_to_string(out.join("vendor-1.0.dist-info/RECORD")).unwrap();
        assert!(record.contains("\nfound/__init__.py,"), "{record}");
        // Who reads by the old path still does.
        assert_eq!(out.join("vendor/packages/found/data.txt").exists(), cold == "keep");
        fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn the_applications_own_folder_is_not_packed() {
    let world = world();
    let own = world.path("app");
    write(&own.join("program.py"), "import helper, torch\nprint(helper.VALUE)\n");
    write(&own.join("helper.py"), "VALUE = 4\n");
    let program = own.join("program.py");
    let words = ["--", "python", program.to_str().unwrap()];
    pack(&world, &words, &[("PYTHONPATH", own.clone())]);
    assert!(!world.path("out/helper.py").exists() && !world.path("out/program.py").exists());
}

#[test]
fn what_cannot_be_packed_is_said_before_anything_runs() {
    let world = world();
    let archive = world.path("modules.zip");
    fs::write(&archive, b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    world.install("zip.pth", &format!("{}\n", archive.display()));
    let done = world.taper(&["pack", "--to", "out", "--", "python", "-c", "raise SystemExit(7)"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let (archive, end) = (said.find("modules.zip").unwrap(), said.find("exit code 7").unwrap());
    assert!(archive < end && said.contains("unpack it"), "{said}");
    // A package of taper's is no environment.
    let packed = world.path("packed");
    write(&packed.join("_taper/__init__.py"), "");
    let refused = Command::new(env!("CARGO_BIN_EXE_taper"))
        .arg("--python")
        .arg(world.path("env/bin/python"))
        .args(["pack", "--to", "out"])
        .current_dir(world.folder())
        .env("PYTHONPATH", &packed)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("off PYTHONPATH"), "{said}");
    // Installed in place by something that leads nowhere.
    let tree = tree(&world, "lib");
    let hook = format!(
        "import sys; sys.modules['ownpkg'] = type(sys)('ownpkg'); exec(open('{}/lib/__init__.py').read())",
        tree.display()
    );
    world.install("hook.pth", &hook);
    installed(&world, &tree, &["hook.pth"]);
    let done = world.taper(&["pack", "--to", "out", "--", "python", "-c", "print(1)"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    let (warned, traced) =
        (said.find("own_pkg-1.5.dist-info").unwrap(), said.find("\ntrace ").unwrap());
    assert!(warned < traced && said.contains("pip install"), "{said}");
    assert!(said.contains("the run used") && !said.contains("\nverify "), "{said}");
}

#[test]
fn a_backport_does_not_hide_the_standard_librarys_module() {
    let world = world();
    for (path, code) in [
        ("pathlib.py", "raise SystemExit('the backport')\n"),
        ("enum/__init__.py", "raise SystemExit('the backport')\n"),
        ("enum/data.txt", "data\n"),
        ("typing_extensions.py", "HERE = True\n"),
        ("sitecustomize.py", "import builtins\nbuiltins.CUSTOMIZED = 1\n"),
        ("enum34-1.0.dist-info/METADATA", "Name: enum34\nVersion: 1.0\n"),
        (
            "enum34-1.0.dist-info/RECORD",
            "enum/__init__.py,,\nenum/data.txt,,\nenum34-1.0.dist-info/RECORD,,\n",
        ),
    ] {
        world.install(path, code);
    }
    world.compile();
    let ask =
        "import torch, pathlib, enum, typing_extensions, importlib.metadata as m, os, builtins
place = os.path.dirname(os.path.dirname(torch.__file__))
print(pathlib.Path('a').name, enum.Enum.__module__, typing_extensions.HERE)
print(open(os.path.join(place, 'enum', 'data.txt')).read(), m.version('enum34'))
print([str(f) for f in m.files('enum34') if not f.locate().exists()])
print(getattr(builtins, 'CUSTOMIZED', None))";
    for cold in ["keep", "drop"] {
        pack(&world, &["--cold", cold, "--", "python", "-c", ask], &[]);
        let original =
            Command::new(world.path("env/bin/python")).args(["-c", ask]).output().unwrap();
        assert_eq!(run(&world, &[], ask), text(&original), "{cold}");
        assert!(world.path("out/_taper/behind/pathlib.py").exists() == (cold == "keep"));
        // In an environment of its own, where the order is the original's.
        let copied = world.path("copied");
        let made = Command::new(world.path("env/bin/python").canonicalize().unwrap())
            .args(["-m", "venv", "--without-pip"])
            .arg(&copied)
            .status();
        assert!(made.unwrap().success());
        let packages = fs::read_dir(copied.join("lib")).unwrap().next().unwrap().unwrap().path();
        let done = Command::new("cp")
            .arg("-rT")
            .arg(world.path("out"))
            .arg(packages.join("site-packages"))
            .status();
        assert!(done.unwrap().success());
        let done = Command::new(copied.join("bin/python")).args(["-c", ask]).output().unwrap();
        assert_eq!(text(&done), text(&original), "{cold}");
        fs::remove_dir_all(&copied).unwrap();
        fs::remove_dir_all(world.path("out")).unwrap();
    }
}

/// What today's setuptools really installs, in a tree with a namespace and a package of another
/// folder's name.
#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn what_setuptools_installs_in_place_is_packed() {
    let environment =
        std::env::var_os("TAPER_TEST_ENV").expect("TAPER_TEST_ENV is set by cargo xtask test");
    let world = world();
    let tree = tree(&world, "lib");
    write(&tree.join("deep/space/inner/__init__.py"), "INNER = 7\n");
    write(
        &tree.join("pyproject.toml"),
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n\
         [project]\nname = 'own-pkg'\nversion = '1.5'\n[tool.setuptools]\n\
         packages = ['ownpkg', 'ownpkg.sub', 'space.inner']\n\
         [tool.setuptools.package-dir]\nownpkg = 'lib'\nspace = 'deep/space'\n",
    );
    let python = Path::new(&environment).join("bin/python");
    let build = "import sys, zipfile, setuptools.build_meta as b
sys.argv[1:] = []
name = b.build_editable('..')
zipfile.ZipFile('../' + name).extractall(SITE)"
        .replace("SITE", &format!("{:?}", world.packages()));
    let built = Command::new(&python).args(["-c", &build]).current_dir(&tree).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // As pip adds it.
    let metadata = world.packages().join("own_pkg-1.5.dist-info");
    let url =
        format!(r#"{{"dir_info": {{"editable": true}}, "url": "file://{}"}}"#, tree.display());
    write(&metadata.join("direct_url.json"), &url);
    let ask = format!("{ASK}\nimport space.inner; print(space.inner.INNER)");
    pack(&world, &["--", "python", "-c", &ask], &[]);
    assert_eq!(run(&world, std::slice::from_ref(&tree), &ask), "{'a': 1} 1.5 1\n7\n");
    let grep = Command::new("grep").arg("-rlF").arg(&tree).arg(world.path("out")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
}
