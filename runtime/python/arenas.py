"""Gives the interpreter memory for its objects with fewer calls of the system
(`src/arenas.rs`)."""

import ctypes

# How memory comes that is mapped, as CPython does by itself where it is built for Linux.
_PAGE = 4096
_TRIED = 64 << 10


def use(runtime):
    """Makes `runtime` the one that gives the interpreter arenas from now on, unless a
    program has given it an allocator of its own. What it has taken before stays as it is."""
    words = (ctypes.c_void_p * 3)()
    ctypes.pythonapi.PyObject_GetArenaAllocator(words)
    context, alloc, free = words
    alloc = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(alloc)
    free = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(free)
    # The runtime will be asked to free what this one gave, and can free what was mapped.
    tried = alloc(context, _TRIED)
    if not tried:
        return
    free(context, tried, _TRIED)
    if tried % _PAGE == 0:
        for number, name in ((1, "taper_arena_alloc"), (2, "taper_arena_free")):
            words[number] = ctypes.cast(getattr(runtime, name), ctypes.c_void_p)
        ctypes.pythonapi.PyObject_SetArenaAllocator(words)
