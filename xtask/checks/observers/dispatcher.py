"""The whole state of the dispatcher after `import torch` alone.

`--names` prints each line instead of a hash of all."""

import torch

from digest import show

# Kernels that only a CUDA library registers are not of the target.
cuda = ("CUDA", "Cuda")
keys = [
    key
    for key in torch._C.DispatchKey.__members__
    if not any(word in key for word in cuda) and not key.startswith(("EndOf", "StartOf"))
]
# Nor are overrides that register themselves where CUDA or Triton is.
spaces = ("_native::", "_native_aot::", "cuda::", "_native/", "_native_aot/")
# Nor are these, to which libtorch_cuda adds.
added = ("nccl", "cudnn", "inductor_reserve_rng_state")


def meant(names):
    """Those that are of the target, sorted."""
    rest = (name for name in names if not name.startswith(spaces) and not name.endswith(cuda))
    return sorted(name for name in rest if not any(word in name for word in added))


names = meant(torch._C._dispatch_get_all_op_names())
show("operators", names)
for key in sorted(keys):
    rows = []
    for name in names:
        try:
            has = torch._C._dispatch_has_kernel_for_dispatch_key(name, key)
            computed = torch._C._dispatch_has_computed_kernel_for_dispatch_key(name, key)
        except (RuntimeError, ValueError) as error:
            rows = [f"{type(error).__name__}: {error}"]
            break
        if has or computed:
            rows.append(f"{name} {int(has)}{int(computed)}")
    show(key, rows)
    listed = torch._C._dispatch_get_registrations_for_dispatch_key
    try:
        show(f"{key} registered", meant(listed(key)))
    except (RuntimeError, ValueError) as error:
        show(f"{key} registered", [error])


def without_places(text):
    """A dump without the places in PyTorch's sources and without CUDA's lines."""
    lines = (line for line in text.splitlines() if not any(word in line for word in cuda))
    return "\n".join(line.split(" registered at ")[0] for line in lines)


show("dumps", [without_places(torch._C._dispatch_dump(name)) for name in names])
show("tables", [without_places(torch._C._dispatch_dump_table(name)) for name in names])
show("dangling", [without_places(text) for text in torch._C._dispatch_find_dangling_impls()])
torch._C._dispatch_check_all_invariants()
schemas = torch._C._jit_get_all_schemas()
show("schemas", meant({str(schema) for schema in schemas}))
show("namespaces", sorted({name.split("::")[0] for name in names}))
tags = []
for name in names:
    space, _, rest = name.partition("::")
    packet, _, overload = rest.partition(".")
    found = getattr(getattr(getattr(torch.ops, space), packet), overload or "default")
    tags.append(f"{name} {sorted(map(str, found.tags))} {found._schema} {sorted(map(str, found.py_kernels))}")
show("tags", tags)
for kind, table in sorted(torch._decomp.global_decomposition_table.items()):
    show(kind, sorted(f"{op} {call.__module__}.{call.__qualname__}" for op, call in table.items()))
ours = torch._library.simple_registry.singleton._data, torch.library._defs, torch.library._impls
for kind, found in zip(("own", "libraries", "implementations"), ours):
    show(kind, meant(found))
show("higher order", sorted(torch._ops._higher_order_ops))
