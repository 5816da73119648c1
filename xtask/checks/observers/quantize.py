"""Quantization: eager, FX and dynamic, with observers, and the kernels of the result."""

import copy
import warnings

import torch
from torch import nn
from torch.ao import quantization as q

from digest import digest, raised

warnings.simplefilter("ignore")
torch.manual_seed(0)
torch.set_num_threads(1)
print(torch.backends.quantized.supported_engines)
print(torch.backends.quantized.engine)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.back = q.QuantStub(), q.DeQuantStub()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.head = nn.Linear(4 * 36, 5)
        self.add = torch.ao.nn.quantized.FloatFunctional()

    def forward(self, x):
        x = self.relu(self.norm(self.conv(self.into(x))))
        x = self.head(self.add.add(x, x).flatten(1))
        return self.back(x)


given = torch.randn(2, 3, 8, 8)
for engine in ("fbgemm", "x86", "qnnpack", "onednn"):
    if engine not in torch.backends.quantized.supported_engines:
        continue
    torch.backends.quantized.engine = engine
    torch.manual_seed(1)
    net = Net().eval()
    net.qconfig = q.get_default_qconfig(engine)
    fused = q.fuse_modules(net, [["conv", "norm", "relu"]])
    ready = q.prepare(fused)
    ready(given)
    done = q.convert(ready)
    print(engine, done)
    print(digest(done(given)), sorted(done.state_dict()))
    float_net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LSTM(8, 4)).eval()
    dynamic = q.quantize_dynamic(float_net, {nn.Linear, nn.LSTM}, dtype=torch.qint8)
    print(digest(dynamic(torch.randn(3, 2, 6))[0]), type(dynamic[0]))

torch.backends.quantized.engine = "fbgemm"
from torch.ao.quantization import quantize_fx

plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
mapping = q.get_default_qconfig_mapping("fbgemm")
prepared = quantize_fx.prepare_fx(copy.deepcopy(plain).eval(), mapping, (given,))
prepared(given)
print(prepared.code)
converted = quantize_fx.convert_fx(prepared)
print(converted.code, digest(converted(given)))
trained = quantize_fx.prepare_qat_fx(copy.deepcopy(plain).train(), q.get_default_qat_qconfig_mapping("fbgemm"), (given,))
trained(given).sum().backward()
print(digest(quantize_fx.convert_fx(trained.eval())(given)))
reference = quantize_fx.convert_to_reference_fx(quantize_fx.prepare_fx(copy.deepcopy(plain).eval(), mapping, (given,)))
print(reference.code)
tensor = torch.quantize_per_channel(torch.randn(3, 4), torch.tensor([0.1, 0.2, 0.3]), torch.zeros(3), 0, torch.qint8)
print(tensor.qscheme(), digest(tensor), digest(torch.ops.quantized.add(*[torch.quantize_per_tensor(torch.randn(4), 0.1, 3, torch.quint8)] * 2, 0.2, 1)))
for name in ("histogram", "min_max", "moving_average_min_max"):
    kind = {"histogram": q.HistogramObserver, "min_max": q.MinMaxObserver}.get(name, q.MovingAverageMinMaxObserver)
    observer = kind()
    observer(torch.randn(100))
    print(name, digest(observer.calculate_qparams()))
# The rest of the text names every backend.
print(raised(torch.ops.quantized.add, torch.randn(2), torch.randn(2), 0.1, 0)[:80])
mappings = [name for name in dir(q.quantization_mappings) if name.startswith("DEFAULT")]
print(mappings, [len(getattr(q.quantization_mappings, name)) for name in mappings])
