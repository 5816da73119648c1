"""`torch.export`: a program is captured, printed, decomposed, saved, read and run."""

import io

import torch
from torch import nn
from torch.export import Dim, export

from digest import placeless, raised, rounded

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.register_buffer("scale", torch.arange(8.0))

    def forward(self, given, mask=None):
        hidden = torch.nn.functional.gelu(self.norm(self.conv(given))).mT
        hidden = self.attend(hidden, hidden, hidden, need_weights=False)[0] * self.scale
        if mask is not None:
            hidden = torch.where(mask, hidden, 0.0)
        return torch.cond(hidden.shape[1] > 4, torch.sin, torch.cos, (hidden,)).mean(1)


net = Net().eval()
given = torch.randn(2, 3, 6)
program = export(net, (given,), dynamic_shapes={"given": {0: Dim("batch", min=1, max=64)}})
print(placeless(program))
print(rounded(program.module()(given)), rounded(net(given)))
print(rounded(program.module()(torch.randn(5, 3, 6))))
print(raised(lambda: program.module()(torch.randn(2, 4, 6))))
core = program.run_decompositions()
print(core.graph_module.code)
print(sorted({str(node.target) for node in core.graph.nodes if node.op == "call_function"}))
print(rounded(core.module()(given)))
saved = io.BytesIO()
torch.export.save(core, saved)
saved.seek(0)
again = torch.export.load(saved)
print(again.graph_signature, again.range_constraints, rounded(again.module()(given)))


class Unknown(nn.Module):
    def forward(self, given):
        count = given.sum().item()
        torch._check(count >= 2)
        torch._check(count < 30)
        return torch.zeros(count).sum() + given.nonzero().shape[0]


program = export(Unknown(), (torch.tensor([1, 0, 3]),))
print(program.graph_module.code, program.range_constraints)
print(program.module()(torch.tensor([4, 0, 5])))
print(raised(export, Unknown(), ("text",)))
