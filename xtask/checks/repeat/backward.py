"""Gradients, whose thread the first use starts, and hooks of them."""

import torch

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(4))
seen = []
x = torch.randn(2, 3, 8, 8, requires_grad=True)
x.register_hook(lambda grad: seen.append(grad.shape))
net(x).pow(2).mean().backward()
print(seen, round(float(x.grad.abs().sum()), 4))
