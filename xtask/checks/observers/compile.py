"""`torch.compile` with the backend that is named first: forward, backward, an optimizer,
changing shapes, and graphs that break."""

import sys

import torch
from torch import nn

from digest import rounded

torch.manual_seed(0)
torch.set_num_threads(1)
backend = sys.argv[1]


def tricky(x, names):
    total = x.sin() + len(names)
    for number, name in enumerate(names):
        total = total * number if name.startswith("a") else total - number
    torch._dynamo.graph_break()
    return {"total": total.relu(), "size": [x.shape[0], *total.shape]}


def loss_of(net, given):
    return torch.nn.functional.gelu(net(given)).softmax(-1).square().sum()


net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 4))
compiled = torch.compile(loss_of, backend=backend)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
for size in (3, 3, 5):
    optimizer.zero_grad()
    loss = compiled(net, torch.randn(size, 6))
    loss.backward()
    optimizer.step()
    print(rounded(loss), [rounded(one.grad) for one in net.parameters()])
found = torch.compile(tricky, backend=backend)(torch.arange(4.0), ["ab", "ba", "cd"])
print(found["size"], rounded(found["total"]))
explained = torch._dynamo.explain(tricky)(torch.arange(4.0), ["ab", "ba"])
print(explained.graph_count, explained.graph_break_count, explained.op_count)
for graph in explained.graphs:
    print(graph.code)
counters = torch._dynamo.utils.counters
print({name: dict(counters[name]) for name in ("frames", "stats", "graph_break")})
