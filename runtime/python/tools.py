"""Unpacks what only compilers and linkers read, for them.

    cmake -DCMAKE_PREFIX_PATH=$(python -m _taper.tools torch)/share/cmake .

Headers, static libraries and build systems' files lie compressed in the package, which may
be read-only. Other programs read them, so they come back as files, in the user's cache
folder (`$XDG_CACHE_HOME/taper`, `~/.cache/taper`) once for each package, or where that
cannot be written in a temporary folder of this process.
"""

import marshal
import os
import shutil
import sys
import tempfile

import _taper

_STORE = os.path.join(_taper._HERE, "tools")
_made = {}


def unpacked(folder):
    """A folder with all that `folder` of this package has: what is compressed as files, and
    links to the rest. `folder` itself where nothing in it is compressed."""
    inside = _taper._inside(os.path.join(os.path.abspath(folder), ""))
    inside = (os.fspath(folder) if inside is None else inside).rstrip("/")
    if inside not in _made or not os.path.isdir(_made[inside]):
        _made[inside] = _unpacked(inside) or folder
    return _made[inside]


def _unpacked(inside):
    if not os.path.exists(_STORE):
        return None
    key = _key(inside)
    for base in (_cache(), None):
        try:
            if base is None:
                base = _temporary()
            place = os.path.join(base, key, inside.rpartition("/")[2] or "all")
            if os.path.isdir(place):
                return place
            return place if _write(inside, place) else None
        except OSError as error:
            # The cache may be full, or another's; the temporary folder is the last.
            failed = error
    raise failed


def _key(inside):
    """What is another for each folder, each package, and each place of one, to which links
    lead."""
    import hashlib

    with open(_STORE, "rb") as file:
        # The hash of the table of the store is in its header.
        told = file.read(64) + os.fsencode(_taper._REAL + "\0" + inside)
    return hashlib.sha256(told).hexdigest()[:24]


def _cache():
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "taper")


def _temporary():
    """A folder that goes when the process that made it ends."""
    import atexit

    base, process = tempfile.mkdtemp(prefix="taper-"), os.getpid()
    atexit.register(lambda: os.getpid() == process and shutil.rmtree(base, True))
    return base


def _write(inside, place):
    """Makes `place` in one step; false where nothing of the folder is compressed."""
    store = _taper._Store(_STORE)
    folders = marshal.loads(store.chunk(0))
    table = store.chunk(1).cast("I")
    below = inside + "/" if inside else ""
    meant = {name: found for name, found in folders.items() if f"{name}/".startswith(below)}
    if not meant:
        return False
    parent = os.path.dirname(place)
    os.makedirs(parent, 0o700, exist_ok=True)
    made = tempfile.mkdtemp(prefix=".unpacking-", dir=parent)
    try:
        number = chunk = None
        for name, (row, names) in meant.items():
            folder = os.path.join(made, *name[len(below) :].split("/"))
            os.makedirs(folder, exist_ok=True)
            for row, file in enumerate(names.split("/"), row):
                wanted, start, length = table[3 * row : 3 * row + 3]
                if length and wanted != number:
                    number, chunk = wanted, store.chunk(wanted)
                with _taper._open(os.path.join(folder, file), "wb") as out:
                    out.write(chunk[start : start + length] if length else b"")
        _link(made, _taper._REAL + inside.replace("/", os.sep))
        os.chmod(made, 0o755)
        try:
            os.rename(made, place)
        except OSError:
            # Another process was first.
            if not os.path.isdir(place):
                raise
    finally:
        shutil.rmtree(made, True)
    return True


def _link(made, folder):
    """Links the files that `folder` has and `made` has not. Folders are folders, so that what
    is beside one is found from within it (`share/cmake/../../include`)."""
    try:
        found = list(os.scandir(folder))
    except OSError:
        return  # nothing of it is left in the package
    for entry in found:
        ours = os.path.join(made, entry.name)
        if entry.is_dir(follow_symlinks=False) and not os.path.islink(ours):
            os.makedirs(ours, exist_ok=True)
            _link(ours, entry.path)
        elif not os.path.lexists(ours):
            os.symlink(entry.path, ours)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m _taper.tools FOLDER, as in `torch`")
    print(unpacked(sys.argv[1]))
