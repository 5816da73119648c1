"""Errors of PyTorch are caught, and the program ends by one."""

import sys

import torch

for wrong in (lambda: torch.ones(2) @ torch.ones(3), lambda: torch.ones(2).view(3), lambda: torch.empty(-1)):
    try:
        wrong()
    except RuntimeError as error:
        print(str(error).splitlines()[0])
sys.stdout.flush()
raise SystemExit(0)
