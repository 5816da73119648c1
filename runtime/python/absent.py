"""Says of what a program asks for and the package does not have that taper left it out.

Errors are of the classes that Python raises, with the attributes that it gives them; only
their texts say more. Whoever only asks whether something is there (`importlib.util.find_spec`,
`os.path.exists`) gets the answer of an environment that does not have it.

This is here once a module of the package has been imported. An earlier import of what is out
gets Python's own words: a file that said more would be found by those who only ask.
"""

import marshal
import os
import sys

import _taper

# Why files are out, in the words of the record, and how they come back.
_WHY = {
    "unused": "no traced run used it; pack with --keep {0}, or trace a run that uses it",
    "dropped": "--drop named it; pack without that",
    "gpu-side": "it belongs to the GPU side, and the package is for the CPU; pack with --keep {0}",
    "feature": "it is there for a feature that --without named; pack without that, or with"
    " --keep {0}",
    "stub": "only type checkers read it; pack with --keep {0}",
    "unstarted": "it is a program that no module names; pack with --keep {0}",
    "installer": "nothing in the package requires it; pack with --keep {0}",
}
_OTHERWISE = "pack with --keep {0}"
_out = _parts = None


def module(name, path, target, frame):
    """The error for the import of a module that is out; `None` where something else asks, or
    finds it. `frame` is of what calls the finder."""
    asks = frame.f_back if frame.f_code.co_name == "_find_spec" else None
    if asks is None or asks.f_code.co_name != "_find_and_load_unlocked":
        return None
    try:
        why = _why_module(name)
    except OSError as damage:
        return ModuleNotFoundError(f"No module named {name!r}; {damage}", name=name)
    if why is None:
        return None
    # Others may have come after this one.
    found = sys.meta_path.index(_taper.Absent)
    for finder in sys.meta_path[found + 1 :]:
        if hasattr(finder, "find_spec") and finder.find_spec(name, path, target) is not None:
            return None
    text = f"No module named {name!r}; taper left it out of this package: {why}"
    return ModuleNotFoundError(text, name=name)


def _why_module(name):
    top = name.partition(".")[0]
    why = _taper._out[0][top]
    if why:
        # Nothing of it is there.
        why, _, names = why.partition(":")
        return _text(why, names or top)
    global _parts
    if _parts is None:
        _parts = marshal.loads(_taper._store.bytes(*_taper._out[2]))
    # A folder without a module of its own is out with what is in it.
    below = (reason for part, reason in _parts.items() if part.startswith(name + "."))
    why = _parts.get(name) or next(below, None)
    return None if why is None else _text(why, name)


def distribution(name, frame):
    """Raises the error for a distribution that is out, where one is what comes next."""
    import re
    from importlib.metadata import PackageNotFoundError

    plain = re.sub(r"[-_.]+", "-", name).lower()
    why = _taper._out[1].get(plain)
    if why is None:
        return
    for _ in range(5):
        if frame is None or not frame.f_globals.get("__name__", "").startswith("importlib."):
            return
        if frame.f_code.co_name == "from_name":
            raise _not_found(PackageNotFoundError, name, _text(why, plain))
        frame = frame.f_back


def _not_found(base, name, why):
    """An error of a class under `base`, the text of which comes from its class."""

    class NotFound(base):
        __module__, __qualname__ = base.__module__, base.__qualname__

        def __str__(self):
            return f"{super().__str__()}; taper left it out of this package: {why}"

        def __reduce__(self):
            return base, self.args

    NotFound.__name__ = base.__name__
    return NotFound(name)


def file(error, inside):
    """Adds to the error of a file that is out why it is."""
    why = _record().get(inside)
    if why is not None:
        error.strerror = (
            f"{error.strerror}; taper left it out of this package: {_text(why, inside)}"
        )


def _text(why, name):
    return _WHY.get(why, _OTHERWISE).format(name)


def _record():
    """Why each file is out that is, from what the package says of its plan."""
    global _out
    if _out is None:
        import json

        found = {}
        try:
            store = _taper._Store(os.path.join(_taper._HERE, "plan"))
            reasons = json.loads(bytes(store.chunk(0)))["reasons"]
            paths, columns = bytes(store.chunk(1)), bytes(store.chunk(2))
            count, start = _number(columns)
            before, at = b"", 0
            for row in range(count):
                end = paths.index(b"\0", at + 1)
                before = before[: paths[at]] + paths[at + 1 : end]
                at = end + 1
                # The highest bit says that there was bytecode.
                if not columns[start + row] & 0x7F:
                    reason = reasons[columns[start + count + row]]
                    found[os.fsdecode(before)] = reason
        except (OSError, ValueError, LookupError):
            # Without the record, errors say what Python says.
            found = {}
        _out = found
    return _out


def _number(columns):
    """A number of seven bits in each byte, the lowest first, and where the next begins."""
    value = shift = at = 0
    while True:
        byte = columns[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
