//! Cold pages come back whatever else a process does.

mod many;
mod world;

use many::{copied, dist, packed, run, well};
use std::fs;
use std::process::{Child, Command};

/// Calls every function.
const ALL: &str = "import torch
assert all(torch.library.call(n, 7) == torch.value(n, 7) for n in range(2000))";

#[test]
fn what_is_touched_comes_back_and_nothing_else() {
    well(ALL);
    let one = "import torch
assert torch.library.call(1234, 7) == torch.value(1234, 7)";
    let brought = |program| {
        let done = run(&dist(), program, &[("TAPER_LOG", "1")]);
        assert!(done.status.success());
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.contains("taper: brought back") && said.contains(" kB in "), "{said}");
        said.lines().filter(|line| line.contains("pages of torch/lib/many.so")).count()
    };
    let (few, many) = (brought(one), brought(ALL));
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
fn programs_go_on_after_their_own_faults() {
    let said = well("import torch\nprint(torch.library.recovers(0), torch.library.recovers(1))");
    assert_eq!(said, "100 200\n");
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
        "torch.library.unreadable()",
        "os.kill(os.getpid(), signal.SIGSEGV)",
    ];
    for crash in crashes {
        let program = format!("import ctypes, os, signal, torch\n{crash}");
        let done = run(&dist(), &program, &[]);
        assert_eq!(done.status.signal(), Some(SEGV), "{crash}");
        for before in ["", "import torch\n"] {
            let program = format!(
                "{before}import ctypes, os, signal, faulthandler\nfaulthandler.enable()\nimport torch\n{crash}"
            );
            let done = run(&dist(), &program, &[]);
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
fn a_thousand_processes_and_little_memory() {
    well(
        "
import os, torch
for round in range(20):
    children = []
    for n in range(40):
        child = os.fork()
        if child == 0:
            n = n * 49 + round
            os._exit(0 if torch.library.call(n, 1) == torch.value(n, 1) else 7)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)",
    );
    // And two hundred that start anew, forty at a time.
    let start = |number: usize| {
        let program = format!(
            "import torch; n = {number} * 9; assert torch.library.call(n, 1) == torch.value(n, 1)"
        );
        let mut command = Command::new(&packed().python);
        command.args(["-c", &program]).env_clear().env("PYTHONPATH", dist()).spawn().unwrap()
    };
    for round in 0..5 {
        let mut all: Vec<Child> = (0..40).map(|number| start(40 * round + number)).collect();
        assert!(all.iter_mut().all(|child| child.wait().unwrap().success()));
    }
    let done = run(
        &dist(),
        "
import resource, torch
now = int(open('/proc/self/statm').read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (now + 8192, now + 8192))
for n in range(2000):
    torch.library.call(n, 2)",
        &[],
    );
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() || said.contains("taper: "), "{said}");
}

#[test]
#[ignore = "needs the right to mount a file system: cargo xtask test"]
fn a_read_only_file_system_will_do() {
    let program = "
import errno, torch
assert all(torch.library.call(n, 8) == torch.value(n, 8) for n in range(0, 2000, 7))
import torch.later
try:
    open(torch.__file__, 'a')
except OSError as error:
    assert error.errno == errno.EROFS, error
else:
    raise AssertionError('it can be written')";
    // The mount is seen by these processes only.
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" || exit 99
shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]);
    command.arg(dist()).arg(&packed().python).args(["-c", program]);
    let done = command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let done = done.env("PYTHONPATH", dist()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}

#[test]
fn strip_leaves_libraries_as_they_work() {
    // As Dockerfiles do to all that is installed.
    for flag in ["--strip-debug", "--strip-unneeded", "--strip-all"] {
        let package = copied(flag);
        let library = package.join("torch/lib/many.so");
        let runtime = package.join("_taper/libtaper_runtime.so");
        let done = Command::new("strip").arg(flag).args([&library, &runtime]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{flag}: {said}");
        let done = run(&package, ALL, &[]);
        assert!(done.status.success(), "{flag}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
#[ignore = "needs gdb: cargo xtask test"]
fn a_debugger_runs_a_program_and_sees_its_frames() {
    // A fault brings a page back, so it is no reason to stop.
    let commands = [
        "set breakpoint pending on",
        "handle SIGSEGV nostop noprint pass",
        "break pthread_join",
        "run",
        "backtrace 3",
        "delete",
        "continue",
    ];
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch"]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let program = "import torch; print('wrong:', torch.library.small_stack())";
    gdb.arg("--args").arg(&many::packed().python).args(["-c", program]);
    gdb.env_clear().env("PYTHONPATH", dist()).env("PATH", "/usr/bin:/bin");
    let done = gdb.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let errors = String::from_utf8_lossy(&done.stderr);
    for word in ["many.so", "wrong: 0", "exited normally"] {
        assert!(said.contains(word), "{word:?} is not in: {said}\n{errors}");
    }
}
