"""Walks over the modules of PyTorch: those that are there, and what is in those that
`import torch` loaded, with signatures, sources and documentation.

`--names` prints each line instead of a hash of all."""

import importlib.util
import inspect
import pkgutil
import sys
import types

import torch

from digest import show

gone = ("cuda", "triton", "nvidia")
loaded = {name: found for name, found in sys.modules.items() if name.startswith("torch.")}


def walk(paths, prefix):
    """Names below a package, without importing any."""
    for found in pkgutil.iter_modules(paths, prefix):
        yield f"{found.name} {found.ispkg}"
        if found.ispkg:
            last = found.name.rpartition(".")[2]
            yield from walk([f"{path}/{last}" for path in paths], found.name + ".")


for package in ("torch", "torchgen", "functorch", "sympy", "networkx", "numpy"):
    place = importlib.util.find_spec(package).submodule_search_locations
    show(f"{package} on disk", [name for name in walk(list(place), package + ".")])


def signature(call):
    try:
        return str(inspect.signature(call))
    except (TypeError, ValueError) as error:
        return type(error).__name__


def members(name, module):
    for key, value in sorted(vars(module).items()):
        if key in ("__loader__", "__cached__", "__warningregistry__"):
            continue  # a package has its own, of those of its modules that are in its store
        kind = type(value).__name__
        if isinstance(value, types.ModuleType):
            yield f"{name}.{key} module {value.__name__}"
        elif isinstance(value, type):
            inside = sorted(f"{one} {type(vars(value)[one]).__name__}" for one in vars(value))
            bases = [f"{base.__module__}.{base.__qualname__}" for base in value.__mro__]
            yield f"{name}.{key} class {value.__module__}.{value.__qualname__} {bases} {inside}"
        elif callable(value):
            yield f"{name}.{key} {kind} {getattr(value, '__module__', None)} {signature(value)}"
        else:
            yield f"{name}.{key} {kind}"


rows, sources, documents = [], [], []
for name in sorted(loaded):
    if any(word in name for word in gone):
        continue
    module = loaded[name]
    rows += members(name, module)
    documents.append(f"{name} {module.__doc__}")
    spec = getattr(module, "__spec__", None)
    sources.append(f"{name} {spec and spec.name} {spec and spec.origin and spec.origin.rpartition('site-packages')[2].rpartition('/')[2]} {module.__package__} {bool(spec and spec.has_location)}")
show("members", rows)
show("specs", sources)
show("documentation", documents)
# `getsource` of every function and class is slow; of each module is not.
texts = []
for name in sorted(loaded):
    # Two of them have a line of the package's own; see DESIGN.md.
    if loaded[name].__spec__ is None or not (getattr(loaded[name], "__file__", None) or "").endswith(".py"):
        continue
    if any(word in name for word in gone) or name in ("torch.backends.cuda", "torch.version"):
        continue
    try:
        texts.append(f"{name} {len(inspect.getsource(loaded[name]))}")
    except OSError as error:  # of one that is empty
        texts.append(f"{name} {error}")
show("sources", texts)
print(inspect.getsource(torch.nn.Linear.forward), inspect.getsourcelines(torch.Tensor.backward)[1])
print(inspect.getdoc(torch.linalg.svd)[:80], inspect.getmodule(torch.nn.Linear).__name__)
