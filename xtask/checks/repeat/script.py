"""A function is compiled by TorchScript, run until it is optimised, and saved."""

import io

import torch


@torch.jit.script
def f(x, n: int):
    for i in range(n):
        x = torch.where(x > i, x * 0.5, x + 1)
    return x


for _ in range(5):
    y = f(torch.arange(6.0), 3)
file = io.BytesIO()
torch.jit.save(f, file)
print(torch.equal(torch.jit.load(io.BytesIO(file.getvalue()))(torch.arange(6.0), 3), y), y.tolist())
