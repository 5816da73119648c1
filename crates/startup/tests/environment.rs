//! The proof on a real PyTorch. `cargo xtask test` names the environment.

use std::path::PathBuf;
use taper_startup::defer::{CANDIDATES, planned, prove};

fn python() -> PathBuf {
    let folder = std::env::var_os("TAPER_TEST_ENV").expect("cargo xtask test sets it");
    PathBuf::from(folder).join("bin/python")
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn the_candidates_may_be_deferred() {
    let python = python();
    for root in CANDIDATES {
        let group = prove(&python, root).unwrap();
        assert!(group.may_be_deferred(), "{root}: {:#?}", group.objections);
        assert_eq!(group.members[0], root);
        assert!(group.members.iter().any(|name| name == "torch._prims"), "{:?}", group.members);
        assert!(group.namespaces.iter().any(|name| name == "prims"), "{:?}", group.namespaces);
        assert_eq!(group.keys, ["Meta"]);
        assert!(planned([&group], true, "3.11.2").contains("torch._decomp.decompositions"));
    }
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn what_others_would_miss_may_not() {
    let python = python();
    // Registers classes with the pickler, makes loggers and kinds of tensors, and gives
    // operators kernels for keys that no allocator hears of.
    for root in ["torch.multiprocessing", "torch._higher_order_ops", "torch.export"] {
        let group = prove(&python, root).unwrap();
        assert!(!group.may_be_deferred(), "{root}");
        assert!(!planned([&group], true, "3.11.2").contains(root));
    }
    let group = prove(&python, "torch.no_such_module").unwrap();
    assert_eq!(group.objections, ["it is not imported"]);
}

/// An environment with the packages of the other, where `change` was done to `torch._C`: what
/// another version of PyTorch may be like.
fn changed(place: &std::path::Path, python: &std::path::Path, change: &str) -> PathBuf {
    let made = std::process::Command::new(python)
        .args(["-m", "venv", "--without-pip"])
        .arg(place)
        .status()
        .unwrap();
    assert!(made.success());
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = |python: &std::path::Path| {
        let done = std::process::Command::new(python).args(["-c", ask]).output().unwrap();
        PathBuf::from(String::from_utf8(done.stdout).unwrap().trim())
    };
    let here = place.join("bin/python");
    let folder = packages(&here);
    std::fs::write(folder.join("all.pth"), packages(python).to_str().unwrap()).unwrap();
    let script = format!(
        "import importlib.machinery, sys
def change(native):
{change}
class Find:
    def find_spec(self, name, path=None, target=None):
        if name != 'torch._C':
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (load(module), change(module))
        return spec
sys.meta_path.insert(0, Find())
"
    );
    std::fs::write(folder.join("sitecustomize.py"), script).unwrap();
    here
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn a_new_way_to_ask_is_watched_and_one_that_cannot_be_watched_refused() {
    let python = python();
    let place = tempfile::tempdir().unwrap();
    let more = "    native._asks_anew = native._dispatch_has_kernel_for_dispatch_key";
    let more = changed(&place.path().join("more"), &python, more);
    let group = prove(&more, CANDIDATES[0]).unwrap();
    assert!(group.may_be_deferred(), "{:?}", group.objections);
    assert!(group.queries.iter().any(|name| name == "_asks_anew"), "{:?}", group.queries);
    // The functions that this version has are found, not known.
    assert!(group.queries.iter().any(|name| name == "_jit_get_all_schemas"), "{:?}", group.queries);

    let stays = "
    class Stays(type(native)):
        def __setattr__(self, name, value):
            if name != '_jit_get_all_schemas':
                super().__setattr__(name, value)
    native.__class__ = Stays";
    let stays = changed(&place.path().join("stays"), &python, stays);
    let group = prove(&stays, CANDIDATES[0]).unwrap();
    assert!(!group.may_be_deferred());
    let named = |one: &String| one.contains("_jit_get_all_schemas") && one.contains("not noticed");
    assert!(group.objections.iter().any(named), "{:?}", group.objections);
    assert!(!planned([&group], true, "3.11.2").contains(CANDIDATES[0]));
}
