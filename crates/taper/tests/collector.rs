//! Importing from a package spares the garbage collector, and no program can tell: what it
//! asks of the collector it gets.

mod world;

use std::path::PathBuf;
use world::World;

/// A package that makes many objects that stay, and some that are garbage.
const INIT: &str = "
import gc
STAYS = [[number] for number in range(60_000)]
for _ in range(100):
    circle = []
    circle.append(circle)
del circle
THRESHOLD = gc.get_threshold()
LOG = open('log.txt', 'w')
class Holder:
    log = LOG
LOG.write('said at the start\\n')
";

fn packed() -> (World, PathBuf) {
    let world = World::with_torch(&[
        ("torch/__init__.py", INIT),
        ("torch/later.py", "MORE = [[number] for number in range(1000)]\n"),
    ]);
    world.compile();
    let words = ["pack", "--no-verify", "--to", "dist", "--", "python", "-c"];
    let done = world.taper(&[&words[..], &["import torch, torch.later"]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let dist = world.path("dist");
    (world, dist)
}

fn said(world: &World, packages: &std::path::Path, program: &str) -> String {
    said_with(world, packages, program, &[])
}

fn said_with(
    world: &World,
    packages: &std::path::Path,
    program: &str,
    variables: &[(&str, &str)],
) -> String {
    let done = world.python_with(packages, &["-c", program], variables);
    assert!(done.status.success(), "{program}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn programs_find_the_collector_as_they_left_it() {
    let (world, dist) = packed();
    // Each program with what it prints, in the package as in the original.
    let programs = [
        ("import gc, torch; print(gc.get_threshold(), gc.isenabled())", "(700, 10, 10) True\n"),
        (
            "import gc; gc.disable(); import torch; print(gc.isenabled(), torch.THRESHOLD[0])",
            "False 700\n",
        ),
        (
            "import gc; gc.set_threshold(9, 8, 7); import torch; print(gc.get_threshold())",
            "(9, 8, 7)\n",
        ),
        ("import gc; gc.set_threshold(0); import torch; print(gc.get_threshold()[0])", "0\n"),
        (
            // Python 3.12 has some hundreds of its own.
            "import gc, torch; print(any(o is torch.STAYS for o in gc.get_objects()), \
             gc.get_freeze_count() < 1000, len(gc.get_referrers(torch.STAYS[5])))",
            "True True 1\n",
        ),
        (
            "import gc, torch; before = gc.get_freeze_count(); gc.freeze(); \
             print(gc.get_freeze_count() > 60_000); gc.unfreeze(); print(gc.get_freeze_count())",
            "True\n0\n",
        ),
        // What was alive at the start and becomes garbage is found by who asks.
        (
            "import gc, weakref\nclass Ring: pass\nring = Ring(); ring.ring = ring\n\
             gone = weakref.ref(ring)\nimport torch\ndel ring\ngc.collect()\nprint(gone())",
            "None\n",
        ),
        // What comes later is found without being asked for.
        (
            "import torch, weakref\nclass Ring: pass\nring = Ring(); ring.ring = ring\n\
             gone = weakref.ref(ring); del ring\nkeep = [[] for _ in range(2000)]\nprint(gone())",
            "None\n",
        ),
        (
            "import gc, pickle, torch; print(pickle.loads(pickle.dumps(gc.collect)) is not None)",
            "True\n",
        ),
        ("import torch; print(open('log.txt').read(), end='')", ""),
    ];
    for packages in [&dist, &world.packages()] {
        for (program, expected) in programs {
            // Python 3.12 and later have other thresholds.
            let said = said(&world, packages, program).replace("(2000, 10, 0)", "(700, 10, 10)");
            let said = said.replace("(2000, 10, 10)", "(700, 10, 10)").replace(" 2000\n", " 700\n");
            assert_eq!(said, expected, "{program} in {}", packages.display());
        }
    }
}

#[test]
fn what_modules_wrote_reaches_the_disk() {
    let (world, dist) = packed();
    let log = world.path("log.txt");
    for end in ["", "; raise SystemExit"] {
        let _ = std::fs::remove_file(&log);
        // The file is held in a circle: only the collector would close it.
        said(&world, &dist, &format!("import torch; del torch{end}"));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "said at the start\n");
    }
}

#[test]
fn it_is_spared_while_a_program_starts_and_not_later() {
    let (world, dist) = packed();
    let patience = said(&world, &dist, "import torch; print(torch.THRESHOLD[0])");
    assert_eq!(patience, "250000\n");
    // Looking from below: what asks through `gc` would be answered as if nothing were frozen.
    let frozen = "import sys; print(len(sys.modules['_taper.collector']._asked) > 0)";
    let starts = format!("import torch; {frozen}");
    assert_eq!(said(&world, &dist, &starts), "True\n");
    let within = format!("def main():\n    import torch\nmain()\n{frozen}");
    assert_eq!(said(&world, &dist, &within), "True\n");
    let runs = format!(
        "things = [[n] for n in range(12_000)]\ndef main():\n    import torch\nmain()\n{frozen}"
    );
    assert_eq!(said(&world, &dist, &runs), "False\n");
    let busy = format!("things = [[n] for n in range(30_000)]\nimport torch\n{frozen}");
    assert_eq!(said(&world, &dist, &busy), "False\n");
    let thread = "import threading, gc\n\
         import torch\n\
         def work():\n    import torch.later\n    print(gc.get_threshold()[0] < 3000)\n\
         t = threading.Thread(target=work); t.start(); t.join()";
    assert_eq!(said(&world, &dist, thread), "True\n");
    let child = "import os, torch\n\
         child = os.fork()\n\
         if child == 0:\n    import torch.later, gc; os._exit(gc.get_threshold()[0] == 250000)\n\
         print(os.waitpid(child, 0)[1])";
    assert_eq!(said(&world, &dist, child), "0\n");
}

#[test]
fn it_is_left_alone_where_that_is_asked_for() {
    let (world, dist) = packed();
    let words = ["pack", "--eager", "--no-verify", "--to", "eager", "--", "python", "-c"];
    let done = world.taper(&[&words[..], &["import torch, torch.later"]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let program = "import atexit, gc, sys
before = gc.get_threshold(), atexit._ncallbacks(), gc.get_freeze_count() > 1000, gc.collect
import torch
print(before == (torch.THRESHOLD, atexit._ncallbacks(), gc.get_freeze_count() > 1000, gc.collect))
print(sys.getallocatedblocks() > 60_000, gc.collect.__self__ is gc)";
    assert_eq!(said(&world, &world.packages(), program), "True\nTrue True\n");
    let eager = [("TAPER_EAGER", "1")];
    assert_eq!(said_with(&world, &dist, program, &eager), "True\nTrue True\n");
    assert_eq!(said(&world, &world.path("eager"), program), "True\nTrue True\n");
    assert!(said(&world, &dist, program).starts_with("False\n"));
    // The variable may be there and say no.
    assert!(said_with(&world, &dist, program, &[("TAPER_EAGER", "0")]).starts_with("False\n"));
}
