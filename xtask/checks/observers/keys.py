"""Kernels that a dispatch key leads to, with tensors that do not have it."""

import os

import torch

C, Key = torch._C, torch._C.DispatchKey
meta, none = C.DispatchKeySet(Key.Meta), C.DispatchKeySet(Key.Undefined)
operator = torch.ops.aten._cdist_forward.default
words = torch.ones(2, 3), torch.ones(2, 3), 2.0, None


def within(guard):
    with guard:
        return operator(*words)


def included():
    C._dispatch_tls_set_dispatch_key_included(Key.Meta, True)
    return operator(*words)


ways = {
    "redispatch": lambda: operator.redispatch(meta, *words),
    "redispatch_boxed": lambda: operator._handle.redispatch_boxed(meta, *words),
    "included": lambda: within(C._IncludeDispatchKeyGuard(Key.Meta)),
    "forced": lambda: within(C._ForceDispatchKeyGuard(meta | C._dispatch_keys(words[0]), none)),
    "included for the thread": included,
    "by its own set": lambda: operator.redispatch(C.DispatchKeySet(Key.CPU), *words),
}
for name, way in ways.items():
    # Each where no other has asked.
    child = os.fork()
    if child == 0:
        try:
            said = way()
            print(name, said.device, list(said.shape), flush=True)
        except Exception as error:
            print(name, type(error).__name__, str(error).partition("\n")[0][:80], flush=True)
        os._exit(0)
    os.waitpid(child, 0)
