//! How workloads are run: how often, what ends them, what a run leaves, and what is said of one
//! that fails. A small virtual environment with a make-believe torch; what runs is real.

mod world;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use world::World;

/// Prints its port, answers requests with what torch says, and ends by a signal.
const SERVER: &str = "
import http.server, os, sys, torch
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        from torch import answers
        self.wfile.write(answers.TEXT)
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
open(sys.argv[1] + '.part', 'w').write(f'{server.server_port} {os.getpid()}')
os.rename(sys.argv[1] + '.part', sys.argv[1])
server.serve_forever()
";

fn world() -> World {
    let world = World::with_torch(&[
        ("torch/__init__.py", ""),
        ("torch/answers.py", "TEXT = b'42'\n"),
        ("torch/unused.py", ""),
    ]);
    world.compile();
    fs::write(world.path("server.py"), SERVER).unwrap();
    fs::create_dir(world.path("temporary")).unwrap();
    world
}

fn command(world: &World, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taper"));
    command.arg("--python").arg(world.path("env/bin/python")).args(words);
    command.current_dir(world.folder()).env_remove("VIRTUAL_ENV");
    command.env("XDG_CACHE_HOME", world.path("home-cache"));
    command.env("TMPDIR", world.path("temporary")).stderr(Stdio::piped()).stdout(Stdio::null());
    command
}

fn wait_for(path: &Path) -> String {
    let start = Instant::now();
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "{} does not come", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(signal: &str, process: &str) {
    let done = Command::new("kill").args([signal, "--", process]).status().unwrap();
    assert!(done.success());
}

fn end(mut child: Child) -> (ExitStatus, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap(), said)
}

fn runs(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|text| !text.rsplit(')').next().unwrap().starts_with(" Z"))
}

fn ask(port: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn nothing_is_left(world: &World) {
    let left: Vec<_> = fs::read_dir(world.path("temporary")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A server is traced, asked once, and ended by a signal to what `whom` makes of taper's number.
fn server(signal: &str, whom: impl Fn(u32) -> String) {
    use std::os::unix::process::CommandExt;
    let world = world();
    let words = ["trace", "-o", "p", "--", "python", "server.py", "told"];
    let child = command(&world, &words).process_group(0).spawn().unwrap();
    let told = wait_for(&world.path("told"));
    let (port, process) = told.split_once(' ').unwrap();
    assert!(ask(port).ends_with("42"));
    kill(signal, &whom(child.id()));
    let (status, said) = end(child);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("a person stopped the workload"), "{said}");
    assert!(!runs(process));
    nothing_is_left(&world);
    // What it used before it ended is known.
    let done = world.taper(&["pack", "--profile", "p", "--to", "out", "--cold", "drop"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let has = |module: &str| world.python(&world.path("out"), &["-c", module]).status.success();
    assert!(has("import torch.answers") && !has("import torch.unused"));
}

#[test]
fn a_server_that_a_terminal_ends_is_traced() {
    server("-INT", |process| format!("-{process}"));
}

#[test]
fn a_server_is_traced_where_only_taper_gets_the_signal() {
    server("-TERM", |process| process.to_string());
}

#[test]
fn servers_are_stopped_after_a_time() {
    let world = world();
    let words = ["pack", "--to", "out", "--stop-after", "1.5", "--cpu", "native"];
    let workload = ["--", "python", "server.py", "told"];
    let (status, said) = end(command(&world, &[&words[..], &workload].concat()).spawn().unwrap());
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("verified: exit code"), "{said}");
    let told = fs::read_to_string(world.path("told")).unwrap();
    assert!(!runs(told.split_once(' ').unwrap().1));
    nothing_is_left(&world);
}

#[test]
fn programs_stop_in_their_own_ways() {
    // One has had such a signal before; its own exit code for an end that is asked for is 1.
    let program = "import os, signal, sys, time, torch
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    pass
time.sleep(1.2)
try:
    time.sleep(600)
except KeyboardInterrupt:
    open('asked', 'w')
    sys.exit(1)
";
    let world = world();
    fs::write(world.path("app.py"), program).unwrap();
    let words = ["trace", "-o", "p", "--runs", "1", "--stop-after", "4", "--", "python", "app.py"];
    let (status, said) = end(command(&world, &words).spawn().unwrap());
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(world.path("asked").exists() && world.path("p").exists(), "{said}");
    // What goes wrong before it is asked to stop, goes wrong.
    fs::write(world.path("app.py"), "import torch, sys; sys.exit(1)").unwrap();
    let (status, said) = end(command(&world, &words).spawn().unwrap());
    assert!(status.code() == Some(2) && said.contains("exit code 1"), "{said}");
}

#[test]
fn an_interrupted_pack_leaves_nothing() {
    // One of its runs does not end by itself, nor by the first signal that it is sent.
    let program = "import os, signal, sys, time, torch
count = open('count', 'a+')
count.write('x')
count.flush()
if os.path.getsize('count') == int(sys.argv[1]):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    open('part', 'w').write(str(os.getpid()))
    os.rename('part', 'told')
    time.sleep(600)
";
    // The traced run, and both runs of the verification.
    for (run, signals) in [("1", 2), ("2", 1), ("3", 1)] {
        let world = world();
        fs::write(world.path("app.py"), program).unwrap();
        let words = ["pack", "--to", "out", "--cpu", "native", "--", "python", "app.py", run];
        let child = command(&world, &words).spawn().unwrap();
        let process = wait_for(&world.path("told"));
        for number in 0..signals {
            if number > 0 {
                assert!(runs(&process));
                // Those that come together are one.
                std::thread::sleep(Duration::from_millis(1200));
            }
            kill("-HUP", &child.id().to_string());
        }
        let (status, said) = end(child);
        assert_eq!(status.code(), Some(130), "{run}: {said}");
        assert!(said.contains("interrupted; nothing was written"), "{said}");
        assert!(!world.path("out").exists() && !runs(&process), "{said}");
        nothing_is_left(&world);
        for entry in fs::read_dir(world.folder()).unwrap() {
            assert!(!entry.unwrap().file_name().to_string_lossy().starts_with(".taper"));
        }
    }
}

/// What taper itself starts beside a phase, with whatever it waits for.
#[test]
fn what_observes_imports_ends_with_a_pack_that_is_killed() {
    let waits = "import os, time
if os.environ.get('PYTHONHASHSEED') == '1':
    open(os.environ['NEWS'] + '.part', 'w').write(str(os.getpid()))
    os.rename(os.environ['NEWS'] + '.part', os.environ['NEWS'])
    time.sleep(600)
";
    let world = World::with_torch(&[("torch/__init__.py", waits)]);
    world.compile();
    fs::create_dir(world.path("temporary")).unwrap();
    let words = ["pack", "--to", "out", "--cpu", "native", "--", "python", "-c", "import torch"];
    let mut packing = command(&world, &words);
    let mut child = packing.env("NEWS", world.path("told")).spawn().unwrap();
    let process = wait_for(&world.path("told"));
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while runs(&process) {
        assert!(start.elapsed() < Duration::from_secs(20), "{process} runs on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn packed(world: &World, flags: &[&str], program: &str) -> Output {
    fs::write(world.path("app.py"), program).unwrap();
    let words = [&["pack", "--to", "out"], flags, &["--", "python", "app.py"]].concat();
    let mut command = command(world, &words);
    command.output().unwrap()
}

#[test]
fn runs_do_not_see_each_others_caches() {
    let world = world();
    // Fails where another run has left something, in any of the caches.
    let program = "import os, torch
for name in ('TORCHINDUCTOR_CACHE_DIR', 'TRITON_CACHE_DIR', 'NUMBA_CACHE_DIR', 'MPLCONFIGDIR'):
    os.makedirs(os.environ[name])
    print(os.environ[name])
";
    let done = packed(&world, &["--cpu", "native"], program);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("the workload runs 3 times: 1 traced"), "{said}");
    assert!(said.contains("2 to verify; --runs 1 runs it once"), "{said}");
    nothing_is_left(&world);
}

#[test]
fn a_workload_may_run_once() {
    let world = world();
    let program = "import torch; open('count', 'a').write('x')";
    let done = packed(&world, &["--runs", "1"], program);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(!said.contains("the workload runs") && !said.contains("verified"), "{said}");
    assert_eq!(fs::read_to_string(world.path("count")).unwrap(), "x");
}

#[test]
fn a_later_run_that_fails_is_shown_and_can_be_repeated() {
    let world = world();
    let program = "import os, torch
if os.environ.get('ATEN_CPU_CAPABILITY') == 'default':
    raise SystemExit('this is the reason')
";
    let done = packed(&world, &[], program);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    for word in
        ["exit code 1", "\n  this is the reason", "ATEN_CPU_CAPABILITY=default", "python app.py"]
    {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn what_cannot_work_is_refused_before_anything_runs() {
    let world = world();
    let program = ["--", "python", "-c", "open('ran', 'w')"];
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&["pack", "--to", "out", "--keep", "no_such_name"], &program, "no_such_name"),
        (&["pack", "--to", "out", "--drop", "no_such_name"], &program, "no_such_name"),
        (&["pack", "--to", "out"], &["--", "no-such-program"], "no-such-program"),
        (&["trace", "-o", "p"], &["--", "no-such-program"], "no-such-program"),
        (&["trace", "-o", "none/p"], &program, "cannot write the profile none/p"),
        (&["pack", "--to", "out"], &["python", "-c", "open('ran', 'w')"], "unexpected argument"),
        (&["pack", "--to", "out", "--runs", "0"], &program, "--runs"),
        (&["pack", "--to", "out", "--stop-after", "0"], &program, "--stop-after"),
    ];
    for (flags, workload, word) in cases {
        let (status, said) = end(command(&world, &[*flags, *workload].concat()).spawn().unwrap());
        assert_eq!(status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(word), "{word:?} is not in: {said}");
        assert!(!world.path("ran").exists() && !world.path("out").exists(), "{flags:?}");
    }
    nothing_is_left(&world);
}

/// Runs can bring modules from folders of PYTHONPATH; a name that is in none of those, either,
/// never means anything.
#[test]
fn names_are_checked_early_beside_folders_of_modules() {
    let world = world();
    fs::create_dir_all(world.path("mine/extra")).unwrap();
    fs::create_dir_all(world.path("mine/Some_Thing-1.0.dist-info")).unwrap();
    fs::write(world.path("mine/extra/__init__.py"), "").unwrap();
    let ran = "import os; open('ran', 'w'); os._exit(7)";
    for (name, early) in [
        ("no_such_name", true),
        ("torch.no_such_name", true),
        ("extra", false),
        ("extra.part", false),
        ("some-thing", false),
        ("some_file.txt", false),
    ] {
        let words = ["pack", "--to", "out", "--keep", name, "--", "python", "-c", ran];
        let mut packing = command(&world, &words);
        packing.env("PYTHONPATH", world.path("mine"));
        let (status, said) = end(packing.spawn().unwrap());
        assert_eq!(status.code(), Some(2), "{name}: {said}");
        assert_eq!(said.contains(&format!("--keep {name}")), early, "{name}: {said}");
        assert_eq!(fs::remove_file(world.path("ran")).is_err(), early, "{name}: {said}");
    }
}

#[test]
fn an_environment_that_changes_meanwhile_is_noticed() {
    let world = world();
    let module = world.packages().join("torch/answers.py");
    let program =
        format!("import torch; open({:?}, 'a').write('# more\\n')", module.display().to_string());
    let done = packed(&world, &["--no-verify", "--cpu", "native"], &program);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("changed while it was packed") && said.contains("torch/answers.py"));
    assert!(!world.path("out").exists());
    // As an installer does.
    let folder = world.packages().join("fresh");
    let program = format!("import torch, os; os.mkdir({:?})", folder.display().to_string());
    let done = packed(&world, &["--no-verify", "--cpu", "native"], &program);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("something came into"), "{said}");
}

#[test]
fn a_package_is_summed_up_and_the_line_that_runs_it_does() {
    let world = world();
    world.install(
        "torch-2.0.dist-info/METADATA",
        "Name: torch\nVersion: 2.0\nRequires-Dist: idle\n",
    );
    world.install("idle.py", "");
    world.install("idle.bin", &"idle".repeat(400_000));
    world.install("idle-1.dist-info/METADATA", "Name: idle\nVersion: 1\n");
    let files = ["idle.py", "idle.bin", "idle-1.dist-info/METADATA", "idle-1.dist-info/RECORD"];
    world.install("idle-1.dist-info/RECORD", &files.map(|file| format!("{file},,\n")).concat());
    let done = packed(&world, &["--no-verify"], "import torch.answers as a; print(a.TEXT)");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let at = |what: &str| said.find(what).unwrap_or_else(|| panic!("{what:?} is not in: {said}"));
    let order = [
        at("out: "),
        at("largest:"),
        at("1.6 MB  idle.bin: "),
        at("no run used these distributions, with their bytes before packing: idle (1.6 MB); \
            --drop idle leaves the first out"),
        at("to run it, with a Python 3."),
    ];
    assert!(order.is_sorted(), "{said}");
    // The last line can be given to a shell.
    let line = said.lines().last().unwrap();
    let folder = world.path("env/bin");
    let done = Command::new("/bin/sh")
        .args(["-c", line])
        .env("PATH", folder)
        .current_dir(world.folder())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "b'42'\n", "{line}");
    // And what it advises does that.
    let done = world.taper(&[
        "pack",
        "--no-verify",
        "--drop",
        "idle",
        "--to",
        "less",
        "--",
        "python",
        "-c",
        "import torch",
    ]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && !said.contains("no run used"), "{said}");
    assert!(world.path("out/idle.bin").exists() && !world.path("less/idle.bin").exists());
}
