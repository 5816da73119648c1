"""What stands in the place of something of torch's until the bodies of a group have run.

Each looks like what it stands for, asks first whether the bodies are to run, and then is or
calls the original.
"""

import ctypes
import os
import sys
import types


class Watched:
    """An attribute of instances that, when it is read, first runs the bodies."""

    def __init__(self, name, settle):
        self._name, self._settle = name, settle

    def __get__(self, instance, owner=None):
        if instance is not None:
            self._settle()
            about = vars(instance)
            if self._name in about:
                return about[self._name]
            owner = type(instance)
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self._name!r}")

    def __set__(self, instance, value):
        vars(instance)[self._name] = value

    def __delete__(self, instance):
        self._settle()
        del vars(instance)[self._name]


def forget(owner, name, _):
    delattr(owner, name)


def set_class(one, kind, _, __=None):
    one.__class__ = kind


def lists(owner, name, settle, undo):
    """Lets a method without arguments of a class run the bodies first; `undo` gets how to take
    that back."""
    original = getattr(owner, name)

    def gate(self):
        settle()
        return original(self)

    own = name in vars(owner)
    setattr(owner, name, alike(gate, original))
    undo.append((setattr, owner, name, original) if own else (forget, owner, name, None))


# Past the property below.
_dict_of = vars(types.ModuleType)["__dict__"].__get__


def listed(kind, namespaces, settle):
    """The class `kind` of a module, where listing its names, or asking for one of `namespaces`,
    first runs the bodies."""

    class Listed(kind):
        def __getattr__(self, name):
            if name in namespaces:
                settle()
                about = _dict_of(self)
                if name in about:
                    return about[name]
            # This class is another now.
            return kind.__getattr__(self, name)

        def __iter__(self):
            settle()
            return kind.__iter__(self)

        @property
        def __dict__(self):
            settle()
            return _dict_of(self)

        def __dir__(self):
            settle()
            return kind.__dir__(self)

    return alike(Listed, kind)


class _Method(ctypes.Structure):
    """`PyMethodDef` (methodobject.h)."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("text", ctypes.c_char_p),
    ]


def builtin(function, asks):
    """A function of C that calls `asks` and then `function`, and looks like that."""
    from _taper import runtime

    # A handle of its own: what is said here of arguments is not said to others.
    python = ctypes.PyDLL(None)
    new_capsule, new_function = python.PyCapsule_New, python.PyCFunction_NewEx
    new_capsule.restype = new_function.restype = ctypes.py_object
    new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    new_function.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    both = (asks, function)
    text = function.__doc__
    if function.__text_signature__ is not None:
        # As the interpreter's own functions have it (`_PyType_GetTextSignatureFromInternalDoc`).
        text = f"{function.__name__}{function.__text_signature__}\n--\n\n{text or ''}"
    gate = ctypes.cast(runtime().taper_gate, ctypes.c_void_p).value
    # Positional and named arguments (METH_VARARGS | METH_KEYWORDS).
    method = _Method(function.__name__.encode(), gate, 3, text and text.encode())
    # Whoever took the function keeps it, perhaps longer than this module lives.
    for kept in (both, method):
        python.Py_IncRef(ctypes.py_object(kept))
    capsule = new_capsule(id(both), b"taper.gate", None)
    return new_function(ctypes.addressof(method), capsule, function.__module__)


def method(function, asks):
    """A method of a class of C++ (`instancemethod`) that calls `asks` and then `function`."""
    made = ctypes.PyDLL(None).PyInstanceMethod_New
    made.restype, made.argtypes = ctypes.py_object, [ctypes.py_object]
    return made(builtin(function.__func__, asks))


def alike(made, function):
    """`made` with the names of `function`."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        try:
            setattr(made, name, getattr(function, name))
        except (AttributeError, TypeError):
            pass
    made.__wrapped__ = function
    return made


_WORD = ctypes.sizeof(ctypes.c_void_p)


def allocator(device):
    """Where the allocator of a kind of device has the address of its table of functions.
    `device` is the number of the kind.

    PyTorch has one per kind (`c10::GetAllocator`, a function that libc10 exports).
    """
    folder = os.path.join(os.path.dirname(sys.modules["torch"].__file__), "lib")
    library = ctypes.CDLL(os.path.join(folder, "libc10.so"))
    get = library._ZN3c1012GetAllocatorERKNS_10DeviceTypeE
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.POINTER(ctypes.c_int8)]
    return ctypes.c_void_p.from_address(get(ctypes.byref(ctypes.c_int8(device))))


class AllocatorHook:
    """Hears when memory is asked for for a tensor without data, from any code.

    The allocator's table of virtual functions is replaced by a copy in which one is a function
    of ours that goes on to the original. Which, and how many there are, was found out when the
    package was made (`shape`). Before them are two words (Itanium C++ ABI).
    """

    _BEFORE = 2

    def __init__(self, device, shape, settle):
        from _taper import runtime

        functions, called = shape
        self._place = allocator(device)
        self._original = self._place.value
        table = ctypes.c_void_p * (self._BEFORE + functions)
        words = table.from_address(self._original - self._BEFORE * _WORD)

        def heard():
            try:
                if not sys.is_finalizing():
                    settle()
            except BaseException:
                sys.excepthook(*sys.exc_info())

        self._heard = ctypes.CFUNCTYPE(None)(heard)
        hook = runtime().taper_hook
        hook.restype, hook.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]
        called += self._BEFORE
        self._table = table(*words)
        self._table[called] = hook(ctypes.cast(self._heard, ctypes.c_void_p), words[called])
        self._place.value = ctypes.addressof(self._table) + self._BEFORE * _WORD
        # A thread may be on its way through the table, and one may ask when Python has ended.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def remove(self):
        """Puts the allocator's own table back."""
        self._place.value = self._original
