"""`make_fx` with tables of decompositions: which operators a program is made of."""

import torch
from torch import nn
from torch._decomp import core_aten_decompositions, decomposition_table, get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from digest import rounded, show

torch.manual_seed(0)
core = core_aten_decompositions()
# Nor of the target: operators that register themselves where CUDA is.
names = [str(op) for op in core if not str(op).startswith("_native")]
show("core", sorted(names))
show("all", sorted(map(str, decomposition_table)))
show("functions", sorted(f"{op} {call.__module__}.{getattr(call, '__qualname__', '')}" for op, call in decomposition_table.items()))
x = torch.randn(3, 4)
programs = {
    "gelu": lambda v: nn.functional.gelu(v, approximate="tanh"),
    "layer_norm": lambda v: nn.functional.layer_norm(v, (4,)),
    "softmax": lambda v: v.log_softmax(-1),
    "smooth": lambda v: nn.functional.smooth_l1_loss(v, v.flip(0)),
    "addcmul": lambda v: torch.addcmul(v, v, v, value=0.5),
    "native_dropout": lambda v: nn.functional.dropout(v, 0.0),
    "embedding_backward": lambda v: torch.ops.aten.embedding_dense_backward(v, torch.tensor([0, 1, 1]), 2, -1, False),
    "upsample": lambda v: nn.functional.interpolate(v[None, None], scale_factor=2, mode="bilinear"),
    "std": lambda v: torch.std(v, 0),
    "grid": lambda v: nn.functional.grid_sample(v[None, None], v[None, :, None, :2].tanh(), align_corners=False),
    "hardswish": lambda v: nn.functional.hardswish(v),
    "multi_margin": lambda v: nn.functional.multi_margin_loss(v, torch.tensor([0, 1, 2])),
    "unfold": lambda v: nn.functional.unfold(v[None, None], 2),
    "diagonal": lambda v: torch.diagonal_scatter(v, torch.ones(3)),
    "logit": lambda v: torch.logit(v.sigmoid(), eps=0.1),
    "trace": lambda v: torch.trace(v) + torch.linalg.vector_norm(v),
}
for name, call in programs.items():
    graph = make_fx(call, decomposition_table=core)(x)
    print(name, graph.code.strip().replace("\n", "; "), rounded(graph(x)), rounded(call(x)))
traced = make_fx(lambda v: torch._refs.softmax(v, -1), tracing_mode="symbolic")(x)
print(traced.code)
chosen = get_decompositions([torch.ops.aten.native_layer_norm, torch.ops.aten.addmm, torch.ops.aten._log_softmax])
show("chosen", sorted(map(str, chosen)))
net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.SiLU())


def step(given):
    out = net(given).sum()
    return torch.autograd.grad(out, list(net.parameters()))


print(make_fx(step, decomposition_table=core)(x).code)
print(make_fx(lambda v: v * 2 if v.shape[0] > 2 else v, tracing_mode="symbolic")(x).code)
