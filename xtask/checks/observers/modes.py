"""What watches calls: modes, subclasses, hooks, profilers, `__torch_function__`."""

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from digest import raised, rounded

torch.manual_seed(0)
torch.set_num_threads(1)


class Listing(TorchDispatchMode):
    def __init__(self):
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


class Naming(TorchFunctionMode):
    def __init__(self):
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(torch.overrides.resolve_name(func) or getattr(func, "__name__", "?"))
        return func(*args, **(kwargs or {}))


class Logged(torch.Tensor):
    seen = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten(), nn.Linear(24, 3), nn.Dropout(0.5))
given = torch.randn(2, 2, 8)
with Listing() as listing:
    net(given).logsumexp(-1).sum().backward()
    torch.optim.AdamW(net.parameters(), foreach=False).step()
print(listing.seen)
with Naming() as naming:
    net(given).std(dim=0, keepdim=True).view(-1).tolist()
print(naming.seen)
wrapped = torch.randn(3).as_subclass(Logged)
print(type(torch.sin(wrapped) @ wrapped), Logged.seen)
with FlopCounterMode(display=False) as counter:
    net(given).sum().backward()
    nn.functional.scaled_dot_product_attention(*[torch.randn(1, 2, 4, 8)] * 3)
print(counter.get_total_flops(), sorted((key, {str(op): n for op, n in value.items()}) for key, value in counter.get_flop_counts().items()))
names = []
handles = [module.register_forward_hook(lambda m, i, o: names.append(type(m).__name__)) for module in net.modules()]
handles.append(given.requires_grad_().register_hook(lambda grad: names.append(tuple(grad.shape))))
net(given).sum().backward()
print(names)
with torch.profiler.profile(record_shapes=True) as profiler:
    torch.linalg.eigh(torch.eye(4)).eigenvalues.sum()
    torch.nn.functional.softmax(given, -1)
print(sorted((event.key, event.count) for event in profiler.key_averages()))
graph, seen = net(given).sum().grad_fn, []
while graph is not None:
    seen.append(graph.name())
    graph = graph.next_functions[0][0] if graph.next_functions else None
print(seen)
with torch.autograd.graph.saved_tensors_hooks(lambda t: (names.append("packed"), t)[1], lambda t: t):
    torch.autograd.set_detect_anomaly(True, check_nan=True)
    print(raised(lambda: (torch.zeros(2, requires_grad=True) / 0).mul(0).sum().backward()))
    torch.autograd.set_detect_anomaly(False)
with torch.autocast("cpu", dtype=torch.bfloat16):
    print((given @ torch.randn(8, 3)).dtype, torch.linalg.vector_norm(given).dtype, nn.Linear(8, 2)(given).dtype)
print(rounded(torch.utils.checkpoint.checkpoint(net[0], given, use_reentrant=False)))
stripped = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
print([name for name, _ in stripped.named_parameters()], type(stripped).__mro__[1])
with torch.overrides.BaseTorchFunctionMode():
    print(torch.overrides.has_torch_function((wrapped,)), torch.overrides.is_tensor_like(given))
print(len(torch.overrides.get_testing_overrides()))
print(torch.utils._pytree.tree_map(lambda v: v + 1, {"a": [1, (2, torch.Size([3]))]}))
