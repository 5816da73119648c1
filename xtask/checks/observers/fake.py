"""FakeTensor: whole models on tensors without data, with symbolic and unknown sizes."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv, DimDynamic, StatelessSymbolicContext

from digest import raised


def about(value):
    if isinstance(value, torch.Tensor):
        return f"{type(value).__name__}:{value.device}:{str(value.dtype)[6:]}{tuple(value.shape)}"
    return [about(one) for one in value]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3))

    def forward(self, words):
        return self.head(self.block(self.embed(words)).mean(1)).log_softmax(-1)


with FakeTensorMode() as mode:
    net = Net()
    result = net(torch.zeros(2, 5, dtype=torch.long))
    print(about(result))
    result.sum().backward()
    print(about([one.grad for one in net.parameters()]))
    optimizer = torch.optim.AdamW(net.parameters(), foreach=True)
    optimizer.step()
    print(about(torch.linalg.svd(torch.randn(3, 5, 4))), about(torch.randperm(7)))
    print(about(nn.GRU(3, 4, 2)(torch.randn(5, 1, 3))))
    print(about(torch.stft(torch.randn(1, 400), 64, return_complex=True, window=torch.ones(64))))
    print(about(torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8)))
    print(raised(lambda: torch.randn(2, 3) @ torch.randn(2, 3)))
    print(raised(lambda: bool(torch.randn(1) > 0)))

shapes = ShapeEnv()
mode = FakeTensorMode(shape_env=shapes)
context = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC, DimDynamic.STATIC])
given = mode.from_tensor(torch.randn(6, 4), symbolic_context=context)
with mode:
    doubled = torch.cat([given, given]) @ torch.randn(4, 3)
    print(about(doubled), about(doubled.unfold(0, 4, 2)))
    chosen = given[given > 0]
    print(about(chosen), shapes.bound_sympy(chosen.shape[0].node.expr))
    torch._check(given.shape[0] > 2)
    if given.shape[0] % 2 == 0:
        print(about(given.view(-1, 2, 4)))
print([str(guard.expr) for guard in shapes.guards])
print(shapes.format_guards())
