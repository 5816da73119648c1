"""What functions of torch._C say when they are asked about operators.

Which of them ask the dispatcher differs from version to version, and no list says it. So all
are called, with names of operators that a group of modules adds or changes, in processes that
the group has not changed and that it has; those with different answers ask. Each call is made
in a child process: some abort on purpose.
"""

import hashlib
import itertools
import json
import os
import re
import resource
import select
import signal
import sys
import types

# Seconds that a call may compute, and that it may take: a busy machine must not decide.
_LIMIT = 2
_PATIENCE = 6

# Seconds between looks at a call that says nothing, and so many in a row that find it asleep: it
# waits for what does not come.
_LOOK = 0.1
_LOOKS = 10

# Child processes that may die, one after the other.
_DEATHS = 200

# Elements of an answer that are looked at.
_FEW = 20

# What methods give that only say something.
_SAYS = r"(?:str|bool|int|(?:[a-z.]+\.)?(?:Iterator|[Ll]ist|Sequence)\[)"

# Words in a signature that name no type of which an object may be made of a text. Nor do names of
# classes that torch gives Python; others may: a `Symbol` is.
_NO_TEXT = frozenset(
    "int float bool complex None typing Optional Union Callable SupportsInt SupportsIndex SupportsFloat"
    " SupportsComplex collections abc list List tuple Tuple dict Dict Mapping set Set".split()
)


def dispatcher(native):
    names = native._dispatch_get_all_op_names()
    return {name: (native._dispatch_dump(name), native._dispatch_dump_table(name)) for name in names}


def digest(state):
    """A hash of the dispatcher's state."""
    return hashlib.sha256(re.sub("0x[0-9a-f]+", "0x", repr(sorted(state.items()))).encode()).hexdigest()


def functions():
    """Functions in torch._C and the modules in it, and methods of classes there that can be made
    of nothing, that a name of an operator, or nothing, may be given to, by their names."""
    native = sys.modules["torch._C"]
    found, open_, seen = {}, [("", native)], set()
    kinds = {}
    while open_:
        prefix, module = open_.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        for name, value in sorted(vars(module).items()):
            if isinstance(value, types.BuiltinFunctionType):
                if _may_ask(value):
                    found[prefix + name] = value
            elif isinstance(value, type) and value.__module__.partition(".")[0] == "torch":
                kinds[prefix + name] = value
            elif isinstance(value, types.ModuleType) and value.__name__.startswith("torch._C"):
                open_.append((f"{prefix}{name}.", value))
    return found | _methods(kinds)


def key_takers():
    """Functions of torch._C and the modules in it, and methods of classes there, that are given a
    dispatch key or a set of them and give nothing, or anything: they lead to kernels that no
    tensor asks for (`redispatch_boxed`, guards that include a key). What registers kernels is not
    among them: who makes one of it is watched (`_dispatch_library`)."""
    native = sys.modules["torch._C"]
    registers = re.search(r"-> .*?(\w+)\s*$", native._dispatch_library.__doc__)
    found = []
    for prefix, owner in _owners(native):
        if registers and owner is getattr(native, registers[1], None):
            continue
        for name, value in sorted(vars(owner).items()):
            if callable(value) and not isinstance(value, type):
                told = re.findall(rf"\b{re.escape(name)}\((.*)\) -> (?:None|object)$", value.__doc__ or "", re.M)
                words = (re.sub(r"^self: [^,]*", "", one) for one in told)
                if any(re.search(r"\bDispatchKey(?:Set)?\b", one) for one in words):
                    found.append(prefix + name)
    return found


def _owners(native):
    """The modules in torch._C and the classes in them, each with what comes before a name of it."""
    open_, seen = [("", native)], set()
    while open_:
        prefix, owner = open_.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        yield prefix, owner
        for name, value in sorted(vars(owner).items()):
            inside = isinstance(value, types.ModuleType) and value.__name__.startswith("torch._C")
            if inside or isinstance(value, type) and value.__module__.startswith("torch._C"):
                open_.append((f"{prefix}{name}.", value))


# Classes that can be made of nothing, by their names; found out once.
_PLAIN = []


def _methods(kinds):
    """Methods of classes that can be made of nothing: functions that call one on a new object."""
    if not _PLAIN:
        names = sorted(kinds)
        made = in_children(names, lambda name: _plain(kinds[name]))
        _PLAIN.extend(name for name, said in zip(names, made) if said is True)
    found = {}
    for name in _PLAIN:
        for method, value in sorted(vars(kinds[name]).items()):
            special = method.startswith("__") or method == "_pybind11_conduit_v1_"
            if callable(value) and not special and _may_ask(value, method):
                found[f"{name}().{method}"] = _on_new(kinds[name], method)
    return found


def _plain(kind):
    """Whether an object of a class can be made of nothing."""
    try:
        return kind() is not None
    except Exception:
        return False


def _on_new(kind, method):
    return lambda *words: getattr(kind(), method)(*words)


def _may_ask(function, name=None):
    """Whether a function's signature, if it tells one, has room for a name or for nothing; that
    of the method `name` beside the object. A method that tells none is not asked: one of an
    event takes a text for a stream, and says whatever lies there in memory."""
    start = re.escape(name or function.__name__)
    own = "(?:self: [^,)]*(?:, )?)?" if name else ""
    told = re.findall(rf"^(?:\d+\. )?{start}\({own}(.*)\) -> ", function.__doc__ or "", re.M)
    return not (told or name) or any(not one.strip() or _takes_text(one) for one in told)


def _takes_text(words):
    """Whether one of the arguments that a signature lists may be made of a text."""
    kinds = re.split(r"(?:^|, )\*{0,2}\w+(?:: |(?=,|$))", re.sub(r" = [^,]*", "", words))[1:]
    if not all(kind.strip() for kind in kinds):
        return True
    given = [vars(sys.modules[name]) for name in ("torch._C", "torch") if name in sys.modules]
    for name in re.findall(r"[\w.:]+", " ".join(kinds)):
        last = re.split(r"\.|::", name)[-1]
        # Some are told by their names in C++.
        known = any(issubclass(type(owner.get(last)), type) for owner in given)
        if last not in _NO_TEXT and not known and not name.startswith("torch._C."):
            return True
    return False


def calls(operators, keys):
    """Arguments to call functions with: for each of the names of operators, alone and with
    what may stand beside one."""
    made = [(), ("",), *((key,) for key in keys)]
    for operator in operators:
        space, _, name = operator.partition("::")
        packet, _, overload = name.partition(".")
        made += [(operator,), (f"{space}::{packet}",), (space,)]
        made += [(f"{space}::{packet}", overload), (f"{space}::{packet}", ())]
        made += [(operator, key) for key in keys]
        made += [("IMPL", space, key, "here", 1) for key in keys]
        made.append((f"graph(%a : Tensor):\n  %b : Tensor = {space}::{packet}(%a)\n  return (%b)\n",))
    return sorted(set(made), key=repr)


def told(said, deep=3):
    """What an answer says, with what its methods say that take nothing: a graph is read as text,
    and its nodes look for their operators later."""
    # All that there is is listed in the order of registration, which nothing rests on.
    text = repr(sorted(map(repr, said)) if type(said) is list else said)
    if deep == 0 or isinstance(said, (str, bytes, int, float)):
        return text
    if hasattr(said, "__next__"):
        return text + "".join(told(one, deep - 1) for one in itertools.islice(said, _FEW))
    kind = type(said)
    if kind.__module__.partition(".")[0] == "torch":
        for name in sorted(vars(kind)):
            signature = getattr(vars(kind)[name], "__doc__", None) or ""
            if name.startswith("_") or not re.match(rf"{re.escape(name)}\(self: [^,)]*\) -> {_SAYS}", signature):
                continue
            try:
                text += told(getattr(said, name)(), deep - 1)
            except Exception as error:
                text += f"{type(error).__name__}: {error}"
    return text


def one_answer(function, words):
    try:
        said = told(function(*words))
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    said = re.sub("0x[0-9a-f]+", "0x", said)
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:16]


def in_children(jobs, do, about=lambda job: None):
    """Does each of `jobs` in a child process, and gives what `do` says of each, in their order;
    "died" for one in which its process dies or takes too long, and for those after it that
    are `about` the same thing, and another goes on."""
    said, first = [], 0
    while first < len(jobs) and said.count("died") < _DEATHS:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            _child(jobs[first:], do, write)
        os.close(write)
        with os.fdopen(read, "rb") as out:
            said += map(json.loads, _written(out, child).splitlines())
        os.waitpid(child, 0)
        if len(said) < len(jobs):
            fatal = about(jobs[len(said)])
            said.append("died")
            while fatal is not None and len(said) < len(jobs) and about(jobs[len(said)]) == fatal:
                said.append("died")
        first = len(said)
    return said + ["died"] * (len(jobs) - len(said))


def _written(out, child):
    """All that the process `child` writes to `out` until it ends. Ends one that waits for something
    that does not come: all of its threads sleep at each look, and none computed between them. One
    that a busy machine keeps from computing does not sleep."""
    text, idle, before = b"", 0, None
    while True:
        if select.select([out], [], [], _LOOK)[0]:
            part = os.read(out.fileno(), 1 << 16)
            if not part:
                return text
            text, idle = text + part, 0
            continue
        now = _threads(child)
        idle = idle + 1 if now == before and all(state == b"S" for state, *_ in now) else 0
        before = now
        if idle == _LOOKS:
            os.kill(child, signal.SIGKILL)


def _threads(process):
    """The state of each thread of a process, and the times that it computed."""
    found = []
    for thread in sorted(os.listdir(f"/proc/{process}/task")):
        try:
            with open(f"/proc/{process}/task/{thread}/stat", "rb") as file:
                about = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # It ended meanwhile.
        found.append((about[0], *about[11:13]))
    return found


def _child(jobs, do, write):
    """What a child process does, which writes no file and shows nothing."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
            resource.setrlimit(kind, (0, 0))
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        for job in jobs:
            signal.setitimer(signal.ITIMER_PROF, _LIMIT)
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
            os.write(write, (json.dumps(do(job)) + "\n").encode())
    finally:
        os._exit(0)


def answers(jobs, given):
    """The answers to calls: each of `jobs` is a function's name and the number of one of the
    calls `given`."""
    known = functions()
    return in_children(jobs, lambda job: one_answer(known[job[0]], given[job[1]]), lambda job: job[0])


class Before:
    """A child process that stays as this one is now, to be asked later."""

    def __init__(self):
        asks, self._asks = os.pipe()
        self._says, says = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                # If the other process dies, this one is not to wait for it.
                os.close(self._asks)
                os.close(self._says)
                with os.fdopen(asks) as question:
                    given = [tuple(tuple(w) if isinstance(w, list) else w for w in words)
                             for words in json.load(question)]
                said = json.dumps(answers(every(given), given))
                with os.fdopen(says, "w") as out:
                    out.write(said)
            finally:
                os._exit(0)
        os.close(asks)
        os.close(says)

    def ask(self, given):
        """Begins to answer `given`."""
        with os.fdopen(self._asks, "w") as question:
            json.dump(given, question)

    def answers(self):
        with os.fdopen(self._says) as said:
            text = said.read()
        os.waitpid(self._child, 0)
        return json.loads(text)


def every(given):
    return [(name, number) for name in functions() for number in range(len(given))]


def differing(before, given):
    """Calls of functions of torch._C that are answered otherwise than `before` did."""
    before.ask(given)
    jobs = every(given)
    now = answers(jobs, given)
    both = zip(jobs, before.answers(), now)
    # What asks by a name does not die of one where all is there.
    careless = {job[0] for job, said in zip(jobs, now) if said == "died"}
    other = [(job, said) for job, was, said in both if was != said and job[0] not in careless]
    for _ in range(2):
        # Time, chance.
        again = answers([job for job, _ in other], given)
        other = [one for one, said in zip(other, again) if one[1] == said]
    return [job for job, _ in other]
