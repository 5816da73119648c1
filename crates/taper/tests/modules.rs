//! Modules in a package's store behave as modules in files do, whether what no workload
//! used stays or leaves: the same program prints the same from both, and damage to the
//! store is said.

mod world;

use std::fs;
use std::path::Path;
use world::World;

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
const COLD: &str = "
import warnings
STARTS = 'started'
def cold():
    return {}[
        'no such key'
    ]
def warns():
    warnings.warn('from the cold')
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
for folder in sys.path:
    if sys.argv[1:] and os.path.exists(os.path.join(folder, 'torch', 'early.py')):
        print(open(os.path.join(folder, 'torch', 'early.py')).read())
import torch, torch.child, torch.early, single
from torch.sub import deep
root = os.path.dirname(os.path.dirname(torch.__file__)) + os.sep
short = lambda path: path.replace(root, '')
for module in (torch, torch.child, torch.sub, deep, single):
    spec = module.__spec__
    print(module.__name__, short(module.__file__), spec.name, spec.parent, short(spec.origin),
          [short(p) for p in getattr(module, '__path__', [])], module.__package__,
          short(module.f.__code__.co_filename) if hasattr(module, 'f') else None)
# Where cold modules leave, so does what nobody imports.
unused = ('raises', 'broken', 'tool', 'tests', 'cold') if sys.argv[1:] == ['drop'] else ()
print(sorted((m.name, m.ispkg) for m in pkgutil.walk_packages(torch.__path__, 'torch.')
             if m.name.split('.')[1] not in unused))
print(sorted(name for name in os.listdir(os.path.dirname(torch.__file__)) 
             if name.split('.')[0] not in (*unused, '__pycache__', 'include', 'types', 'bin')))
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

/// Prints sources by every way to them.
const SOURCES: &str = "
import ast, builtins, copy, importlib.resources, inspect, io, linecache, os, pathlib
import pickle, pkgutil, shutil, sys, tarfile, tokenize, traceback, warnings
import torch, torch.child, torch.cold.deep, torch.cold, torch.tests.check, single
root = os.path.dirname(os.path.dirname(torch.__file__)) + os.sep
for module in (torch, torch.child, torch.cold, torch.cold.deep, torch.tests.check, single):
    path, loader = module.__file__, module.__spec__.loader
    texts = [inspect.getsource(module), open(path).read(), io.open(path, 'rb').read().decode(),
             pathlib.Path(path).read_text(), pathlib.Path(path).read_bytes().decode(),
             tokenize.open(path).read(), ''.join(linecache.getlines(path)),
             open(os.path.relpath(path)).read(), open(os.fsencode(path)).read(),
             open(file=pathlib.Path(path), mode='r', encoding='utf-8').read(),
             loader.get_source(module.__name__), loader.get_data(path).decode()]
    assert len(set(texts)) == 1, texts
    print(texts[0])
print(pkgutil.get_data('torch', 'child.py') == open(torch.child.__file__, 'rb').read())
print(importlib.resources.files('torch').joinpath('cold/deep.py').read_text())
print(inspect.getsource(torch.child.f), inspect.getsource(torch.child.Kept))
print(inspect.getsource(torch.cold.deep.cold), inspect.getsourcelines(torch.child.fails)[1])
# The function that opens is still one.
class Owner:
    method = open
print(Owner().method(torch.child.__file__).readline(), builtins.open is io.open, open.__name__)
print(pickle.loads(pickle.dumps(open)) is open, copy.deepcopy([open]) != [], callable(open))
with open(torch.child.__file__) as file:
    print(file.name == torch.child.__file__, file.mode, os.fstat(file.fileno()).st_size)
with open('made.py', 'w+') as file:
    file.write('made')
print(open('made.py').read(), os.path.getsize('made.py'))
shutil.copyfile(torch.child.__file__, 'made.py')
print(open('made.py').read() == open(torch.child.__file__).read())
with tarfile.open('made.tar', 'w') as archive:
    archive.add(torch.child.__file__)
print(tarfile.open('made.tar').getmembers()[0].size == os.stat(torch.child.__file__).st_size)
def shown():
    # Python 3.10 shows a frame more where a file is not there.
    return sys.version_info >= (3, 11) and traceback.format_exc().replace(root, '')
for path in (root + 'nothing.py', root + 'torch', 'nothing', 3.5, root + 'torch/nothing.txt'):
    try:
        open(path)
    except Exception:
        print(shown())
for call in (torch.child.fails, torch.cold.deep.cold, torch.tests.check.check):
    try:
        call()
    except Exception:
        print(shown())
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter('always')
    torch.cold.deep.warns()
print(warnings.formatwarning(seen[0].message, seen[0].category, seen[0].filename,
                             seen[0].lineno).replace(root, ''))
";

/// Programs that end with an error, of which the interpreter shows the lines.
const UNCAUGHT: [&[&str]; 11] = [
    &["-c", "import torch.child\ntorch.child.fails()"],
    &["-c", "import torch.cold.deep\ntorch.cold.deep.cold()"],
    &["-c", "import torch.child, torch.raises"],
    &["-c", "import torch.broken"],
    &["-c", "import torch.nothing"],
    &["-c", "import raises_at_top"],
    &["-c", "import torch.cold.deep; torch.cold.deep.warns()"],
    &["-c", "import torch, threading; threading.Thread(target=torch.child.fails).start()"],
    &["-c", "import torch; open('nothing.py')"],
    &["-m", "torch.raises"],
    &["uncaught.py"],
];

/// Every way in which Python's libraries read a type stub, as lazy loaders do.
const READS_STUBS: &str = "
import importlib.resources, importlib.util, os, pathlib, pkgutil, torch
place = os.path.join(os.path.dirname(torch.__file__), 'types.pyi')
print(open(place).read() + repr(open(place, 'rb').read()), pathlib.Path(place).read_text())
print(pkgutil.get_data('torch', 'types.pyi'))
print(importlib.resources.files('torch').joinpath('types.pyi').read_bytes())
print(torch.__spec__.loader.get_data(place), sorted(os.listdir(os.path.dirname(place))))
print([found.name for found in pkgutil.iter_modules(torch.__path__)])
print(importlib.util.find_spec('torch.types'))
";

fn world() -> World {
    let world = World::with_torch(&[
        ("torch/__init__.py", INIT),
        ("torch/child.py", CHILD),
        ("torch/tool.py", TOOL),
        ("torch/declared.py", BY_PATH),
        ("torch/data.txt", "data\n"),
        ("torch/early.py", "# read early\n"),
        ("torch/sub/__init__.py", "def read_as_text():\n    return 1\n"),
        ("torch/sub/deep.py", "f = lambda: 0\n"),
        ("torch/cold/__init__.py", "# -*- coding: latin-1 -*-\ncold = 1\n"),
        ("torch/cold/deep.py", COLD),
        ("torch/cold/cold.txt", "cold\n"),
        ("torch/tests/check.py", "def check():\n    assert 1 == 2, 'differs'\n"),
        ("torch/raises.py", "import os\n\nraise OSError(\n    'raised while it is imported'\n)\n"),
        ("torch/broken.py", "x = 1\ndef broken(:\n    pass\n"),
        ("torch/include/header.h", "int x;\n"),
        ("torch/types.pyi", "x: int\n"),
        ("raises_at_top.py", "\n\nraise OSError('raised at the top')\n"),
        ("single.py", "def f():\n    return 'single'\n"),
    ]);
    world.compile();
    fs::write(world.path("program.py"), PROGRAM).unwrap();
    fs::write(world.path("sources.py"), SOURCES).unwrap();
    fs::write(world.path("uncaught.py"), "import single, torch\ntorch.child.fails()\n").unwrap();
    world
}

fn pack(world: &World, out: &str, cold: &str, workload: &[&str]) {
    let words = ["pack", "--to", out, "--cpu", "native", "--cold", cold, "--", "python"];
    let done = world.taper(&[&words, workload].concat());
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    let text = fs::read_to_string(world.path(out).join("taper.json")).unwrap();
    assert!(text.contains("\"verified\": true"), "{text}\n{said}");
    let number = |key: &str| -> u64 {
        let rest = text.split(&format!("\"{key}\": ")).nth(1).unwrap();
        rest.split(',').next().unwrap().trim_end_matches(['}', '\n', ' ']).parse().unwrap()
    };
    assert_eq!(number("hot") + number("cold_original") + number("out"), number("original"));
}

/// What a run printed, without the place of what it imported.
fn said(world: &World, packages: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let done = world.python(packages, words);
    let place = packages.to_str().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(place, "");
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

#[test]
fn every_way_to_a_module_leads_to_the_same() {
    for cold in ["keep", "drop"] {
        let world = world();
        pack(&world, "out", cold, &["program.py", cold]);
        let out = world.path("out");
        // They lie in the store, in order. What was read as text is a file where sources
        // leave, or where it was read before there was a module from the store.
        assert!(out.join("_taper/modules").is_file());
        let text = |path: &str| fs::read_to_string(out.join(path)).unwrap();
        assert!(text("torch/sub/deep.py").starts_with("exec("), "{}", text("torch/sub/deep.py"));
        let early = text("torch/early.py");
        assert!(early.contains("read early"), "{early}");
        let read = text("torch/sub/__init__.py").contains("read_as_text");
        assert_eq!(read, cold == "drop");
        assert_eq!(out.join("torch/tool.py").exists(), cold == "keep");
        // It works where it is moved to, and stays as it is.
        let moved = world.path("elsewhere");
        fs::rename(&out, &moved).unwrap();
        let (code, _, error) = said(&world, &moved, &["program.py", cold]);
        assert_eq!(code, Some(0), "{error}");

        pack(&world, "tool", cold, &["-m", "torch.tool", "a"]);
        let (_, printed, _) = said(&world, &world.path("tool"), &["-m", "torch.tool", "a"]);
        assert_eq!(printed, "main __main__ 5 ['a'] torch.tool\n");
        pack(&world, "top", cold, &["-c", "import single; print(single.f())"]);
        let (code, _, error) = said(&world, &world.path("top"), &["-m", "single"]);
        assert_eq!(code, Some(0), "{error}");
    }
}

#[test]
fn nothing_is_lost_where_cold_modules_stay() {
    let world = world();
    let (out, environment) = (world.path("out"), world.packages());
    fs::create_dir(environment.join("torch/bin")).unwrap();
    for program in ["started", "not_named"] {
        fs::copy("/bin/true", environment.join("torch/bin").join(program)).unwrap();
    }
    pack(&world, "out", "keep", &["-c", "import torch, single; print(torch.f(1), single.f())"]);
    // A module starts one of these.
    assert!(out.join("torch/bin/started").exists() && !out.join("torch/bin/not_named").exists());
    // Nothing here would bring a header back; a stub comes from the store.
    assert!(out.join("torch/include/header.h").exists());
    assert!(fs::read_to_string(out.join("torch/types.pyi")).unwrap().starts_with("exec("));
    assert!(out.join("torch/cold/cold.txt").exists());
    let record = fs::read_to_string(out.join("torch-2.0.dist-info/RECORD")).unwrap();
    for (path, listed) in [("tool.py", true), ("cold/cold.txt", true), ("types.pyi", true)] {
        assert_eq!(record.contains(&format!("torch/{path},")), listed, "{record}");
    }
    let mut runs = UNCAUGHT.to_vec();
    runs.extend([
        &["sources.py"] as &[&str],
        &["program.py"],
        &["-m", "torch.tool", "a", "b"],
        &["-c", READS_STUBS],
        &["-c", "import torch.cold.deep, torch.tests.check; print(torch.tests.__path__[0][-6:])"],
    ]);
    // Python 3.10 shows frames that later ones let a module take out of a traceback.
    let older = &["-c", "import sys; print(sys.version_info < (3, 11))"];
    let older = said(&world, &environment, older).1 == "True\n";
    let more = ["import raises_at_top", "import torch; open('nothing.py')"];
    runs.retain(|words| !older || !words.iter().any(|word| more.contains(word)));
    for words in runs {
        let original = said(&world, &environment, words);
        assert_eq!(said(&world, &out, words), original, "{words:?}");
        assert_ne!(original.1.len() + original.2.len(), 0, "{words:?}");
    }
    // Through a link, and with the stored module's own path given in another way.
    let link = world.path("link");
    std::os::unix::fs::symlink(&out, &link).unwrap();
    let real = "import torch, os; print(open(os.path.realpath(torch.child.__file__)).read())";
    assert!(said(&world, &link, &["-c", real]).1.contains("class Kept"));
    // Whoever changes a file in place reads what is written there.
    fs::write(out.join("torch/child.py"), "f = 1  # changed\n").unwrap();
    let (_, printed, _) = said(&world, &out, &["-c", real]);
    assert_eq!(printed, "f = 1  # changed\n\n");
    // And who installs another version over a stub.
    fs::write(out.join("torch/types.pyi"), "y: str\n").unwrap();
    assert!(said(&world, &out, &["-c", READS_STUBS]).1.starts_with("y: str\n"));
}

#[test]
fn a_damaged_source_is_said_and_harms_nothing_else() {
    let world = world();
    pack(&world, "out", "keep", &["-c", "import torch, single; print(torch.f(1), single.f())"]);
    let store = world.path("out/_taper/modules");
    let mut bytes = fs::read(&store).unwrap();
    // Sources come last.
    let last = bytes.len() - 20;
    bytes[last] ^= 0x20;
    fs::write(&store, &bytes).unwrap();
    let run = |code: &str| said(&world, &world.path("out"), &["-c", code]);
    for code in [
        "import torch; open(torch.child.__file__)",
        "import torch; torch.child.__spec__.loader.get_source('torch.child')",
    ] {
        let (code, _, error) = run(code);
        assert_eq!(code, Some(1));
        let line = error.trim().lines().last().unwrap();
        assert!(line.contains("_taper/modules: its bytes are not those"), "{error}");
        assert!(line.contains("copy the package again"), "{error}");
    }
    // The module works, and its error is shown, without lines.
    let (_, printed, error) = run("import torch; print(torch.f(1)); torch.child.fails()");
    assert_eq!(printed, "2\n");
    assert!(error.ends_with("ValueError: said child.py\n"), "{error}");
}

#[test]
fn damage_to_the_store_is_said_and_never_run() {
    let world = world();
    pack(&world, "out", "drop", &["-c", "import torch, single; print(torch.f(1), single.f())"]);
    let store = world.path("out/_taper/modules");
    let whole = fs::read(&store).unwrap();
    // What is out is looked up where an import fails.
    let code = "import torch
try:
    import torch.tool
except ModuleNotFoundError as error:
    if '--keep torch.tool' not in str(error):
        raise
print(torch.f(1))";
    let run = || world.python(&world.path("out"), &["-c", code]);
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

#[test]
fn a_licence_alone_makes_no_package_of_its_folder() {
    let world = World::with_torch(&[("torch/__init__.py", "")]);
    world.install("other/__init__.py", "value = 1\n");
    world.install("other/LICENSE.txt", "You may.\n");
    world.install("other-1.0.dist-info/METADATA", "Name: other\nVersion: 1.0\n");
    let list = "other/__init__.py,,\nother/LICENSE.txt,,\nother-1.0.dist-info/METADATA,,\nother-1.0.dist-info/RECORD,,\n";
    world.install("other-1.0.dist-info/RECORD", list);
    world.compile();
    let ways =
        [("kept", "keep", None), ("dropped", "keep", Some("other")), ("unused", "drop", None)];
    for (out, cold, dropped) in ways {
        let mut words = vec!["pack", "--cold", cold, "--to", out];
        words.extend(dropped.iter().flat_map(|name| ["--drop", name]));
        let done = world.taper(&words);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let (code, _, said) = said(&world, &world.path(out), &["-c", "import other; other.value"]);
        if out == "kept" {
            assert_eq!(code, Some(0), "{said}");
            assert!(world.path("kept/other/LICENSE.txt").exists());
        } else {
            assert!(said.contains("ModuleNotFoundError: No module named 'other'"), "{said}");
            let moved = "other-1.0.dist-info/licenses/site-packages/other/LICENSE.txt";
            assert_eq!(fs::read(world.path(out).join(moved)).unwrap(), b"You may.\n");
            let record = world.path(out).join("other-1.0.dist-info/RECORD");
            assert!(fs::read_to_string(record).unwrap().contains(moved));
        }
    }
}
