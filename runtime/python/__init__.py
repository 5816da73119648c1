"""Finds and loads the modules that this package holds in its store.

Where a stored module's file would be, a file of one line runs it from the store. Where
the store holds sources too, `open` gives them in place of that line, and with it all that
reads sources in Python: linecache, and so traceback, inspect, pdb and warnings; tokenize,
pathlib, and the interpreter itself when it shows a line. What goes to the system by other
ways (`os.open`, `io.FileIO`, other programs) reads the line.
"""

import _imp
import builtins
import ctypes
import functools
import io
import marshal
import os
import sys
import types
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import (
    MAGIC_NUMBER,
    cache_from_source,
    decode_source,
    source_hash,
    spec_from_file_location,
)

from _taper import collector, compiled
from _taper.start import DEFERRED, REMEMBERS

_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(_HERE) + os.sep
_REAL = os.path.join(os.path.realpath(_ROOT), "")

# So many bytes stay unpacked, of modules that lie in the order in which programs load them, and
# of modules and sources that lie in the order of their names: while modules are imported, and
# then. Programs do not all load in the same order, and some packages read all their sources
# when they are imported, in any order and more than once.
_KEPT = (40 << 20, 40 << 20)
_KEPT_LATER = 12 << 20

# How the file of a module starts that has its source elsewhere or nowhere.
_STUB = b'exec(__import__("_taper").code(__file__))'
_STUB_SIZE = len(_STUB) + 1

# The last letters of the names of files whose texts are here: sources, and type stubs.
_TEXTS = frozenset((".py", "pyi"))

_ERRORS = {
    -1: "it is not a store of this version of taper",
    -2: "it is not as long as it says",
    -3: "its bytes are not those that were written",
    -4: "it has no such chunk",
}


_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype = ctypes.py_object
_place_of = ctypes.pythonapi.PyBytes_AsString
_place_of.restype = ctypes.c_void_p


class _Store:
    def __init__(self, path):
        self._path = path
        # The GIL is held through each call, as while Python reads a bytecode file.
        self._runtime = ctypes.PyDLL(os.path.join(_HERE, "libtaper_runtime.so"))
        self._bytes, self._size = ctypes.c_void_p(), ctypes.c_size_t()
        self._runtime.taper_length.restype = ctypes.c_int64
        self._check(
            self._runtime.taper_map(
                os.fsencode(path), ctypes.byref(self._bytes), ctypes.byref(self._size)
            )
        )
        self._kept = [{}, {}]
        self.first_cold = 0

    def records(self):
        """Whether what is loaded beyond what was traced is to be recorded."""
        return bool(self._runtime.taper_records())

    def record(self, path):
        """Records that the cold module at `path` was loaded."""
        name = os.fsencode(_inside(path))
        self._runtime.taper_loaded(name, ctypes.c_size_t(len(name)))

    def _check(self, code):
        if code:
            reason = _ERRORS.get(code) or os.strerror(code)
            raise OSError(f"cannot read {self._path}: {reason}; copy the package again")

    def chunk(self, number):
        """The bytes of a chunk, unpacked anew."""
        size = self._runtime.taper_length(self._bytes, self._size, number)
        if size < 0:
            self._check(size)
        # Bytes that nothing has written yet, and nobody else has.
        chunk = _new_bytes(None, ctypes.c_ssize_t(size))
        if size:
            out = ctypes.c_void_p(_place_of(ctypes.py_object(chunk)))
            self._check(
                self._runtime.taper_read(
                    self._bytes, self._size, number, out, ctypes.c_size_t(size)
                )
            )
        return memoryview(chunk)

    def bytes(self, number, start, length):
        """So many bytes from `start` in a chunk; no bytes may be in one that is not there."""
        if not length:
            return b""
        cold = number >= self.first_cold
        chunk = self._kept[cold].get(number)
        if chunk is None:
            chunk = self.chunk(number)
            limit = _KEPT[cold] if collector.importing() else _KEPT_LATER
            self._keep(cold, {**self._kept[cold], number: chunk}, limit)
        return chunk[start : start + length]

    def _keep(self, cold, kept, limit):
        """Keeps the last of these chunks, which have up to `limit` bytes, or the last one."""
        size = sum(map(len, kept.values()))
        while size > limit and len(kept) > 1:
            size -= len(kept.pop(next(iter(kept))))
        self._kept[cold] = kept

    def rest(self):
        """Frees what only imports need."""
        for cold in (False, True):
            self._keep(cold, dict(self._kept[cold]), _KEPT_LATER)


try:
    _store = _Store(os.path.join(_HERE, "modules"))
    # By folder, its first row in the table and the names of its modules; by module and
    # function, the place of its answers.
    # By path, the hash of the source of a stored module that lies in its file; what is out.
    _index = marshal.loads(_store.chunk(0))
    _store.first_cold, _folders, _answers, _compiled_before, _with_source, _out = _index
    # For each module the places of its code and of its source.
    _table = _store.chunk(1).cast("I")
except OSError as _error:
    raise ImportError(str(_error)) from None
if not REMEMBERS:
    _answers = {}
elif _compiled_before[2]:
    compiled.use(functools.partial(_store.bytes, *_compiled_before))
_names = {}
_records = _store.records()


def _modules(folder):
    """The rows of the modules of a folder, by name."""
    found = _names.get(folder)
    if found is None:
        if folder not in _folders:
            return {}
        first, names = _folders[folder]
        found = _names[folder] = dict(zip(names.split(" "), range(first, len(_table) // 6)))
    return found


def _inside(path):
    """The part of `path` that is inside the package, with `/` between folders."""
    for root in (_ROOT, _REAL):
        if path.startswith(root):
            return path[len(root) :].replace(os.sep, "/")
    return None


def _row(path):
    """The row of the module whose source is, or would be, at `path`, or of the type stub there."""
    inside = _inside(path)
    if inside is None or inside[-3:] not in _TEXTS:
        return None
    folder, _, name = inside.removesuffix(".py").rpartition("/")
    return _modules(folder).get(name)


def _intact(path, inside):
    """Whether the file of a stored module is still what was written there: somebody may have
    edited it, or installed another version of the package, or removed it."""
    wanted = _with_source.get(inside)
    try:
        if wanted is None:
            # All of these files have one length, which no module has that does something.
            return os.stat(path).st_size == _STUB_SIZE
        with _open(path, "rb") as file:
            return source_hash(file.read()) == wanted
    except OSError:
        return False


def _changed(names):
    """Whether a module of these, all in the store, is no longer what was packed."""
    for name in names:
        place = name.replace(".", "/")
        inside = place + ("/__init__.py" if "__init__" in _modules(place) else ".py")
        if not _intact(_ROOT + inside, inside):
            return True
    return False


def _source(path):
    """The source of the stored module at `path`; `None` where it is not in the store."""
    row = _row(path)
    if row is None or not _table[6 * row + 3]:
        return None
    return bytes(_store.bytes(*_table[6 * row + 3 : 6 * row + 6]))


def _code(path):
    row = _row(path)
    if row is None:
        raise ImportError(f"{path} is not a module of the package in {_ROOT}", path=path)
    if not 0 < _table[6 * row] < _store.first_cold:
        if _records:
            _store.record(path)
        _run_deferred(path)
    collector.loading()
    if compiled.waits():
        compiled.look()
    try:
        if not _table[6 * row]:
            return _bytecode(_source(path), path)
        found = marshal.loads(_store.bytes(*_table[6 * row : 6 * row + 3]))
    except OSError as error:
        raise ImportError(str(error), path=path) from None
    _imp._fix_co_filename(found, path)
    return found


def _run_deferred(path):
    """Runs bodies that wait before a module of the same package that no workload imported."""
    if DEFERRED:
        package = _inside(path).partition("/")[0]
        for root, group in list(_deferral().pending.items()):
            if root.partition(".")[0] == package:
                group.settle()


def runtime():
    """The runtime's library."""
    return _store._runtime


def _deferral():
    """What lets bodies of modules wait. Most packages of most programs never need it."""
    import _taper.deferred

    return _taper.deferred


def _bytecode(source, path):
    """The code of a module that is in the store as its source only: compiled, and then kept where
    Python keeps bytecode, if it may write there. There it counts for this source alone (PEP 552)."""
    if not REMEMBERS or sys.implementation.cache_tag is None:
        return _compiled(source, path)
    place = cache_from_source(path)
    files = SourceFileLoader("", place)
    begin = MAGIC_NUMBER + b"\3\0\0\0" + source_hash(source)
    try:
        kept = memoryview(files.get_data(place))
        if kept[:16] == begin:
            found = marshal.loads(kept[16:])
            _imp._fix_co_filename(found, path)
            return found
    except (OSError, EOFError, TypeError, ValueError):
        # None is there, or it is damaged.
        pass
    found = _compiled(source, path)
    if not sys.dont_write_bytecode:
        files.set_data(place, begin + marshal.dumps(found))
    return found


def _compiled(source, path):
    """What a module compiles to."""
    import warnings

    with warnings.catch_warnings():
        # Whoever installed it saw them.
        warnings.simplefilter("ignore")
        return compile(source, path, "exec", dont_inherit=True)


class Loader(SourceFileLoader):
    """Loads a module from the store; `path` is where its source would be."""

    def get_code(self, fullname):
        return _code(self.path)

    def get_data(self, path):
        data = super().get_data(path)
        if data.startswith(_STUB):
            source = _source(os.path.abspath(path))
            return data if source is None else source
        return data

    def get_source(self, fullname):
        try:
            source = self.get_data(self.path)
        except OSError as error:
            raise ImportError(str(error), name=fullname, path=self.path) from error
        return None if source.startswith(_STUB) else decode_source(source)


class _Outermost(Loader):
    """Loads a module whose import no other module of the package asked for."""

    def exec_module(self, module):
        self.__class__ = Loader
        collector.begin()
        try:
            self.exec_module(module)
        except BaseException as error:
            # As if this frame had not been.
            error.__traceback__ = error.__traceback__.tb_next
            raise
        finally:
            left()


class _Waiting(Loader):
    """Loads a module whose body may wait."""

    def exec_module(self, module):
        self.__class__ = Loader
        name = module.__spec__.name
        if not _deferral().Group(name, DEFERRED[name]).defer(module):
            self.exec_module(module)


class _Remembering(Loader):
    """Loads a module with functions that remember answers."""

    def exec_module(self, module):
        self.__class__ = Loader
        self.exec_module(module)
        from _taper import answers

        places = _answers[module.__spec__.name]
        known = {name: functools.partial(_store.bytes, *place) for name, place in places.items()}
        answers.remember(module, known, _ROOT)


class Finder:
    """Finds modules of one folder of the package: first in the store, then as files."""

    def __init__(self, folder):
        self.path = folder
        inside = folder[len(_ROOT) :].replace(os.sep, "/").rstrip("/")
        self._inside = inside
        self._prefix = inside + "/" if inside else ""
        self._files = None

    def _on_disk(self):
        if self._files is None:
            self._files = FileFinder(
                self.path,
                (ExtensionFileLoader, EXTENSION_SUFFIXES),
                (SourceFileLoader, SOURCE_SUFFIXES),
                (SourcelessFileLoader, BYTECODE_SUFFIXES),
            )
        return self._files

    def find_spec(self, fullname, target=None):
        name = fullname.rpartition(".")[2]
        key = self._prefix + name
        package = "__init__" in _modules(key)
        if not package and name not in _modules(self._inside):
            return self._on_disk().find_spec(fullname, target)
        place = _ROOT + key.replace("/", os.sep)
        path = place + os.sep + "__init__.py" if package else place + ".py"
        if not _intact(path, key + ("/__init__.py" if package else ".py")):
            return self._on_disk().find_spec(fullname, target)
        if fullname in DEFERRED and not _changed(DEFERRED[fullname]["members"]):
            loader = _Waiting(fullname, path)
        elif fullname in _answers:
            loader = _Remembering(fullname, path)
        else:
            # Python 3.10 would show the frame of the other in tracebacks.
            outermost = not collector.importing() and sys.version_info >= (3, 11)
            loader = (_Outermost if outermost else Loader)(fullname, path)
        return spec_from_file_location(
            fullname,
            path,
            loader=loader,
            submodule_search_locations=[place] if package else None,
        )

    def invalidate_caches(self):
        if self._files is not None:
            self._files.invalidate_caches()

    def iter_modules(self, prefix=""):
        """What `pkgutil.iter_modules` lists: names, and whether they are packages."""
        import pkgutil

        # Each has a file.
        found = pkgutil.iter_importer_modules(self._on_disk()) if os.path.isdir(self.path) else ()
        return sorted((prefix + name, package) for name, package in found)


def _hook(folder):
    place = os.path.join(os.path.abspath(folder), "")
    if not place.startswith(_ROOT):
        raise ImportError("not a folder of this package", path=folder)
    inside = place[len(_ROOT) : -1].replace(os.sep, "/")
    below = inside + "/"
    if not (place == _ROOT or inside in _folders or any(f.startswith(below) for f in _folders)):
        raise ImportError("not a folder of the store", path=folder)
    return Finder(place[:-1] if place != os.sep else place)


def code(path, level=1):
    """The code of the stored module at `path`, for the file that stands there to run.

    Python meets that file where it looks for files before it asks the finder: at the
    top of the package, and when a program loads a module by its path.
    """
    path = os.path.abspath(path)
    about = sys._getframe(level).f_globals
    spec = about.get("__spec__")
    if spec is not None and type(spec.loader) is SourceFileLoader:
        spec.loader = about["__loader__"] = Loader(spec.loader.name, path)
    return _code(path)


def entered(path):
    """Like `code`, at the start of an import; `left` is to be called at its end."""
    collector.begin()
    # This bytecode is used whatever the file says.
    place = os.path.abspath(path)
    if not _intact(place, _inside(place)):
        with _open(place, "rb") as file:
            return compile(file.read(), path, "exec", dont_inherit=True)
    return code(path, 2)


def left():
    """An import ends that began with `entered`."""
    collector.end()
    if not collector.importing():
        _store.rest()


class _Io:
    """What the `open` below is a method of. Pickled, it is the module `io`, so `open` comes
    back as the `open` of the process that reads it."""

    def __reduce__(self):
        return __import__, ("io",)


def _stands_in(
    self,
    file,
    mode="r",
    buffering=-1,
    encoding=None,
    errors=None,
    newline=None,
    closefd=True,
    opener=None,
):
    try:
        if (file if file.__class__ is str else _name(file))[-3:] in _TEXTS and opener is None:
            opener = _opener
        opened = _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if collector.importing() and opened.writable():
            collector.opened(opened)
        return opened
    except BaseException as error:
        # These frames are no part of the program: a bare `raise` does not add them again
        # (Python 3.10 shows them).
        error.__traceback__ = None if opener is _opener else error.__traceback__.tb_next
        if error.__class__ is FileNotFoundError:
            _explain(error)
        raise


def _name(file):
    """The name of a file as text, if it has one."""
    if isinstance(file, (bytes, os.PathLike)):
        return os.fsdecode(file)
    return file if isinstance(file, str) else ""


def _opener(file, flags):
    """Opens a file; where the line of a stored module is there, its source."""
    found = os.open(file, flags, 0o666)
    caller = sys._getframe(1).f_back
    # What enters an archive has the size that the file says.
    archived = caller is not None and caller.f_globals.get("__name__") == "tarfile"
    if archived or flags & 3 != os.O_RDONLY:
        return found
    opened = [found]
    try:
        source = None
        if os.pread(found, len(_STUB), 0) == _STUB:
            source = _source(os.path.abspath(_name(file)))
        if source is not None:
            opened.append(_memory())
            with _open(opened[-1], "wb", closefd=False) as out:
                out.write(source)
            os.lseek(opened[-1], 0, os.SEEK_SET)
        return opened.pop()
    finally:
        for number in opened:
            os.close(number)


def _memory():
    """A file without a name."""
    try:
        return os.memfd_create("source")
    except (AttributeError, OSError):
        # An old kernel or C library, or a sandbox.
        import tempfile

        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


class Absent:
    """Asked for modules and distributions that nothing else has found: says of those that taper
    left out that it did, where an error is what comes next."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname.partition(".")[0] in _out[0]:
            from _taper import absent

            error = absent.module(fullname, path, target, sys._getframe(1))
            if error is not None:
                raise error
        return None

    @staticmethod
    def find_distributions(context=None):
        if getattr(context, "name", None) and _out[1]:
            from _taper import absent

            absent.distribution(context.name, sys._getframe(1))
        return ()


# Python leaves its own frames out of the traceback of an import that fails, by this name.
Absent.find_spec.__code__ = Absent.find_spec.__code__.replace(
    co_filename="<frozen importlib._bootstrap>"
)
sys.meta_path.append(Absent)


def _explain(error):
    """Adds to the error of a file of the package that is out that it is."""
    inside = _inside(os.path.abspath(_name(error.filename)))
    # Metadata always stays, and whoever looks for entry points asks each distribution.
    if inside is not None and ".dist-info/" not in inside:
        from _taper import absent

        absent.file(error, inside)


_open = io.open
if any(_table[3::6]) or _out[0]:
    # A bound method, as the function in C is, does not become one of a class that keeps it.
    _stands_in.__name__ = _stands_in.__qualname__ = "open"
    _stands_in.__module__, _stands_in.__doc__ = _open.__module__, _open.__doc__
    io.open = builtins.open = types.MethodType(_stands_in, _Io())
    # Modules that are here already may have taken the function for themselves.
    for _module, _place in (("tokenize", "_builtin_open"), ("pathlib", "open")):
        _owner = sys.modules.get(_module)
        # Python 3.10's pathlib holds it in a class.
        _owner = getattr(_owner, "_NormalAccessor", _owner)
        if getattr(_owner, _place, None) is _open:
            setattr(_owner, _place, io.open)

sys.path_hooks.insert(0, _hook)
for _folder in list(sys.path_importer_cache):
    if os.path.join(os.path.abspath(_folder), "").startswith(_ROOT):
        del sys.path_importer_cache[_folder]
