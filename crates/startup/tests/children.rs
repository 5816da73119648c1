//! Calls of unknown functions end, whatever they do: each runs in a child process, and one that
//! dies, waits for what does not come, or computes without end takes no other with it.

use std::process::Command;

const PROGRAM: &str = "
import sys, threading, time, types
class Plain:
    pass
class Closed:
    def __init__(self):
        raise TypeError('No constructor defined!')
class Deadly:
    def __init__(self):
        os.kill(os.getpid(), signal.SIGSEGV)
def waits():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
def joins():
    # Another thread computes for longer than a call may sleep.
    def work():
        end = time.process_time() + 1.3
        while time.process_time() < end:
            pass
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return 4
def computes():
    while True:
        pass
def raises():
    raise ValueError('said')
jobs = {
    'first': lambda: 1, 'died': os.abort, 'slept': lambda: time.sleep(0.3) or 2, 'waits': waits,
    'joins': joins, 'computes': computes, 'raises': lambda: one_answer(raises, ()) == one_answer(raises, ()),
    'last': lambda: 3,
}
print(in_children(list(jobs), lambda name: jobs[name]()))
# What comes after one that died and is about the same is not tried.
print(in_children(['a', 'waits', 'waits', 'last'], lambda name: jobs.get(name, str)() or 0,
                  lambda name: name))
kinds = {'Plain': Plain, 'Closed': Closed, 'Deadly': Deadly}
Plain.says = lambda self: None
Plain.says.__doc__ = 'says(self: Plain, name: str) -> str'
# Many that cannot be made use up no patience with those that die.
kinds |= {f'Closed{number}': Closed for number in range(300)}
kinds['Z'] = Plain
print(sorted(_methods(kinds)))
# What signatures of several versions take of a text: a Symbol, and what nobody knows.
sys.modules['torch._C'] = types.SimpleNamespace(Graph=Plain)
print([_takes_text(words) for words in (
    'arg0: str', 'arg0: int, name: str = None', 'arg0: Symbol, arg1: list[torch::jit::Graph]', '*args',
    'arg0: collections.abc.Sequence[str]', 'arg0: object', 'arg0: torch::jit::Unknown',
    'arg0: torch::jit::Graph', 'arg0: torch._C.Node, arg1: typing.SupportsInt | None = None',
    'arg0: list[int], arg1: Optional[bool] = None',
)])
";

#[test]
fn calls_that_do_not_come_back_end() {
    let python = std::env::var_os("TAPER_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let program = concat!(include_str!("../src/defer/queries.py"), "\n");
    let done = Command::new(python)
        .args(["-W", "ignore", "-c"])
        .arg(format!("{program}{PROGRAM}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{error}");
    let expected = "[1, 'died', 2, 'died', 4, 'died', True, 3]\n[0, 'died', 'died', 3]\n\
                    ['Plain().says', 'Z().says']\n\
                    [True, True, True, True, True, True, True, False, False, False]\n";
    assert_eq!(said, expected, "{error}");
}
