"""Saves resnet18 for the lite interpreter, an input, and what PyTorch computes of it; with
"compare", says how far a result is from that."""

import os
import sys

import numpy
import torch
import torchvision

folder = sys.argv[1]
if sys.argv[2:] == ["compare"]:
    expected = numpy.fromfile(os.path.join(folder, "expected.f32"), dtype=numpy.float32)
    got = numpy.fromfile(os.path.join(folder, "got.f32"), dtype=numpy.float32)
    assert expected.shape == got.shape, (expected.shape, got.shape)
    far = float(abs(expected - got).max())
    print(f"{len(got)} numbers, largest difference {far:.3g}, largest number {abs(got).max():.3g}")
    assert expected.argmax() == got.argmax()
    assert far <= 1e-4 * abs(expected).max(), far
else:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    numbers = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        model(numbers).numpy().tofile(os.path.join(folder, "expected.f32"))
    numbers.numpy().tofile(os.path.join(folder, "input.f32"))
    scripted = torch.jit.script(model)
    with open(os.path.join(folder, "operators.txt"), "w") as file:
        file.write("".join(f"{name}\n" for name in torch.jit.export_opnames(scripted)))
    scripted._save_for_lite_interpreter(os.path.join(folder, "model.ptl"))
