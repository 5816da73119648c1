//! What a package puts off is done once, and whoever needs it waits: threads, forks, imports
//! that wait for each other. The runtime's module runs by itself, in the interpreter that
//! `TAPER_TEST_PYTHON` names.

use std::process::Command;
use taper_package::RUNTIME;

/// What all programs begin with: work that takes a while and changes two things.
const START: &str = "
import os, sys, threading, time, signal, types
from _taper.once import Once
state = [0, 0]
def work():
    state[0] += 1
    time.sleep(0.3)
    state[1] += 1
def threads(number, do):
    gate, found = threading.Barrier(number), []
    def run():
        gate.wait()
        try:
            found.append(do())
        except BaseException as error:
            found.append(f'{type(error).__name__}: {error}')
    made = [threading.Thread(target=run) for _ in range(number)]
    for one in made: one.start()
    for one in made: one.join(60)
    assert not any(one.is_alive() for one in made)
    return found
";

fn said(program: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("_taper")).unwrap();
    let (_, text) = RUNTIME.into_iter().find(|(path, _)| *path == "_taper/once.py").unwrap();
    std::fs::write(place.path().join("_taper/once.py"), text).unwrap();
    let python = std::env::var_os("TAPER_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let done = Command::new(python)
        .args(["-B", "-W", "ignore", "-X", "dev", "-W", "ignore", "-c"])
        .arg(format!("{START}{program}"))
        .env("PYTHONPATH", place.path())
        .current_dir(place.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program}\n{error}");
    assert_eq!(error, "");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn threads_wait_until_it_is_done() {
    let program = "
for number in (2, 3, 16):
    state[:] = 0, 0
    once = Once('a.b', work)
    found = threads(number, lambda: (once.settle(), tuple(state))[1])
    print(number, set(found), once.done)
";
    assert_eq!(said(program), "2 {(1, 1)} True\n3 {(1, 1)} True\n16 {(1, 1)} True\n");
}

#[test]
fn the_thread_that_does_it_goes_on() {
    let program = "
def nested():
    once.settle()
    work()
    once.settle()
once = Once('a.b', nested)
once.settle()
print(state)
";
    assert_eq!(said(program), "[1, 1]\n");
}

#[test]
fn imports_that_wait_for_each_other_end() {
    // A module's body needs the work, the work needs the module.
    let program = "
for first in (0.0, 0.1):
    name = f'circle{int(first * 10)}'
    with open(name + '.py', 'w') as file:
        file.write(f'import time, __main__\\ntime.sleep(0.05)\\n__main__.once.settle()\\nx = 1\\n')
    def importing():
        time.sleep(0.1)
        __import__(name)
        state[1] += 1
    once = Once('a.b', importing)
    def other():
        time.sleep(first)
        once.settle()
        return 'settled'
    kinds = iter([lambda: __import__(name).x, other])
    lock = threading.Lock()
    def do():
        with lock:
            one = next(kinds)
        return one()
    print(sorted(map(str, threads(2, do))), once.done)
";
    assert_eq!(said(program), "['1', 'settled'] True\n['1', 'settled'] True\n");
}

#[test]
fn a_child_has_all_of_it_or_nothing() {
    let program = "
def forked(delay):
    global once
    state[:] = 0, 0
    once = Once('a.b', work)
    other = threading.Thread(target=once.settle)
    if delay is not None:
        other.start()
        time.sleep(delay)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        threads(4, once.settle)
        os._exit(0 if state == [1, 1] and once.done else 1)
    if delay is None:
        other.start()
    other.join()
    return os.waitpid(child, 0)[1], state, once.done
for delay in (None, 0, 0.1, 0.5):
    print(*forked(delay))
# The work itself forks.
def forks():
    global inside
    state[0] += 1
    inside = os.fork()
    state[1] += 1
state[:] = 0, 0
once = Once('a.b', forks)
found = threads(3, once.settle)
if inside == 0:
    os._exit(0 if state == [1, 1] else 1)
print(os.waitpid(inside, 0)[1], state)
";
    let all = "0 [1, 1] True\n".repeat(4);
    assert_eq!(said(program), format!("{all}0 [1, 1]\n"));
}

#[test]
fn a_fork_that_holds_what_the_work_needs_does_not_wait_for_ever() {
    let program = "
import _taper.once
_taper.once._PATIENCE = 2
lock = threading.Lock()
def needs():
    state[0] += 1
    time.sleep(0.2)
    with lock:
        state[1] += 1
once = Once('a.b', needs)
other = threading.Thread(target=once.settle)
with lock:
    other.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        try:
            once.settle()
        except ImportError as error:
            os._exit(0 if 'a.b' in str(error) and 'forked' in str(error) else 1)
        os._exit(2)
other.join(30)
print(os.waitpid(child, 0)[1], state, once.done)
";
    assert_eq!(said(program), "0 [1, 1] True\n");
}

#[test]
fn what_fails_fails_for_everybody() {
    let program = "
def fails():
    time.sleep(0.1)
    raise ValueError('as it is')
once = Once('a.b', fails)
found = sorted(threads(3, once.settle))
print(found[2], *(one.partition('(')[0] for one in found[:2]))
try:
    once.settle()
except ImportError as error:
    print(error.name, type(error.__cause__).__name__, 'TAPER_EAGER=1' in str(error), once.done)
";
    let expected = "ValueError: as it is ImportError: the body of a.b, which this package of taper \
                    runs when it is needed, did not end  ImportError: the body of a.b, which this \
                    package of taper runs when it is needed, did not end \na.b ValueError True False\n";
    assert_eq!(said(program), expected);
}

#[test]
fn a_handler_of_signals_waits_on_top_of_a_call_that_waits() {
    let program = "
once = Once('a.b', work)
other = threading.Thread(target=once.settle)
seen = []
signal.signal(signal.SIGALRM, lambda *_: (once.settle(), seen.append(tuple(state))))
other.start()
while once.runner is None:
    time.sleep(0.001)
signal.setitimer(signal.ITIMER_REAL, 0.1)
once.settle()
other.join()
while not seen:
    time.sleep(0.01)
print(seen, once.done)
";
    assert_eq!(said(program), "[(1, 1)] True\n");
}
