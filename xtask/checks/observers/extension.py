"""An extension in C++ is built against PyTorch's headers and libraries, loaded and called.
Needs setuptools."""

import os
import subprocess
import sysconfig
import tempfile

import torch
from torch.utils import cpp_extension

from digest import digest

SOURCE = """
#include <torch/library.h>
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

at::Tensor twice(const at::Tensor& given, double more) {
  TORCH_CHECK(given.dim() == 1, "one dimension, not ", given.dim());
  auto result = at::empty_like(given);
  auto from = given.accessor<float, 1>();
  auto to = result.accessor<float, 1>();
  at::parallel_for(0, given.size(0), 4, [&](int64_t first, int64_t last) {
    for (auto at = first; at < last; ++at) to[at] = from[at] * 2;
  });
  return at::softmax(result.add_(more), 0);
}

TORCH_LIBRARY(observers_built, library) {
  library.def("twice(Tensor given, float more) -> Tensor");
  library.impl("twice", c10::DispatchKey::CPU, TORCH_FN(twice));
}
"""

with tempfile.TemporaryDirectory() as folder:
    source, built = os.path.join(folder, "twice.cpp"), os.path.join(folder, "twice.so")
    with open(source, "w") as file:
        file.write(SOURCE)
    words = ["g++", "-std=c++20", "-O0", "-fPIC", "-shared", "-fopenmp", source, "-o", built]
    words += [f"-I{path}" for path in cpp_extension.include_paths()]
    words += [f"-I{sysconfig.get_path('include')}"]
    words += [f"-L{path}" for path in cpp_extension.library_paths()]
    # Every name must be found when it is linked, not only when it is loaded.
    words += ["-Wl,--no-undefined", "-ltorch", "-ltorch_cpu", "-lc10"]
    done = subprocess.run(words, capture_output=True, text=True)
    print("built:", done.returncode, [row for row in done.stderr.splitlines() if "error" in row or "undefined" in row][:5])
    torch.ops.load_library(built)
    print(digest(torch.ops.observers_built.twice(torch.arange(9.0), 0.5)))
    try:
        torch.ops.observers_built.twice(torch.ones(2, 2), 0.5)
    except RuntimeError as error:
        print(str(error).splitlines()[0])
