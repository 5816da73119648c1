"""`torch.jit`: scripted and traced modules, their graphs, saved and read again."""

import io
import warnings
from typing import Dict, List, Optional

import torch
from torch import nn

from digest import digest, placeless, raised, rounded

warnings.simplefilter("ignore")
torch.manual_seed(0)


@torch.jit.script
def collatz(start: int) -> List[int]:
    steps = [start]
    while start != 1:
        start = start // 2 if start % 2 == 0 else 3 * start + 1
        steps.append(start)
    return steps


print(collatz(7), collatz.code)


class Cell(nn.Module):
    names: Dict[str, int]

    def __init__(self):
        super().__init__()
        self.inner = nn.GRUCell(3, 4)
        self.head = nn.Sequential(nn.Linear(4, 2), nn.Hardtanh())
        self.names = {"a": 1, "b": 2}

    @torch.jit.export
    def count(self, name: str) -> int:
        return self.names.get(name, 0)

    def forward(self, given: List[torch.Tensor], state: Optional[torch.Tensor] = None):
        for one in given:
            state = self.inner(one, state)
        assert state is not None
        return self.head(state), torch.jit.annotate(List[int], [len(given)])


cell = Cell().eval()
given = [torch.randn(2, 3) for _ in range(3)]
scripted = torch.jit.script(cell)
print(scripted.code, placeless(scripted.graph))
print(rounded(scripted(given)[0]), rounded(cell(given)[0]), scripted.count("b"))
saved = io.BytesIO()
torch.jit.save(scripted, saved)
saved.seek(0)
again = torch.jit.load(saved)
print(rounded(again(given)[0]), again.count("a"))
frozen = torch.jit.freeze(scripted)
print(rounded(frozen(given)[0]), len(list(frozen.graph.nodes())))
net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)).eval()
picture = torch.randn(1, 1, 8, 8)
traced = torch.jit.trace(net, picture)
print(traced.graph, placeless(traced.inlined_graph))
best = torch.jit.optimize_for_inference(traced)
for _ in range(3):
    print(rounded(best(picture)))
print(raised(torch.jit.script, lambda x: x))


def unsupported(x):
    yield x


print(raised(torch.jit.script, unsupported))
print(rounded(torch.jit.script(nn.functional.multi_head_attention_forward)(
    *[torch.randn(3, 1, 4)] * 3, 4, 2, torch.randn(12, 4), torch.zeros(12), None, None, False, 0.0,
    torch.eye(4), torch.zeros(4), need_weights=False)[0]))
schemas = torch._C._jit_get_all_schemas()
names = sorted({str(schema) for schema in schemas})
print(len([name for name in names if name.startswith("aten::")]), digest([n for n in names if n.startswith("aten::")]))
print(sorted(torch.jit._builtins._get_builtin_table().values())[::41])
print(rounded(torch.jit.fork(torch.sin, picture).wait().sum()))
