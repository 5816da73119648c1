"""Pickles, saved tensors and modules, and copies: which types are known where."""

import copy
import io
import pickle
import pickletools
import collections

import torch
from torch import nn
from torch.multiprocessing import reductions  # noqa: F401
from multiprocessing.reduction import ForkingPickler

from digest import digest, raised

torch.manual_seed(0)


def saved(value, **words):
    sink = io.BytesIO()
    torch.save(value, sink)
    sink.seek(0)
    return torch.load(sink, **words)


net = nn.Sequential(nn.Linear(3, 4), nn.GRU(4, 2), nn.TransformerEncoderLayer(2, 1, 4)).eval()
values = {
    "tensor": torch.randn(3, 4).t(),
    "parameter": nn.Parameter(torch.randn(2)),
    "complex": torch.randn(2, dtype=torch.complex64).conj(),
    "half": torch.randn(3, dtype=torch.bfloat16),
    "float8": torch.randn(4).to(torch.float8_e4m3fn),
    "sparse": torch.eye(3).to_sparse(),
    "csr": torch.eye(3).to_sparse_csr(),
    "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.strided),
    "jagged": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
    "quantized": torch.quantize_per_tensor(torch.randn(3), 0.1, 2, torch.qint8),
    "meta": torch.empty(2, 3, device="meta"),
    "state": net.state_dict(),
    "size": torch.Size([1, 2]),
    "dtype": [torch.float16, torch.strided, torch.device("cpu"), torch.preserve_format],
    "generator": torch.Generator().manual_seed(7).get_state(),
    "packed": nn.utils.rnn.pack_sequence([torch.ones(3), torch.ones(2)]),
    "iinfo": collections.OrderedDict(a=1),
    "optimizer": torch.optim.Adam(net.parameters()).state_dict(),
}
for name, value in values.items():
    whole = name in ("nested", "jagged", "quantized", "packed")
    try:
        text = io.StringIO()
        pickletools.dis(pickle.dumps(value, protocol=2), out=text)
        print(name, [row.split("'")[1] for row in text.getvalue().splitlines() if "GLOBAL" in row])
        back = saved(value, weights_only=not whole)
        copied = copy.deepcopy(back)
        shown = repr(copied) if name in ("meta", "size", "dtype", "nested", "jagged", "packed") else digest(copied)
    except Exception as error:
        shown = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    print(name, shown)
print(digest(saved(net, weights_only=False)[0].weight))
print(raised(saved, net))
print(raised(lambda: saved(collections.Counter("ab"), weights_only=True)))
with torch.serialization.safe_globals([nn.Linear]):
    print(len(torch.serialization.get_safe_globals()))
for call in (torch.add, torch.nn.functional.relu, torch.ops.aten.add, torch.ops.aten.add.Tensor, torch.Tensor.sum, torch.linalg.svd, torch.float32, torch.no_grad, torch.fx.Graph, nn.Linear, torch.jit.ScriptModule, torch.optim.Adam, torch.distributions.Normal, torch.return_types.max, torch.nn.init.normal_):
    try:
        made = pickle.dumps(call)
        print(getattr(call, "__name__", call), len(made), pickle.loads(made) is call)
    except Exception as error:
        print(getattr(call, "__name__", call), type(error).__name__)
known = sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in ForkingPickler._extra_reducers if "cuda" not in kind.__module__)
print(known)
print(digest(pickle.loads(pickle.dumps(torch.max(torch.arange(6.0).view(2, 3), 0)))[0]))
