"""Random numbers whose seed is chance: only their shape is printed."""

import torch

x = torch.distributions.Gamma(2.0, 1.5).sample((300,))
x = torch.cat([x, torch.poisson(x), torch.bernoulli(torch.rand(300)), torch.randperm(300).float()])
order = x.sort(stable=True)[1]
print(order.sort()[0].equal(torch.arange(1200)), torch.unique(x).dim(), bool((x.topk(5)[0] > 0).all()))
