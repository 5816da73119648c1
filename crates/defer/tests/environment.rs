//! The proof on a real PyTorch. `cargo xtask test` names the environment.

use std::path::PathBuf;
use taper_defer::{CANDIDATES, planned, prove};

fn python() -> Option<PathBuf> {
    let folder = std::env::var_os("TAPER_TEST_ENV").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("TAPER_TEST_ENV is not set: skipped; use cargo xtask test");
    }
    folder.map(|folder| folder.join("bin/python"))
}

#[test]
fn the_candidates_may_wait() {
    let Some(python) = python() else { return };
    for root in CANDIDATES {
        let group = prove(&python, root).unwrap();
        assert!(group.may_wait(), "{root}: {:#?}", group.objections);
        assert_eq!(group.members[0], root);
        assert!(group.members.iter().any(|name| name == "torch._prims"), "{:?}", group.members);
        assert!(group.namespaces.iter().any(|name| name == "prims"), "{:?}", group.namespaces);
        assert_eq!(group.keys, ["Meta"]);
        assert!(planned([&group], true, "3.11.2").contains("torch._decomp.decompositions"));
    }
}

#[test]
fn what_others_would_miss_may_not() {
    let Some(python) = python() else { return };
    // Registers classes with the pickler, makes loggers and kinds of tensors, and gives
    // operators kernels for keys that no allocator hears of.
    for root in ["torch.multiprocessing", "torch._higher_order_ops", "torch.export"] {
        let group = prove(&python, root).unwrap();
        assert!(!group.may_wait(), "{root}");
        assert!(!planned([&group], true, "3.11.2").contains(root));
    }
    let group = prove(&python, "torch.no_such_module").unwrap();
    assert_eq!(group.objections, ["it is not imported"]);
}
