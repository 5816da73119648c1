"""Spares the garbage collector the modules of this package.

Python looks for garbage each time that some hundreds of objects more are alive, and looks
at all of them when the program ends. Importing PyTorch makes half a million that stay: a
fifth of the time of `import torch` is looking at them in vain, and as much again the last
time. So while modules of the package are imported the collector waits for more objects;
and what is alive when the outermost import ends, while a program starts, or before that when
it has become much, is frozen (`gc.freeze`): it is left out of automatic collections, as servers
do before they fork.

Without cold code it does nothing: a package then has what runs called that the collector was
not kept from, and what is freed, and when, is code, too.

A program that asks the collector itself (`gc.collect`, `gc.get_objects`, …) finds all
objects where it expects them: what was frozen is given back first, once and for all.
Files that were opened for writing meanwhile are flushed at the end, which otherwise the
last collection would do.
"""

import gc
import sys
import types
from _thread import get_ident

from _taper.start import SPARES

# New objects until the collector looks at the newest, while modules are imported: a module
# whose body is the program must not run without a collector.
_PATIENCE = 250_000

# New objects after which they are frozen, while a program starts, before the collector would
# look at them.
_ENOUGH = 150_000

# Objects that may be alive when an import begins after which everything is frozen: of a
# program that is starting, at the top of a module and inside a function. Cycles of the
# program's own among them would not be found by themselves later. Python itself starts with
# 7,000 to 11,000, which the first time count.
_STARTING = 20_000
_STARTING_INSIDE = 4_000
_BARE = 12_000

# Objects that Python itself freezes: some 400 in 3.12, none in others.
_FROZEN = 1_000

_ASKING = ("collect", "freeze", "get_freeze_count", "get_objects", "get_referrers", "unfreeze")

# Only one thread's imports count: that which imports this first.
_owner = get_ident()
_depth = 0
_before = None
_may_freeze = True
_freezes = False
_asked = {}
_files = []


def importing():
    """Whether a module of the package is being imported, in any thread."""
    return _depth > 0


def begin():
    """An import of a module of the package begins."""
    global _depth, _before, _freezes
    if get_ident() != _owner:
        return
    _depth += 1
    if _depth == 1:
        now = gc.get_threshold()
        _before = None
        if SPARES and gc.isenabled() and 0 < now[0] < _PATIENCE:
            _before = now
            gc.set_threshold(_PATIENCE, *now[1:])
        _freezes = _before is not None and _starting()


def end():
    """An import ends that began with `begin`."""
    global _depth
    if get_ident() != _owner:
        return
    _depth -= 1
    if _depth or _before is None:
        return
    # Before the collector may look at what is new.
    if _freezes and gc.isenabled():
        _freeze()
    if gc.get_threshold() == (_PATIENCE, *_before[1:]):
        gc.set_threshold(*_before)


def loading():
    """The body of a module is about to run."""
    # What a starting program has made so far stays; the collector need not look at it first.
    if _depth and _freezes and gc.get_count()[0] > _ENOUGH and get_ident() == _owner:
        if gc.isenabled() and gc.get_threshold()[0] == _PATIENCE:
            _freeze()


def _starting():
    """Whether what the program itself has made so far is so little that it may be frozen."""
    global _may_freeze
    if not _may_freeze:
        return False
    frozen = bool(_asked)
    alive = len((_asked.get("get_objects") or gc.get_objects)())
    if alive > _STARTING or (not frozen and gc.get_freeze_count() > _FROZEN):
        # The program is past its start, or freezes for itself.
        _may_freeze = False
        return False
    return alive <= _STARTING_INSIDE + (0 if frozen else _BARE) or _at_top()


def _at_top():
    """Whether nothing runs but bodies of modules."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        own = code.co_filename == __file__ or code.co_filename.startswith("<frozen ")
        if not own and code.co_name != "<module>" and frame.f_globals.get("__name__") != "_taper":
            return False
        frame = frame.f_back
    return True


def _freeze():
    if _asked:
        _asked["freeze"]()
        return
    gc.freeze()
    for name in _ASKING:
        _asked[name] = getattr(gc, name)
        setattr(gc, name, _answer(name, _asked[name]))


class _Gc:
    """What the functions below are methods of; pickled, it is the module `gc`."""

    def __reduce__(self):
        return __import__, ("gc",)


def _answer(name, original):
    def answer(self, *arguments, **named):
        thaw()
        return original(*arguments, **named)

    answer.__name__ = answer.__qualname__ = name
    answer.__module__, answer.__doc__ = "gc", original.__doc__
    return types.MethodType(answer, _Gc())


def thaw():
    """Gives what was frozen back to the collector, for good."""
    global _may_freeze, _freezes
    _may_freeze = _freezes = False
    if not _asked:
        return
    for name, original in _asked.items():
        setattr(gc, name, original)
    _asked.clear()
    gc.unfreeze()


def opened(file):
    """Notes a file that was opened for writing while modules were imported."""
    if not SPARES:
        return
    import weakref

    if not _files:
        import atexit

        atexit.register(_flush)
    _files.append(weakref.ref(file))


def _flush():
    for known in _files:
        file = known()
        try:
            if file is not None and not file.closed:
                file.flush()
        except (OSError, ValueError):
            # As when the collector flushes it: nobody hears of it.
            pass
