"""Objects that refer to each other go when the collector likes, and at the end."""

import gc

import torch


class Node:
    pass


for number in range(300):
    node = Node()
    node.tensor = torch.full((number % 7 + 1,), 1.0, requires_grad=True)
    node.self, node.out = node, (node.tensor * 2).sum()
gc.collect()
kept = torch.Generator(), torch.Size([2]), torch.device("cpu"), torch.finfo(torch.float32), node
print(float(node.out))
