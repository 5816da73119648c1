//! Cold pages come back whatever else a process does, and damage to them is said.
//!
//! The library is real, of two thousand functions of C++ that nobody called while it was
//! traced; the programs run from a package that `taper pack --cold keep` made of it.

mod world;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use world::World;

/// How many functions there are.
const COUNT: usize = 2000;

const MODULE: &str = "
import ctypes, os
library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), 'lib', 'many.so'))
library.call.restype = ctypes.c_uint64
library.call.argtypes = [ctypes.c_int, ctypes.c_uint64]
def value(n, x):
    for i in range(1, 40):
        x = (x * (6364136223846793005 + 2 * n) + n * i) % 2**64
    return x
";

/// The C++ source: functions that fill pages, a table to call them by, and what a process
/// may do to its signals, stacks and threads.
fn source() -> String {
    let mut text = String::from(include_str!("cold/head.cc"));
    for n in 0..COUNT {
        let _ = writeln!(text, "MADE({n})");
    }
    text.push_str("made *const all[] = {");
    for n in 0..COUNT {
        let _ = write!(text, "f{n},");
    }
    text.push_str("};\n");
    text.push_str(include_str!("cold/tail.cc"));
    text
}

struct Packed {
    world: World,
    python: PathBuf,
}

/// The package, made once.
fn packed() -> &'static Packed {
    static MADE: OnceLock<Packed> = OnceLock::new();
    MADE.get_or_init(|| {
        let world = World::with_torch(&[("torch/__init__.py", MODULE), ("torch/lib/many.so", "")]);
        fs::write(world.path("many.cc"), source()).unwrap();
        let built = Command::new("c++")
            .args(["-O1", "-shared", "-fPIC", "-pthread", "-w", "-o"])
            .arg(world.packages().join("torch/lib/many.so"))
            .arg(world.path("many.cc"))
            .status()
            .unwrap();
        assert!(built.success());
        let done = world.taper(&["pack", "--cold", "keep", "--to", "dist"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let python = fs::canonicalize(world.path("env/bin/python")).unwrap();
        Packed { world, python }
    })
}

/// Runs `program` with the package at `package`, and fails where it takes a minute.
fn run(package: &Path, words: &[&str], program: &str, log: bool) -> Output {
    let mut command = Command::new(&packed().python);
    command.args(words).arg("-c").arg(program).env_clear().env("PYTHONPATH", package);
    command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    if log {
        command.env("TAPER_LOG", "1");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it hangs: {program}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn dist() -> PathBuf {
    packed().world.path("dist")
}

/// Runs a program that must end well, and gives what it printed.
fn well(program: &str) -> String {
    let done = run(&dist(), &[], program, false);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{:?} {said}\n{program}", done.status);
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn what_is_touched_comes_back_and_nothing_else() {
    let all = "import torch
assert all(torch.library.call(n, 7) == torch.value(n, 7) for n in range(2000))";
    well(all);
    let one = "import torch
assert torch.library.call(1234, 7) == torch.value(1234, 7)";
    let brought = |program| {
        let done = run(&dist(), &[], program, true);
        assert!(done.status.success());
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.contains("taper: brought back") && said.contains(" kB in "), "{said}");
        said.lines().filter(|line| line.contains("pages of torch/lib/many.so")).count()
    };
    let (few, many) = (brought(one), brought(all));
    assert!(few > 0 && few < 6 && many > 10, "{few} {many}");
}

#[test]
fn threads_meet_at_the_same_pages_and_at_others() {
    for _ in 0..10 {
        well("import torch; assert torch.library.threads(16) == 0");
    }
    well(
        "
import torch, threading
threading.stack_size(32768)
wrong = []
def work(start):
    for n in range(2000):
        n = (n * 7 + start) % 2000
        if torch.library.call(n, n) != torch.value(n, n):
            wrong.append(n)
all = [threading.Thread(target=work, args=(start % 3,)) for start in range(16)]
[one.start() for one in all]; [one.join() for one in all]
assert not wrong",
    );
}

#[test]
fn children_go_on_with_what_the_parent_began() {
    for _ in 0..4 {
        well(
            "
import torch, threading, os, subprocess
def work(start):
    for n in range(start, 2000, 3): torch.library.call(n, n)
all = [threading.Thread(target=work, args=(start,)) for start in range(3)]
[one.start() for one in all]
for round in range(8):
    child = os.fork()
    if child == 0:
        right = True
        for n in range(0, 2000, 5):
            right = right and torch.library.call(n, 3) == torch.value(n, 3)
        os._exit(0 if right else 7)
    assert subprocess.run(['/bin/true']).returncode == 0
    assert os.waitpid(child, 0)[1] == 0
[one.join() for one in all]",
        );
    }
    let program = dist().parent().unwrap().join("pool.py");
    fs::write(
        &program,
        "
import multiprocessing, torch
def work(n):
    return torch.library.call(n, 5) == torch.value(n, 5)
if __name__ == '__main__':
    for way in ('fork', 'spawn', 'forkserver'):
        with multiprocessing.get_context(way).Pool(4) as pool:
            assert all(pool.map(work, range(0, 2000, 11)))
",
    )
    .unwrap();
    // A child that starts anew needs a main program of its own.
    let done = Command::new(&packed().python)
        .arg(&program)
        .env_clear()
        .env("PYTHONPATH", dist())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn signals_stacks_and_registers_are_as_they_were() {
    for what in [
        "small_stack",
        "alternate_stack",
        "all_blocked",
        "in_a_handler",
        "keeps_errno",
        "keeps_registers",
        "exceptions",
        "constants",
        "sigaction_answers",
    ] {
        well(&format!("import torch; assert torch.library.{what}() == 0"));
    }
    // A storm of signals whose handler is cold.
    well(
        "
import torch
torch.library.storm(1)
assert all(torch.library.call(n, 9) == torch.value(n, 9) for n in range(2000))
torch.library.storm(0)",
    );
    well(
        "
import torch
for n in range(0, 2000, 50):
    torch.library.call(n, n)
    for line in open('/proc/self/maps'):
        assert 'wx' not in line.split()[1], line",
    );
}

#[test]
fn a_library_is_unloaded_and_comes_again() {
    well(
        "
import ctypes, os, torch, _ctypes
path = torch.library._name
assert torch.library.call(3, 3) == torch.value(3, 3)
for round in range(5):
    _ctypes.dlclose(torch.library._handle)
    torch.library = ctypes.CDLL(path)
    torch.library.call.restype = ctypes.c_uint64
    torch.library.call.argtypes = [ctypes.c_int, ctypes.c_uint64]
    assert all(torch.library.call(n, 4) == torch.value(n, 4) for n in range(0, 2000, 100))",
    );
}

#[test]
fn a_true_crash_looks_like_one() {
    const SEGV: i32 = 11;
    use std::os::unix::process::ExitStatusExt;
    let crashes = [
        "torch.library.call(5000, 0)",
        "ctypes.string_at(8)",
        "torch.library.writes()",
        "torch.library.jumps()",
        "os.kill(os.getpid(), signal.SIGSEGV)",
    ];
    for crash in crashes {
        let program = format!("import ctypes, os, signal, torch\n{crash}");
        let done = run(&dist(), &[], &program, false);
        assert_eq!(done.status.signal(), Some(SEGV), "{crash}");
        for before in ["", "import torch\n"] {
            let program = format!(
                "{before}import ctypes, os, signal, faulthandler\nfaulthandler.enable()\nimport torch\n{crash}"
            );
            let done = run(&dist(), &[], &program, false);
            let said = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.signal(), Some(SEGV), "{crash} {said}");
            assert_eq!(said.matches("Fatal Python error: Segmentation fault").count(), 1, "{said}");
            assert!(said.contains("File \"<string>\", line"), "{said}");
        }
    }
    // And what is cold still comes back after all of that was set up.
    well(
        "
import faulthandler, signal, os
faulthandler.enable()
import torch
faulthandler.disable(); faulthandler.enable()
signal.signal(signal.SIGSEGV, lambda *_: None)
assert all(torch.library.call(n, 6) == torch.value(n, 6) for n in range(0, 2000, 9))
os.kill(os.getpid(), signal.SIGSEGV)
signal.signal(signal.SIGSEGV, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGSEGV)
assert signal.signal(signal.SIGSEGV, signal.SIG_DFL) == signal.SIG_IGN
assert torch.library.call(1999, 6) == torch.value(1999, 6)",
    );
}

#[test]
fn many_processes_and_little_memory() {
    well("
import os, torch
for round in range(50):
    children = []
    for n in range(4):
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.library.call(n * 77 + round, 1) == torch.value(n * 77 + round, 1) else 7)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)");
    let done = run(
        &dist(),
        &[],
        "
import resource, torch
now = int(open('/proc/self/statm').read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (now + 8192, now + 8192))
for n in range(2000):
    torch.library.call(n, 2)",
        false,
    );
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() || said.contains("taper: "), "{said}");
}

/// A copy of the package.
fn copied(name: &str) -> PathBuf {
    let place = packed().world.path(name);
    let done = Command::new("cp").arg("-r").arg(dist()).arg(&place).status().unwrap();
    assert!(done.success());
    place
}

#[test]
fn damage_is_said_and_nothing_damaged_runs() {
    let all = "import torch
wrong = [n for n in range(2000) if torch.library.call(n, 7) != torch.value(n, 7)]
assert not wrong
print('all right')";
    let place = copied("damaged");
    let store = place.join("_taper/cold");
    let library = place.join("torch/lib/many.so");
    let (whole, tied) = (fs::read(&store).unwrap(), fs::read(&library).unwrap());
    let note = memchr::memmem::find(&tied, b"taper\0nt").unwrap();
    let length = tied[note..].len().min(160);
    let check = |what: &str| {
        let done = run(&place, &[], all, false);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{what}: it ran");
        assert!(said.contains("copy the package again"), "{what}: {said}");
        assert!(!String::from_utf8_lossy(&done.stdout).contains("all right"), "{what}");
    };
    let step = whole.len() / 23;
    let places = [0, 8, 12, 16, 40, 64, 70, 80, 100].into_iter().chain((1..23).map(|n| n * step));
    let mut refused = 0;
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(&store, bytes).unwrap();
        if at < 100 {
            check(&format!("byte {at} of the store"));
            continue;
        }
        // The chunk may be one that nothing needs.
        let done = run(&place, &[], all, false);
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.success() {
            assert!(String::from_utf8_lossy(&done.stdout).contains("all right"));
        } else {
            assert!(said.contains("copy the package again"), "byte {at}: {said}");
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused}");
    for length in [0, 10, 63, 64, 200, whole.len() / 2, whole.len() - 1] {
        fs::write(&store, &whole[..length]).unwrap();
        check(&format!("{length} bytes of the store"));
    }
    fs::remove_file(&store).unwrap();
    check("no store");
    fs::write(&store, &whole).unwrap();
    for at in (0..length).step_by(5) {
        let mut bytes = tied.clone();
        bytes[note + at] ^= 0x04;
        fs::write(&library, bytes).unwrap();
        check(&format!("byte {at} of the note"));
    }
    fs::write(&library, &tied).unwrap();
    // Another package's store: the same library, packed with other chunks.
    let done = packed().world.taper(&[
        "pack",
        "--cold",
        "keep",
        "--level",
        "fast",
        "--no-verify",
        "--to",
        "other",
    ]);
    assert!(done.status.success());
    fs::copy(packed().world.path("other/_taper/cold"), &store).unwrap();
    check("another package's store");
    fs::write(&store, &whole).unwrap();
    let done = run(&place, &[], all, false);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // Cut short, and gone, while the program runs.
    let cut = format!("import torch, os\nos.truncate({store:?}, 4096)\n{all}");
    let done = run(&place, &[], &cut, false);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("cut short"), "{said}");
    fs::write(&store, &whole).unwrap();
    let gone = format!("import torch, shutil\nshutil.rmtree({place:?})\n{all}");
    assert!(run(&place, &[], &gone, false).status.success());
}

#[test]
fn what_was_dropped_raises_an_error_that_names_it() {
    // Larger than what is kept complete whatever ran.
    let world = World::with_torch(&[("torch/__init__.py", MODULE), ("torch/lib/many.so", "")]);
    let text = source().replace("FILL 500", "FILL 1500");
    fs::write(world.path("many.cc"), text).unwrap();
    let built = Command::new("c++")
        .args(["-O1", "-shared", "-fPIC", "-pthread", "-w", "-o"])
        .arg(world.packages().join("torch/lib/many.so"))
        .arg(world.path("many.cc"))
        .status()
        .unwrap();
    assert!(built.success());
    let workload = "import torch; torch.library.call(17, 1); torch.library.caught(17)";
    let done =
        world.taper(&["pack", "--cold", "drop", "--to", "dropped", "--", "python", "-c", workload]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let program = "
import torch, ctypes
torch.library.caught.restype = ctypes.c_char_p
assert torch.library.call(17, 1) != 0
print(torch.library.caught(17), torch.library.caught(1500), torch.library.caught(400), flush=True)
torch.library.call(1500, 1)";
    let done = run(&world.path("dropped"), &[], program, false);
    let (out, said) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    for n in [400, 1500] {
        let text = format!(
            "many::f{n} (many.so) is not in this package; trace a workload that uses it, or pack with --cold keep"
        );
        assert!(out.contains(&text), "{out} {said}");
    }
    assert!(out.starts_with("b'' "), "{out}");
    // Where nobody catches it, the process ends and says why.
    assert!(!done.status.success() && said.contains("many::f1500 (many.so) is not in"), "{said}");
}
