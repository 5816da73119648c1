"""What `import torch` leaves to be seen: modules, names, filters, handlers, hooks.

`--names` prints each line instead of a hash of all."""

import atexit
import copyreg
import importlib.metadata
import sys
import warnings

before = set(sys.modules)
import torch

from digest import show

# torch asks for triton's version, which is not of the target either. From Python 3.15 on, what
# reads metadata is loaded where there is some.
importlib.metadata.metadata("torch")

# Not of the target: bindings of CUDA, and what only they import.
gone = ("cuda", "triton", "nvidia", "sysconfig", "cython_runtime")
gone += tuple(name for name in sys.modules if name.startswith(("_cython", "_sysconfigdata")))
# And what a package brings to find its modules.
own = ("_taper", "ctypes", "_ctypes", "digest", "atexit", "copyreg", "warnings")
loaded = [name for name in sys.modules if name.split(".")[0] not in gone + own]
# Where setuptools is installed, each start brings a finder, and a package brings the one that says
# what is out of it.
brought = ("_distutils_hack", "_taper")
kinds = [(one, one if isinstance(one, type) else type(one)) for one in sys.meta_path]
finders = [finder for finder, kind in kinds if kind.__module__ not in brought]
show("modules", sorted(name for name in loaded if name not in before))
show("names of torch", torch.__dict__)
show("dir", dir(torch))
show("all", torch.__all__)
show("filters", [str(row) for row in warnings.filters])
show("handlers at exit", [atexit._ncallbacks()])
show("copyreg", [f"{kind.__module__}.{kind.__qualname__}" for kind in copyreg.dispatch_table])
show("hooks", [type(one).__name__ if not isinstance(one, type) else one.__name__ for one in finders])
show("excepthook", [sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__])
for name in ("tensor", "nn", "nn.functional", "optim", "linalg", "fft", "special", "ops", "library", "fx", "jit", "autograd", "utils", "utils.data", "distributed", "ao", "ao.quantization", "export", "compiler", "func", "overrides", "_decomp", "_refs", "_prims", "_meta_registrations", "masked", "sparse", "testing", "package", "profiler", "onnx", "multiprocessing", "futures", "hub", "distributions", "signal", "nested", "backends", "return_types", "_C", "_VF", "_dynamo", "_inductor", "_subclasses", "_higher_order_ops"):
    place = torch
    for part in name.split("."):
        # What is not there must not come by asking.
        place = vars(place).get(part) if place is not None else None
    # The last are there where something warned: of CUDA, in the original.
    found = sorted(set(getattr(place, "__dict__", {})) - {"__warningregistry__"})
    show(name, found or [type(place).__name__])
show("lazy", [getattr(torch, name).__name__ for name in ("_dynamo", "_inductor", "_export", "onnx")])
for module in sorted(name for name in loaded if name.startswith("torch.") and name not in before):
    found = sys.modules[module]
    parent, _, last = module.rpartition(".")
    if getattr(sys.modules.get(parent), last, None) is not found:
        print("not an attribute of its parent:", module)
overridable = torch.overrides.get_overridable_functions()
show("overridable", sorted(f"{place.__module__ if hasattr(place, '__module__') else place} {one.__name__}" for place, ones in overridable.items() for one in ones))
show("ignored", sorted(torch.overrides.resolve_name(one) or str(getattr(one, "__name__", "")) for one in torch.overrides.get_ignored_functions()))
show("types", sorted(str(kind) for kind in torch._tensor_classes if "cuda" not in str(kind)))
show("storages", sorted(str(kind) for kind in torch._storage_classes if "cuda" not in str(kind)))
show("safe globals", sorted(map(str, torch.serialization.get_safe_globals())))
show("package registry", [row[0] for row in torch.serialization._package_registry])
