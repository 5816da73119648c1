"""`torch.library`: operators of the program's own, kernels for PyTorch's, and `opcheck`."""

import warnings

import torch
from torch import Tensor

from digest import digest, raised

warnings.simplefilter("ignore")
torch.manual_seed(0)


@torch.library.custom_op("observers::scale", mutates_args=())
def scale(x: Tensor, by: float, names: list[int]) -> Tensor:
    return x * by + sum(names)


@scale.register_fake
def _(x, by, names):
    return torch.empty_like(x)


def setup(ctx, inputs, output):
    ctx.by = inputs[1]


scale.register_autograd(lambda ctx, grad: (grad * ctx.by, None, None), setup_context=setup)
scale.register_vmap(lambda info, dims, x, by, names: (scale(x, by, names), dims[0]))
given = torch.randn(3, 4, requires_grad=True)
scale(given, 2.5, [1, 2]).sum().backward()
print(digest(given.grad), scale._opoverload._schema)
print(digest(torch.vmap(lambda x: scale(x, 2.0, [1]))(torch.ones(2, 3))))
print(torch.library.opcheck(scale, (given.detach().requires_grad_(), 2.0, [3])))
print(torch.compile(lambda x: scale(x, 2.0, [1]) + 1, backend="aot_eager", fullgraph=True)(torch.ones(2)))


@torch.library.custom_op("observers::fill", mutates_args={"x"})
def fill(x: Tensor, value: float) -> None:
    x.fill_(value)


target = torch.zeros(3)
fill(target, 4.0)
print(target, torch.library.opcheck(fill, (torch.zeros(2), 1.0)))


@torch.library.custom_op("observers::broken", mutates_args=())
def broken(x: Tensor) -> Tensor:
    return x.clone()


@broken.register_fake
def _(x):
    return x.new_empty(x.shape[0] + 1)


print(raised(torch.library.opcheck, broken, (torch.ones(3),)))

lib = torch.library.Library("observers_more", "DEF")
lib.define("double(Tensor x, *, int times=2) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))
lib.define("pair(Tensor x) -> (Tensor, Tensor)")
lib.impl("double", lambda x, times=2: x * times, "CPU")
lib.impl("double", lambda x, times=2: torch.empty_like(x), "Meta")
lib.impl("pair", lambda x: (x + 1, x.sum()), "CompositeImplicitAutograd")
print(torch.ops.observers_more.double(torch.ones(2), times=3))
print(torch.ops.observers_more.double(torch.ones(2, device="meta")))
print(torch.ops.observers_more.pair(torch.ones(2)), torch.ops.observers_more.double.default.tags)
print(raised(torch.ops.observers_more.double, torch.ones(2), 3))
print(raised(lambda: lib.define("double(Tensor x) -> Tensor")))
print(raised(lambda: torch.ops.observers_more.missing))
print(raised(lambda: torch.ops.aten.add.missing))

calls = []
override = torch.library.Library("aten", "IMPL")


def angle(x):
    calls.append(tuple(x.shape))
    return torch.ones_like(x)


override.impl("angle", angle, "CPU", allow_override=True)
print(torch.angle(torch.randn(2)), calls)
override.impl("special_log_ndtr", lambda keys, x: x - 1, "AutogradCPU", with_keyset=True)
print(torch.special.log_ndtr(torch.zeros(2, requires_grad=True)))
print(raised(override.impl, "angle", angle, "Meta"))
print(raised(override.impl, "sin", lambda x: x, "Meta"))
override._destroy()
print(torch.angle(torch.tensor([1.0, -1.0])), calls)

torch.library.define("observers_last::triple", "(Tensor x) -> Tensor")


@torch.library.impl("observers_last::triple", "default")
def triple(x):
    return x * 3


@torch.library.register_fake("observers_last::triple")
def _(x):
    return torch.empty_like(x)


print(torch.ops.observers_last.triple(torch.ones(2)))
fallback = torch.library.Library("_", "IMPL")
seen = []


def through(op, *args, **kwargs):
    seen.append(str(op))
    with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.PrivateUse2)):
        return op(*args, **kwargs)


print(raised(fallback.fallback, through, "PrivateUse2"), seen)
for op in ("aten::add.Tensor", "aten::linalg_eigh", "observers::scale", "observers_more::double"):
    print(torch._C._dispatch_dump(op).count("\n") > 0, torch._C._dispatch_has_kernel_for_dispatch_key(op, "CPU"))
print(torch.library.infer_schema(scale._init_fn, mutates_args=()))
from torch._library.simple_registry import singleton

print(sorted(name for name in singleton._data if name.startswith("observers")))
