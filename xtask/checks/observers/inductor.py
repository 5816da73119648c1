"""`torch.compile` with its default backend, which writes C++ and has g++ build it: one step
of training. Needs setuptools, which torch requires, as `torch.utils.cpp_extension` does."""

import os
import tempfile

folder = tempfile.TemporaryDirectory()
# Nothing that another run compiled may be found.
os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder.name
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"

import torch
from torch import nn

from digest import rounded

torch.manual_seed(0)
torch.set_num_threads(1)


def loss_of(net, given):
    return torch.nn.functional.gelu(net(given)).softmax(-1).square().sum()


net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4))
loss = torch.compile(loss_of, dynamic=False)(net, torch.randn(3, 6))
loss.backward()
print(rounded(loss), [rounded(one.grad) for one in net.parameters()])
counters = torch._dynamo.utils.counters
print(dict(counters["frames"]), dict(counters["graph_break"]))
kinds = {os.path.splitext(name)[1] for _, _, files in os.walk(folder.name) for name in files}
print(sorted(kinds & {".cpp", ".h", ".so"}))
