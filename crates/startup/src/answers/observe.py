"""Finds functions that read many files of the installed packages to answer, and their answers.

Reads one document from standard input: the folders of packages, the modules that workloads
imported, in their order, and names of functions to look at closely. Imports the modules, with
every function under observation that its author has declared to depend on nothing but its
arguments (`functools.lru_cache`, `functools.cache`) at the top of a module. Writes, for each
that read files, the answers to the calls that were made and what speaks against remembering
them.
"""

import dataclasses
import functools
import gc
import json
import marshal
import os
import re
import sys
import types
import warnings
from base64 import b64encode

# Files that a call reads from which on it is worth remembering.
FEW = 8

# An answer of more bytes is made anew.
LARGE = 4 << 20

# What the interpreter says while any function runs, and does not depend on anything outside.
HARMLESS = frozenset(("object.__getattr__", "sys._getframe", "sys._getframemodulename"))

ABOUT = json.load(sys.stdin)
CLOSELY = set(ABOUT["closely"])
ROOTS = tuple(os.path.join(folder, "") for folder in ABOUT["folders"])
PLACES = {os.path.expanduser("~"), sys.prefix, sys.base_prefix, *ABOUT["folders"]} - {"/", ""}


def inside(path):
    """The part of a path in a folder of packages; `None` for another."""
    for root in ROOTS:
        if path.startswith(root):
            return path[len(root) :]
    return None


class Different(Exception):
    """An answer that is not plain, or names a place of this machine."""


def plain(answer):
    """Checks that an answer is made of plain values, and names no place of this machine."""
    kind = type(answer)
    if kind in (tuple, list, set, frozenset):
        for one in answer:
            plain(one)
    elif kind is dict:
        for key, value in answer.items():
            plain(key)
            plain(value)
    elif kind is str:
        if any(root[:-1] in answer for root in ROOTS):
            raise Different("an answer names a place of this machine")
    elif answer is not None and kind not in (bool, int, float, complex, bytes):
        raise Different(f"an answer has a {kind.__name__}")


def same(answer):
    """A text that is the same for equal answers, in whatever order sets and dicts are."""
    kind = type(answer)
    if kind in (set, frozenset):
        return f"{kind.__name__}({','.join(sorted(map(same, answer)))})"
    if kind is dict:
        items = sorted(f"{same(key)}:{same(value)}" for key, value in answer.items())
        return f"dict({','.join(items)})"
    if kind in (tuple, list):
        return f"{kind.__name__}({','.join(map(same, answer))})"
    return f"{kind.__name__} {answer!r}"


def collections():
    """Dicts, lists and sets that are there, with what is in each."""
    found = {}
    for one in gc.get_objects():
        if type(one) in (dict, list, set):
            refers = gc.get_referents(one)
            found[id(one)] = (one, (len(one), *map(id, refers)), refers)
    return found


def changed(before):
    """Whether a collection that was there is another now, caches aside."""
    spared = {id(before), id(globals()), id(sys.modules), id(sys.path_importer_cache)}
    for name, holder in (("_cache", "re"), ("_cache2", "re"), ("cache", "linecache")):
        held = getattr(sys.modules.get(holder), name, None)
        spared.add(id(held))
    for one, was, _ in before.values():
        if id(one) in spared or was == (len(one), *map(id, gc.get_referents(one))):
            continue
        holders = gc.get_referrers(one)
        if any(type(holder) is functools._lru_cache_wrapper for holder in holders):
            continue
        if any(type(holder) is Function or isinstance(holder, types.FrameType) for holder in holders):
            continue
        if any(vars(function) is one for function in functions):
            continue
        return f"it changes a {type(one).__name__}"
    return None


class Function:
    def __init__(self, function):
        self.function = function
        self.module, self.name = function.__module__, function.__name__
        self.answers, self.texts = {}, {}
        self.files, self.calls = 0, 0
        self.reads = [0]
        self.against = None

    def call(self, words, named):
        global current
        if current is not None or self.against is not None:
            return self.function(*words, **named)
        key = None
        try:
            key = call_key(words, named, inside)
        except ValueError:
            # This call is made anew in a package.
            return self.function(*words, **named)
        before = None
        if self.calls == 0 and f"{self.module}.{self.name}" in CLOSELY:
            before = collections()
        reads = [0]
        self.reads, current = reads, self
        try:
            answer = self.function(*words, **named)
        finally:
            current = None
        if reads[0] < FEW:
            return answer
        self.calls += 1
        self.files += reads[0]
        if before is not None:
            self.against = self.against or changed(before)
        try:
            plain(answer)
            stored = marshal.dumps(answer, 2)
            if len(stored) > LARGE:
                raise Different("an answer is too large")
            self.answers[key], self.texts[key] = stored, same(answer)
        except (Different, RecursionError) as error:
            self.against = self.against or str(error)
        return answer

    def against_it(self, what):
        if self.against is None:
            self.against = what


current = None
functions = []


def audit(event, words):
    if current is None or event in HARMLESS:
        return
    if event == "open":
        path, _, flags = words
        if isinstance(path, (str, bytes)) and flags & os.O_ACCMODE == os.O_RDONLY:
            if inside(os.fsdecode(path)) is not None:
                current.reads[0] += 1
                return
        current.against_it(f"it opens {path!r}"[:200])
    elif event in ("os.scandir", "os.listdir"):
        path = words[0]
        if not isinstance(path, (str, bytes)) or inside(os.path.join(os.fsdecode(path), "")) is None:
            current.against_it(f"it lists {path!r}"[:200])
    else:
        current.against_it(f"it does what Python calls {event}")


def watched(owner, name, what):
    """Notes that a function under observation asks for `what`."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def ask(*words, **named):
        if current is not None:
            current.against_it(f"it asks for {what}")
        return original(*words, **named)

    setattr(owner, name, ask)


# What says whether a file is there, or what it is, raises no audit event.
ASKS_FOR_FILES = ("stat", "lstat", "access", "readlink", "statvfs", "getxattr", "listxattr", "pathconf")


class Status:
    """What `os.stat` says of a file of the packages, of which only its kind is the same in a
    package made of them."""

    def __init__(self, status):
        self._status = status

    __class__ = property(lambda self: os.stat_result)

    @property
    def st_mode(self):
        return self._status.st_mode

    def _more(name):
        def ask(self, *words):
            if current is not None:
                current.against_it("it asks for the size, time or place of a file")
            return getattr(self._status, name)(*words)

        return ask

    for _name in ("__getitem__", "__len__", "__iter__", "__eq__", "__hash__", "__repr__"):
        locals()[_name] = _more(_name)

    def __getattr__(self, name):
        if current is not None and name.startswith("st_"):
            current.against_it("it asks for the size, time or place of a file")
        return getattr(self._status, name)


def asks_for_files():
    """Watches what asks the system about files, wherever modules have taken it for themselves."""
    import posix

    made = {}
    for name in ASKS_FOR_FILES:
        original = getattr(posix, name, None)
        if original is not None:
            made[id(original)] = original, Asking(original)
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType):
            continue
        owners = [module, *(one for one in list(vars(module).values()) if isinstance(one, type))]
        for owner in owners:
            for key, value in list(vars(owner).items()):
                held = value.__func__ if isinstance(value, staticmethod) else value
                known = made.get(id(held))
                if known is None or known[0] is not held:
                    continue
                try:
                    setattr(owner, key, known[1])
                except TypeError:
                    # A class of C takes nothing for itself.
                    continue


class Asking:
    """A function of C that asks the system about files, watched. A class that takes it for itself,
    before or after, gets no method of it, as with the function."""

    def __init__(self, original):
        self._original = original
        functools.update_wrapper(self, original)

    def __call__(self, *words, **named):
        original = self._original
        if current is None:
            return original(*words, **named)
        path = words[0] if words else named.get("path")
        try:
            path = os.fsdecode(path)
        except TypeError:
            path = ""
        relative = named.get("dir_fd") is not None
        known = not relative and inside(os.path.join(path, "")) is not None
        if not known:
            current.against_it(f"it asks whether {path!r} is there"[:200])
        elif original.__name__ not in ("stat", "lstat", "access"):
            current.against_it("it asks for the size, time or place of a file")
        said = original(*words, **named)
        return Status(said) if known and isinstance(said, os.stat_result) else said


class Texts:
    """What modules compile while they are imported."""

    def __init__(self):
        self.codes, self.patterns = set(), set()
        self.compiler = sys.modules.get("re._compiler") or sys.modules["sre_compile"]
        self.original = self.compiler.compile
        self.compiler.compile = self.compile
        dataclasses.exec = self.run

    def run(self, text, globals=None, locals=None, /):
        if type(text) is str:
            self.codes.add(text)
        exec(text, vars(dataclasses) if globals is None else globals, locals)

    def compile(self, p, flags=0):
        if type(p) in (str, bytes) and type(flags) is int:
            self.patterns.add((p, flags))
        return self.original(p, flags)

    def code(self, text):
        return marshal.dumps(compile(text, "<string>", "exec", dont_inherit=True), 2)

    def pattern(self, pattern, flags):
        """What the compiler of patterns tells the engine."""
        if flags & (re.DEBUG | re.LOCALE):
            raise ValueError("it prints, or depends on the place")
        native = self.compiler._sre
        told = []

        class Engine:
            def __getattr__(self, name):
                return getattr(native, name)

            def compile(self, *words):
                told.append(words)
                return native.compile(*words)

        self.compiler._sre = Engine()
        try:
            self.original(pattern, flags)
        finally:
            self.compiler._sre = native
        (same, all_flags, code, groups, index, names), = told
        if same != pattern:
            raise ValueError("it is another pattern")
        # Numbers of the compiler have names.
        words = (int(all_flags), list(map(int, code)), groups, dict(index), names)
        return marshal.dumps(words, 2)

    def ready(self):
        """All that compiles without a word, and names no place of this machine."""
        codes, patterns = {}, {}
        for text in sorted(self.codes):
            self.add(codes, text, self.code, text)
        for one in sorted(self.patterns, key=repr):
            self.add(patterns, one, self.pattern, one[0], one[1])
        return codes, patterns

    def add(self, table, key, make, text, *more):
        plain_text = text if type(text) is str else text.decode("latin-1")
        if any(place in plain_text for place in PLACES):
            return
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                made = make(text, *more)
            except Exception:
                # Neither is it compiled in a package.
                return
        if not said:
            table[key] = made


def main():
    lru_cache = functools.lru_cache

    def observed(function):
        if type(function) is not types.FunctionType or function.__qualname__ != function.__name__:
            return function
        if inside(function.__code__.co_filename) is None:
            return function
        known = Function(function)
        functions.append(known)

        @functools.wraps(function)
        def call(*words, **named):
            return known.call(words, named)

        return call

    def decorated(maxsize=128, typed=False):
        if callable(maxsize):
            return lru_cache(128, typed)(observed(maxsize))
        decorate = lru_cache(maxsize, typed)
        return lambda function: decorate(observed(function))

    functools.lru_cache = decorated
    functools.cache = decorated(maxsize=None)
    for name in ("__getitem__", "__contains__", "__iter__"):
        watched(type(os.environ), name, "the environment")
    watched(os, "getcwd", "the working folder")
    for name in ("cpu_count", "sched_getaffinity", "uname", "getpid", "getuid", "geteuid", "getlogin"):
        watched(os, name, "the machine or the process")
    asks_for_files()
    # A quarter of the time that imports take under observation, and nothing is freed by it.
    gc.disable()
    sys.addaudithook(audit)
    for name in ABOUT["modules"]:
        try:
            __import__(name)
        except Exception:
            # A workload imported it in another state of the process.
            continue


def told():
    for one in functions:
        if not one.calls:
            continue
        held = vars(sys.modules.get(one.module) or main).get(one.name)
        if getattr(getattr(held, "__wrapped__", None), "__wrapped__", None) is not one.function:
            one.against_it("its module has something else under its name")
        yield {
            "module": one.module,
            "name": one.name,
            "calls": one.calls,
            "files": one.files,
            "against": one.against or "",
            "answers": {
                b64encode(key).decode(): b64encode(answer).decode()
                for key, answer in sorted(one.answers.items())
            },
            "texts": {
                b64encode(key).decode(): text for key, text in sorted(one.texts.items())
            },
        }


def written(table):
    """A table as keys and values that are the same in each process, if they are."""
    return {
        b64encode(marshal.dumps(key, 2)).decode(): b64encode(value).decode()
        for key, value in table.items()
    }


out = os.dup(1)
os.dup2(2, 1)
texts = Texts()
main()
codes, patterns = texts.ready()
with os.fdopen(out, "w") as answer:
    said = {
        "functions": list(told()),
        "version": b64encode(
            marshal.dumps((*sys.version_info[:3], texts.compiler._sre.MAGIC, texts.compiler._sre.CODESIZE), 2)
        ).decode(),
        "codes": written(codes),
        "patterns": written(patterns),
    }
    json.dump(said, answer)
sys.stderr.flush()
os._exit(0)
