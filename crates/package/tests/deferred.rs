//! The bodies of deferred modules run as an import would have run them. The runtime's modules run
//! by themselves, on a small package, without what watches a real torch.

use std::fs;
use std::process::Command;
use taper_package::RUNTIME;

/// A package: each body says that it runs. One looks at all modules, as `inspect` does; one is
/// found in a module that nobody named; one makes itself a module of a class of its own, which
/// nothing may set.
const FILES: [(&str, &str); 6] = [
    ("said.py", "order = []\n"),
    ("pkg/__init__.py", ""),
    (
        "pkg/root.py",
        "import said, sys
said.order.append(__name__)
for module in list(sys.modules.values()):
    getattr(module, '__file__', None), getattr(module, '__name__', None)
from pkg.outer.inner import VALUE
import pkg.other
",
    ),
    (
        "pkg/outer/__init__.py",
        "import said\nsaid.order.append(__name__)\nSTART = 41\nimport pkg.outer.inner\n",
    ),
    (
        "pkg/outer/inner.py",
        "import said\nsaid.order.append(__name__)\nfrom pkg.outer import START\nVALUE = START + 1\n",
    ),
    (
        "pkg/other.py",
        "import said, sys, types
said.order.append(__name__)
class Own(types.ModuleType):
    def __setattr__(self, name, value):
        raise AttributeError(name)
    def __delattr__(self, name):
        raise AttributeError(name)
    def __getattr__(self, name):
        if name == 'of_its_own':
            return 8
        raise AttributeError(name)
LAST = 7
sys.modules[__name__].__class__ = Own
",
    ),
];

const SHOW: &str = "
import said, pkg
print(said.order, pkg.other.LAST, pkg.root.VALUE, pkg.outer.inner.VALUE)
print([type(sys.modules[name]).__name__ for name in sorted(sys.modules) if name[:4] == 'pkg.'])
";

const DEFER: &str = "
import importlib.util, pkg
from _taper import deferred
class Group(deferred.Group):
    def _arm(self):
        pass
members = ['pkg.root', 'pkg.outer.inner', 'pkg.outer', 'pkg.other']
plan = {'members': members, 'early': [], 'at_once': [], 'attributes': [
    ['pkg', 'outer', 'pkg.outer'], ['pkg', 'other', 'pkg.other'], ['pkg.outer', 'inner', 'pkg.outer.inner']]}
root = importlib.util.module_from_spec(importlib.util.find_spec('pkg.root'))
sys.modules['pkg.root'] = root
assert Group('pkg.root', plan).defer(root)
pkg.root = root
import said
assert not said.order and type(pkg.other).__name__ == '_Deferred'
";

fn said(begin: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    for folder in ["_taper", "pkg/outer"] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    let runtime = |path: &str| RUNTIME.into_iter().find(|(other, _)| *other == path).unwrap();
    for name in ["_taper/once.py", "_taper/gates.py", "_taper/deferred.py"] {
        fs::write(place.path().join(name), runtime(name).1).unwrap();
    }
    for (path, text) in FILES {
        fs::write(place.path().join(path), text).unwrap();
    }
    let python = std::env::var_os("TAPER_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.args(["-B", "-c"]).arg(format!("import sys\n{begin}\n{SHOW}"));
    let done = command.env("PYTHONPATH", place.path()).current_dir(place.path()).output().unwrap();
    assert!(done.status.success(), "{begin}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn bodies_run_in_the_order_of_an_import() {
    let plain = said("import pkg.root");
    let first = "['pkg.root', 'pkg.outer', 'pkg.outer.inner', 'pkg.other'] 7 42 42\n";
    assert_eq!(plain, format!("{first}['Own', 'module', 'module', 'module']\n"));
    // Whichever module is looked at first.
    for name in ["pkg.other", "pkg.outer", "pkg.outer.inner", "pkg.root"] {
        let look = format!("{DEFER}\ngetattr(sys.modules[{name:?}], 'anything', None)");
        assert_eq!(said(&look), plain, "{name}");
    }
}

#[test]
fn the_first_look_is_as_the_class_of_the_module_wants_it() {
    let plain = said("import pkg.root");
    let refused = |what: &str| {
        format!(
            "{DEFER}\nlooked = pkg.other
try:\n    {what}
except AttributeError:\n    pass
else:\n    raise AssertionError"
        )
    };
    assert_eq!(said(&format!("{DEFER}\nassert pkg.other.of_its_own == 8")), plain);
    for what in ["looked.name = 1", "del looked.LAST", "looked.of_nobody"] {
        assert_eq!(said(&refused(what)), plain, "{what}");
    }
}

#[test]
fn finalizers_run_at_exit_in_the_order_of_an_import() {
    // As a body that makes the first finalizer does, before and after a program's handler.
    let finalizer = "kept = type('Kept', (), {})()\nweakref.finalize(kept, print, 'finalized')\n";
    let handler = "atexit.register(print, 'handler')\n";
    let begin = "import atexit, weakref, pkg.root\nfrom _taper import deferred\n";
    let at_exit = |text: &str| {
        let out = said(&format!("{begin}{text}"));
        out.lines().skip(2).collect::<Vec<_>>().join(" ")
    };
    let plain = at_exit(&format!("{finalizer}{handler}"));
    assert_eq!(plain, "handler finalized");
    let at_once = "deferred._AT_ONCE['weakref.finalize']()\n";
    assert_eq!(at_exit(&format!("{at_once}{handler}{finalizer}")), plain);
    // Deferred without that, it would be another order.
    assert_ne!(at_exit(&format!("{handler}{finalizer}")), plain);
}
