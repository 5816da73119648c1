//! Traces of real programs: small ones built here, Python, and torch where
//! `TAPER_TEST_ENV` names a virtual environment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use taper_tracer::{Observations, Options, Output, Redirect, Status, Workload, run};

struct Place {
    folder: tempfile::TempDir,
}

/// A library with code and constants on pages of their own: pages 4096-aligned by
/// the linker's separation of segments, functions by attribute.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
#include <sys/uio.h>
#define OWN_PAGE __attribute__((noinline, aligned(4096)))
static const char path[8192] __attribute__((aligned(4096))) = "/proc/cpuinfo";
static const char text[8192] __attribute__((aligned(4096))) = "written\n";
static const char word[8192] __attribute__((aligned(4096))) = "argument";
OWN_PAGE int called(void) { return 41; }
OWN_PAGE int not_called(void) { return 42; }
OWN_PAGE int opens(void) { return open(path, O_RDONLY); }
OWN_PAGE long writes(int out) { return write(out, text, 8); }
OWN_PAGE long gathers(int out) {
    struct iovec parts[2] = {{(void *)text, 4}, {(void *)(text + 4), 4}};
    return writev(out, parts, 2);
}
OWN_PAGE int runs(void) {
    char *words[] = {"/bin/echo", (char *)word, 0};
    char *none[] = {0};
    return execve("/bin/echo", words, none);
}
"#;

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.root()).unwrap();
        fs::write(place.path("small.c"), LIBRARY).unwrap();
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(place.library())
            .arg(place.path("small.c"))
            .status()
            .unwrap();
        assert!(done.success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn library(&self) -> PathBuf {
        self.root().join("small.so")
    }

    /// Runs Python code in which `small` is the library; what it printed, and what
    /// was seen.
    fn python(&self, code: &str, change: impl FnOnce(&mut Options)) -> (String, Observations) {
        let code = format!(
            "import ctypes, os, signal, subprocess, sys, threading\nsmall = ctypes.CDLL({:?})\n{code}",
            self.library().display().to_string()
        );
        let mut options = Options { roots: vec![self.root()], pages: true, ..Options::default() };
        change(&mut options);
        trace(&python(), &["-B", "-c", &code], &self.path("stdout"), &options)
    }

    fn address(&self, symbol: &str) -> u64 {
        let done = Command::new("nm").arg(self.library()).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        let line = text.lines().find(|line| line.ends_with(&format!(" {symbol}"))).unwrap();
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    }

    fn touched(&self, seen: &Observations, symbol: &str) -> bool {
        seen.libraries[&self.library()].contains(self.address(symbol) / 4096)
    }
}

/// The Python behind the name, which may be a script that starts it.
fn python() -> PathBuf {
    let code = "import sys; print(sys.executable)";
    let done = Command::new("python3").args(["-c", code]).output().unwrap();
    PathBuf::from(String::from_utf8(done.stdout).unwrap().trim())
}

fn trace(
    program: &Path,
    args: &[&str],
    stdout: &Path,
    options: &Options,
) -> (String, Observations) {
    let env: BTreeMap<_, _> = std::env::vars_os().collect();
    let workload = Workload {
        program: program.to_path_buf(),
        args: args.iter().map(Into::into).collect(),
        env,
        cwd: std::env::temp_dir(),
        stdout: Output::File(File::create(stdout).unwrap()),
        stderr: Output::Inherit,
    };
    let seen = run(workload, options).unwrap();
    (fs::read_to_string(stdout).unwrap(), seen)
}

#[test]
fn pages_of_called_functions_and_no_others() {
    let place = Place::new();
    let (said, seen) = place.python("print(small.called())", |_| {});
    assert_eq!((said.as_str(), seen.status), ("41\n", Status::Exited(0)));
    assert!(place.touched(&seen, "called"));
    assert!(!place.touched(&seen, "not_called"));
    assert!(seen.opened.contains(&place.library()) && seen.mapped.contains(&place.library()));
    assert!(seen.faults > 0);
}

#[test]
fn all_pages_of_a_library_that_is_mapped_elsewhere() {
    let place = Place::new();
    // A loader whose reservations are other calls than glibc's.
    let code = "
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_size_t]
MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 2, 0x10, 0x20, 0x4000
size = os.path.getsize(small._name)
where = libc.mmap(None, size, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
file = os.open(small._name, os.O_RDONLY)
print(libc.mmap(where, size, 5, MAP_PRIVATE | MAP_FIXED, file, 0) == where)";
    let (said, seen) = place.python(code, |_| {});
    assert_eq!((said.as_str(), seen.status), ("True\n", Status::Exited(0)));
    assert!(place.touched(&seen, "not_called") && place.touched(&seen, "text"));
}

#[test]
fn a_library_of_large_alignment_is_seen_by_the_page() {
    let place = Place::new();
    let aligned = "-Wl,-z,max-page-size=0x200000";
    let mut build = Command::new("cc");
    build.args(["-shared", "-fPIC", "-O1", aligned, "-o"]).arg(place.library());
    assert!(build.arg(place.path("small.c")).status().unwrap().success());
    let (_, seen) = place.python("print(small.called())", |_| {});
    assert!(place.touched(&seen, "called") && !place.touched(&seen, "not_called"));
}

#[test]
fn constants_reach_system_calls() {
    let place = Place::new();
    let code = "
assert small.opens() > 2
assert small.writes(1) == 8
assert small.gathers(1) == 8
sys.stdout.flush()
small.runs()";
    let (said, seen) = place.python(code, |_| {});
    assert_eq!(said, "written\nwritten\nargument\n");
    assert_eq!(seen.status, Status::Exited(0));
    for constant in ["path", "text", "word"] {
        assert!(place.touched(&seen, constant), "{constant}");
    }
    assert!(seen.executed.iter().any(|program| program.ends_with("echo")), "{:?}", seen.executed);
}

#[test]
fn children_and_threads_are_followed() {
    let place = Place::new();
    let forked = "
if os.fork() == 0:
    small.called()
    os._exit(0)
os.wait()";
    let (_, seen) = place.python(forked, |_| {});
    assert!(place.touched(&seen, "called") && seen.processes == 2);
    assert!(!seen.threaded.contains(&place.library()));

    let code = format!(
        "subprocess.run([sys.executable, '-c', 'import ctypes; ctypes.CDLL({:?}).called()'], check=True)",
        place.library().display().to_string()
    );
    let (_, seen) = place.python(&code.replace('\'', "'''"), |_| {});
    assert!(place.touched(&seen, "called"));

    let threads = "
gate = threading.Barrier(8)
def work():
    gate.wait()
    assert small.called() == 41
all = [threading.Thread(target=work) for _ in range(8)]
[one.start() for one in all]; [one.join() for one in all]
print('joined')";
    let (said, seen) = place.python(threads, |_| {});
    assert_eq!((said.as_str(), seen.status), ("joined\n", Status::Exited(0)));
    assert!(seen.threaded.contains(&place.library()));
}

#[test]
fn a_killed_process_leaves_its_part() {
    let place = Place::new();
    let (_, seen) = place.python("small.called(); os.kill(os.getpid(), signal.SIGKILL)", |_| {});
    assert_eq!(seen.status, Status::Signaled(9));
    assert!(place.touched(&seen, "called"));
    let (_, seen) = place.python("small.called(); os._exit(3)", |_| {});
    assert_eq!(seen.status, Status::Exited(3));
    assert!(place.touched(&seen, "called"));
}

#[test]
fn a_true_crash_is_still_one_and_handlers_are_not_disturbed() {
    let place = Place::new();
    let (_, seen) = place.python("small.called(); ctypes.string_at(8)", |_| {});
    assert_eq!(seen.status, Status::Signaled(11));
    // A write to code is the program's fault even where pages are watched.
    let write = "
address = ctypes.cast(small.called, ctypes.c_void_p).value
small.called()
ctypes.memset(address, 0, 1)";
    let (_, seen) = place.python(write, |_| {});
    assert_eq!(seen.status, Status::Signaled(11));
    let handler = "
import faulthandler
faulthandler.enable()
signal.signal(signal.SIGSEGV, lambda *_: os._exit(99))
print(small.called())";
    let (said, seen) = place.python(handler, |_| {});
    assert_eq!((said.as_str(), seen.status), ("41\n", Status::Exited(0)));
}

#[test]
fn opens_are_redirected_and_files_hidden() {
    let place = Place::new();
    fs::write(place.root().join("one.txt"), "one").unwrap();
    fs::write(place.path("other.txt"), "two").unwrap();
    fs::create_dir(place.root().join("gone")).unwrap();
    fs::write(place.root().join("gone/file"), "").unwrap();
    let code = format!(
        "root = {:?}
print(open(root + '/one.txt').read(), os.path.exists(root + '/gone/file'), sorted(os.listdir(root)))",
        place.root().display().to_string()
    );
    let (said, seen) = place.python(&code, |options| {
        options.probes = true;
        let to = Redirect::To(place.path("other.txt"));
        options.redirects.insert(place.root().join("one.txt"), to);
        options.redirects.insert(place.root().join("gone"), Redirect::Hide);
    });
    assert_eq!(said, "two False ['one.txt', 'small.so']\n");
    assert!(seen.opened.contains(&place.root().join("one.txt")));
}

#[test]
fn a_program_that_cannot_start_is_named() {
    let place = Place::new();
    let workload = Workload {
        program: "/nowhere/program".into(),
        args: Vec::new(),
        env: BTreeMap::new(),
        cwd: place.root(),
        stdout: Output::Null,
        stderr: Output::Null,
    };
    let error = run(workload, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/program"), "{error}");
}

#[test]
#[ignore = "needs a real PyTorch: cargo xtask test"]
fn torch_sees_the_same_processor() {
    let env =
        std::env::var_os("TAPER_TEST_ENV").expect("TAPER_TEST_ENV is set by cargo xtask test");
    let python = Path::new(&env).join("bin/python");
    let code = "import torch; print(torch.backends.cpu.get_cpu_capability())";
    let plain = Command::new(&python).args(["-B", "-c", code]).output().unwrap();
    let place = tempfile::tempdir().unwrap();
    let root = Path::new(&env).canonicalize().unwrap().join("lib");
    let options = Options { roots: vec![root], pages: true, ..Options::default() };
    let (said, seen) = trace(&python, &["-B", "-c", code], &place.path().join("out"), &options);
    assert_eq!(said.as_bytes(), plain.stdout);
    // cpuinfo opens it with a path in libtorch_cpu's read-only data.
    let library = seen.libraries.iter().find(|(path, _)| path.ends_with("libtorch_cpu.so"));
    assert!(library.is_some_and(|(_, pages)| pages.len() > 1_000));
}
