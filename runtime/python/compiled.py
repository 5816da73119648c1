"""Compiles what modules compile while they are imported, from what was compiled before.

`dataclasses` writes the methods of each class as text and compiles it, and patterns of `re` are
compiled anew in each process: a tenth of what a program with large packages does until it has
started. Both depend on nothing but the text and the version of Python. So a package holds what
its modules compile (`crates/startup`); other texts are compiled as ever.
"""

import marshal
import sys

# Modules that compile, and what is done when one has been imported.
_waiting = {}
_read = None
_codes = _patterns = None


def use(read):
    """Lets `read` give what was compiled, once it is needed."""
    global _read
    if sys.flags.optimize:
        return
    _read = read
    _waiting.update({"dataclasses": _for_classes, "re": _for_patterns})


def look():
    """Sees whether modules that compile have been imported meanwhile."""
    for name in list(_waiting):
        module = sys.modules.get(name)
        # One that is still being imported has not defined what it calls.
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            _waiting.pop(name)(module)


def waits():
    """Whether there is something to look for."""
    return bool(_waiting)


def _tables():
    global _codes, _patterns
    version, _codes, _patterns = marshal.loads(_read())
    if version != _version():
        _codes, _patterns = {}, {}


def _version():
    import _sre

    return (*sys.version_info[:3], _sre.MAGIC, _sre.CODESIZE)


def _for_classes(module):
    def run(text, globals=None, locals=None, /):
        if _codes is None:
            _tables()
        found = _codes.get(text) if type(text) is str else None
        exec(
            text if found is None else marshal.loads(found),
            vars(module) if globals is None else globals,
            locals,
        )

    # The name that it calls is looked for in the module first.
    if "exec" not in vars(module):
        vars(module)["exec"] = run


def _for_patterns(module):
    import _sre

    class Cache(dict):
        """What `re` remembers. It looks here before it compiles, and warns of patterns by
        counting the frames between: here none is added."""

        def __missing__(self, key):
            if _patterns is None:
                _tables()
            kind, pattern, flags = key
            known = kind in (str, bytes) and type(flags) is int
            found = _patterns.get((pattern, flags)) if known else None
            if found is None:
                raise KeyError(key)
            made = _sre.compile(pattern, *marshal.loads(found))
            for cache, limit in caches:
                held = getattr(module, cache)
                if len(held) >= getattr(module, limit):
                    held.pop(next(iter(held)), None)
                held[key] = made
            return made

    # Since Python 3.12 there are two, of which the second is asked first.
    caches = [
        (cache, limit)
        for cache, limit in (("_cache", "_MAXCACHE"), ("_cache2", "_MAXCACHE2"))
        if type(getattr(module, cache, None)) is dict and hasattr(module, limit)
    ]
    if caches:
        asked = caches[-1][0]
        setattr(module, asked, Cache(getattr(module, asked)))
