"""`torch.fx`: tracing, graphs as text, passes, interpreters and pickled modules."""

import operator
import pickle

import torch
from torch import fx, nn
from torch.fx import subgraph_rewriter
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp
from torch.fx.passes.split_module import split_module

from digest import raised, rounded

torch.manual_seed(0)


@fx.wrap
def outside(x, power):
    return x**power


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 5)
        self.stack = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ReLU())
        self.weight = nn.Parameter(torch.rand(5))

    def forward(self, x, flag: bool = True):
        hidden = torch.clamp(self.linear(x) + self.weight, min=0.0, max=1.0)
        parts = torch.split(hidden, [2, 3], dim=-1)
        joined = torch.cat([parts[1], parts[0]], -1)
        return outside(self.stack(joined.unsqueeze(1)), 2).sum(dim=1)


net = Net().eval()
given = torch.randn(3, 4)
traced = fx.symbolic_trace(net)
print(traced.graph)
print(traced.code)
print(rounded(traced(given)), rounded(net(given)))
ShapeProp(traced).propagate(given)
for node in traced.graph.nodes:
    print(node.format_node(), getattr(node.meta.get("tensor_meta"), "shape", None))
print(raised(fx.symbolic_trace, lambda x: x if x.sum() > 0 else -x))


def pattern(x, y):
    return torch.clamp(x + y, min=0.0, max=1.0)


def replacement(x, y):
    return torch.sigmoid(torch.sub(x, y))


changed = fx.symbolic_trace(net)
print(len(subgraph_rewriter.replace_pattern(changed, pattern, replacement)))
changed.graph.lint()
changed.recompile()
print(changed.code, rounded(changed(given)))


class Counting(fx.Interpreter):
    def run_node(self, node):
        result = super().run_node(node)
        print(node.op, node.name, type(result).__name__)
        return result


Counting(changed).run(given)
whole = fx.symbolic_trace(net)
early = list(whole.graph.nodes)[:8]
parts = split_module(whole, net, lambda node: int(node not in early))
print(parts.code, [name for name, _ in parts.named_children()], rounded(parts(given)))
again = pickle.loads(pickle.dumps(traced))
print(again.code == traced.code, rounded(again(given)))
graph = fx.Graph()
x = graph.placeholder("x")
graph.output(graph.call_function(operator.mul, (graph.call_method("neg", (x,)), 3)))
made = fx.GraphModule(nn.Module(), graph, class_name="Made")
print(made.code, made(torch.arange(3)))
print(fuse(net).stack)
