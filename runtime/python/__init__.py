"""Finds and loads the modules that this package holds in its store.

Where a stored module's file would be, a file of one line runs it from the store.
"""

import _imp
import ctypes
import marshal
import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import decode_source, spec_from_file_location

_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(_HERE) + os.sep

# Modules lie in the order in which they are loaded; so many chunks stay unpacked.
_KEPT_CHUNKS = 2

# How the file of a module starts that has its source nowhere in the package.
_STUB = b'exec(__import__("_taper").code(__file__))'

_ERRORS = {
    -1: "it is not a store of this version of taper",
    -2: "it is not as long as it says",
    -3: "its bytes are not those that were written",
    -4: "it has no such chunk",
}


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
        self._chunks = {}

    def _check(self, code):
        if code:
            reason = _ERRORS.get(code) or os.strerror(code)
            raise ImportError(f"cannot read {self._path}: {reason}; copy the package again")

    def bytes(self, place):
        """The bytes at `place`: a chunk, an offset in it and a length (`None`: all)."""
        number, start, length = place
        chunk = self._chunks.get(number)
        if chunk is None:
            size = self._runtime.taper_length(self._bytes, self._size, number)
            if size < 0:
                self._check(size)
            chunk = bytearray(size)
            if size:
                out = (ctypes.c_char * size).from_buffer(chunk)
                self._check(
                    self._runtime.taper_read(
                        self._bytes, self._size, number, out, ctypes.c_size_t(size)
                    )
                )
            chunks = dict(self._chunks)
            while len(chunks) >= _KEPT_CHUNKS:
                del chunks[next(iter(chunks))]
            chunks[number] = chunk
            self._chunks = chunks
        return memoryview(chunk)[start : None if length is None else start + length]


_store = _Store(os.path.join(_HERE, "modules"))
# By path without suffix: where the code is.
_index = marshal.loads(_store.bytes((0, 0, None)))
_folders = {}
for _path in _index:
    _folders.setdefault(_path.rpartition("/")[0], []).append(_path)


class Loader(SourceFileLoader):
    """Loads a module from the store; `path` is where its source would be."""

    def get_code(self, fullname):
        return _code(self.path)

    def get_source(self, fullname):
        source = self.get_data(self.path)
        return None if source.startswith(_STUB) else decode_source(source)


def _code(path):
    found = marshal.loads(_store.bytes(_index[_key(path)]))
    _imp._fix_co_filename(found, path)
    return found


def _key(path):
    return path[len(_ROOT) : -3].replace(os.sep, "/")


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
        key = self._prefix + fullname.rpartition(".")[2]
        package = key + "/__init__" in _index
        if not package and key not in _index:
            return self._on_disk().find_spec(fullname, target)
        place = _ROOT + key.replace("/", os.sep)
        path = place + os.sep + "__init__.py" if package else place + ".py"
        return spec_from_file_location(
            fullname,
            path,
            loader=Loader(fullname, path),
            submodule_search_locations=[place] if package else None,
        )

    def invalidate_caches(self):
        if self._files is not None:
            self._files.invalidate_caches()

    def iter_modules(self, prefix=""):
        """What `pkgutil.iter_modules` lists: names, and whether they are packages."""
        import pkgutil

        found = {}
        if os.path.isdir(self.path):
            for name, package in pkgutil.iter_importer_modules(self._on_disk()):
                found[name] = package
        for path in _folders.get(self._inside, ()):
            name = path.rpartition("/")[2]
            if name != "__init__":
                found[name] = False
        for folder in _folders:
            parent, _, name = folder.rpartition("/")
            if folder and parent == self._inside and folder + "/__init__" in _index:
                found[name] = True
        return [(prefix + name, found[name]) for name in sorted(found)]


def _hook(folder):
    place = os.path.join(os.path.abspath(folder), "")
    if not place.startswith(_ROOT):
        raise ImportError("not a folder of this package", path=folder)
    inside = place[len(_ROOT) : -1].replace(os.sep, "/")
    if place != _ROOT and inside not in _folders:
        raise ImportError("not a folder of the store", path=folder)
    return Finder(place[:-1] if place != os.sep else place)


def code(path):
    """The code of the stored module at `path`, for the file that stands there to run.

    Python meets that file where it looks for files before it asks the finder: at the
    top of the package, and when a program loads a module by its path.
    """
    path = os.path.abspath(path)
    about = sys._getframe(1).f_globals
    spec = about.get("__spec__")
    if spec is not None and type(spec.loader) is SourceFileLoader:
        spec.loader = about["__loader__"] = Loader(spec.loader.name, path)
    return _code(path)


sys.path_hooks.insert(0, _hook)
for _folder in list(sys.path_importer_cache):
    if os.path.join(os.path.abspath(_folder), "").startswith(_ROOT):
        del sys.path_importer_cache[_folder]
