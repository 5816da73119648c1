"""A child computes after its parent did, and dies without ceremony."""

import os

import torch

torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(50, 50)
print(round(float(torch.linalg.det(x / 7)), 4), flush=True)
child = os.fork()
if child == 0:
    y = torch.linalg.inv(x) @ x
    os._exit(0 if torch.allclose(y, torch.eye(50), atol=1e-3) else 1)
print(os.waitpid(child, 0)[1])
