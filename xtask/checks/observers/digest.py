"""What the programs of this folder print: short texts that stand for results."""

import hashlib


def digest(value):
    """A short text that two results share only if they are the same bytes, of the same
    type, shape and strides."""
    return f"{_kind(value)} {_hash(value).hexdigest()[:16]}"


def rounded(value, places=4):
    """Like `digest`, but of numbers to so many decimal places: compilers may order sums
    as they like, and a fused one has other last bits."""
    import torch

    return digest(torch.round(value.detach().double(), decimals=places) + 0.0)


def raised(call, *words):
    """The type of what `call` raises, and the first line of its text."""
    try:
        call(*words)
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return "nothing"


def placeless(text):
    """A text without the folder that PyTorch lies in and without places in memory."""
    import os
    import re

    import torch

    text = str(text).replace(os.path.dirname(torch.__path__[0]), "")
    return re.sub(r"\b0x[0-9a-f]{6,}", "0x", text)


def show(title, names):
    """Prints how many names there are, and a hash of them; with `--names`, each."""
    import sys

    names = [placeless(name) for name in names]
    if "--names" in sys.argv:
        for name in names:
            print(f"{title}: {name}")
    print(title, len(names), hashlib.sha256("\n".join(names).encode()).hexdigest()[:16])


def _kind(value):
    import torch

    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype)[6:]}{list(value.shape)}"
    return type(value).__name__


def _hash(value, sink=None):
    import torch

    sink = sink or hashlib.sha256()
    if isinstance(value, torch.Tensor):
        sink.update(f"{value.dtype}{tuple(value.shape)}{value.layout}".encode())
        if value.is_quantized:
            value = value.dequantize()
        if value.layout is not torch.strided:
            value = value.to_dense()
        sink.update(f"{value.stride()}".encode())
        value = value.detach().resolve_conj().resolve_neg().contiguous()
        sink.update(bytes(value.reshape(-1).view(torch.uint8).tolist()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            _hash(item, sink)
    elif isinstance(value, dict):
        for key, item in value.items():
            sink.update(str(key).encode())
            _hash(item, sink)
    else:
        sink.update(f"{type(value).__name__}:{value}".encode())
    return sink
