"""Meta tensors: shapes, strides and types without data, by kernels in C++ and in Python."""

import torch
from torch import nn

from digest import raised


def about(value):
    if isinstance(value, torch.Tensor):
        return f"{value.device}:{str(value.dtype)[6:]}{list(value.shape)}{list(value.stride())}"
    return str(value) if not isinstance(value, (tuple, list)) else [about(one) for one in value]


def tensor(*shape, dtype=torch.float32):
    return torch.empty(*shape, device="meta", dtype=dtype)


calls = {
    "add": lambda: tensor(3, 1) + tensor(4),
    "matmul": lambda: tensor(2, 3, 4) @ tensor(4, 5),
    "baddbmm": lambda: torch.baddbmm(tensor(2, 3, 5), tensor(2, 3, 4), tensor(2, 4, 5)),
    "cholesky": lambda: torch.linalg.cholesky_ex(tensor(4, 4)),
    "svd": lambda: torch.linalg.svd(tensor(3, 5, 4), full_matrices=False),
    "eig": lambda: torch.linalg.eig(tensor(4, 4)),
    "lu": lambda: torch.linalg.lu_factor_ex(tensor(4, 4)),
    "qr": lambda: torch.linalg.qr(tensor(6, 4)),
    "conv": lambda: torch.conv2d(tensor(2, 3, 9, 9), tensor(4, 3, 3, 3), stride=2, padding=1),
    "transposed": lambda: torch.conv_transpose2d(tensor(1, 3, 5, 5), tensor(3, 2, 3, 3)),
    "pool": lambda: torch.max_pool2d(tensor(1, 2, 8, 8), 2),
    "adaptive": lambda: torch.nn.functional.adaptive_avg_pool2d(tensor(1, 2, 8, 8), 3),
    "pad": lambda: torch.nn.functional.pad(tensor(1, 2, 8), (1, 2), mode="reflect"),
    "interpolate": lambda: torch.nn.functional.interpolate(tensor(1, 2, 8, 8), scale_factor=2.0),
    "embedding": lambda: torch.nn.functional.embedding(tensor(2, 3, dtype=torch.long), tensor(9, 4)),
    "attention": lambda: torch.nn.functional.scaled_dot_product_attention(*[tensor(1, 2, 5, 8)] * 3),
    "layer_norm": lambda: torch.nn.functional.layer_norm(tensor(2, 7), (7,)),
    "batch_norm": lambda: torch.native_batch_norm(tensor(2, 3, 4), tensor(3), tensor(3), None, None, True, 0.1, 1e-5),
    "sort": lambda: torch.sort(tensor(3, 4), dim=0),
    "topk": lambda: torch.topk(tensor(3, 8), 2),
    "index": lambda: tensor(5, 4)[tensor(3, dtype=torch.long)],
    "index_put": lambda: tensor(5, 4).index_put((tensor(3, dtype=torch.long),), tensor(3, 4)),
    "scatter": lambda: tensor(3, 4).scatter_add(1, tensor(3, 2, dtype=torch.long), tensor(3, 2)),
    "fft": lambda: torch.fft.rfft2(tensor(4, 6)),
    "cumsum": lambda: tensor(3, 4).cumsum(1),
    "einsum": lambda: torch.einsum("bij,bjk->bik", tensor(2, 3, 4), tensor(2, 4, 5)),
    "complex": lambda: torch.view_as_real(torch.complex(tensor(3), tensor(3))),
    "lstm": lambda: nn.LSTM(3, 4, device="meta")(tensor(5, 1, 3))[0],
    "foreach": lambda: torch._foreach_add([tensor(2), tensor(3)], [tensor(2), tensor(3)]),
    "out": lambda: torch.add(tensor(2), tensor(2), out=tensor(0)),
    "nonzero": lambda: torch.nonzero(tensor(3)),
    "item": lambda: tensor(1).item(),
    "wrong": lambda: tensor(2, 3) @ tensor(4, 5),
}
for name, call in calls.items():
    print(name, raised(call) if name in ("nonzero", "item", "wrong") else about(call()))

with torch.device("meta"):
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    block = nn.TransformerEncoderLayer(16, 4, batch_first=True)
given = tensor(2, 3, 8, 8).requires_grad_()
net(given).logsumexp(1).sum().backward()
print("gradients", [about(one.grad) for one in (given, *net.parameters())])
print("encoder", about(block(tensor(2, 5, 16))))
print("empty", about(net.to_empty(device="cpu")[0].weight))
# Each entry of PyTorch's own table of decompositions and meta functions.
for kind in ("meta", "post_autograd", "pre_autograd"):
    table = torch._decomp.global_decomposition_table[kind]
    print(kind, len(table), sorted(str(op) for op in table)[::97])
