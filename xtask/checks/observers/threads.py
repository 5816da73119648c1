"""What is put off is indivisible: many threads, a fork meanwhile, asyncio, development mode.

Each line is what one use, for the first time in a process, by several threads at once or beside
another, gave."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore", DeprecationWarning)
import torch

if "_taper" in sys.modules:
    # It must be put off, or this shows nothing.
    ran = "_meta_registrations" not in vars(torch) or "_taper.deferred" in sys.modules
    assert ran and sys.modules["_taper.deferred"].pending


def meta():
    x = torch.empty(3, 4, device="meta")
    image, kernel = torch.empty(1, 3, 8, 8, device="meta"), torch.empty(5, 3, 3, 3, device="meta")
    return tuple(torch.nn.functional.conv2d(image, kernel).shape), tuple((x @ x.t()).shape)


def name():
    from torch._decomp import decompositions

    return len(torch._decomp.decomposition_table) > 100, callable(decompositions.gelu_backward)


def refs():
    import torch._refs as refs

    return callable(refs.add), callable(refs.linalg.norm)


def fake():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        return tuple(torch.linalg.svd(mode.from_tensor(torch.rand(4, 3)))[1].shape)


def asked():
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return has("aten::gelu", "Meta"), has("aten::linalg_eig", "Meta")


def operators():
    return len(dir(torch.ops.prims)) > 20, torch.ops.prims.cos.default._schema.name


def kernels():
    return sorted(map(str, torch.ops.aten.lift.default.py_kernels)) != []


def listed():
    return sum(one.startswith("prims::") for one in torch._C._dispatch_get_all_op_names()) > 50


def made():
    return torch.empty(2, device="meta").add(1).device.type, tuple(torch.empty(2, 3, device="meta").t().shape)


# The last two import hundreds of modules.
jobs = [made, name, refs, asked, operators, kernels, listed]
all_jobs = [meta, fake, *jobs]


def said(job):
    try:
        return job()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]


def many(number, jobs=jobs):
    """Threads that begin at once."""
    gate, found = threading.Barrier(number), [None] * number

    def run(place):
        gate.wait()
        found[place] = said(jobs[place % len(jobs)])

    threads = [threading.Thread(target=run, args=(place,)) for place in range(number)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


def meanwhile(delay):
    """A fork while another thread is on its way."""
    # Nothing is imported for it: a lock of an import stays locked in a child, in any Python.
    other = threading.Thread(target=torch.empty, args=(2,), kwargs={"device": "meta"})
    other.start()
    time.sleep(delay)
    inside = child(lambda: [said(job) for job in (asked, refs, kernels, listed)])
    other.join()
    return inside, said(refs)


def loop():
    async def run():
        inside = asyncio.get_running_loop()
        calls = [inside.run_in_executor(None, said, job) for job in jobs]
        return [said(made), *await asyncio.gather(*calls)]

    return asyncio.run(run())


def interrupted():
    """A handler of signals that needs what the thread that it stops is about to have."""
    found = []
    signal.signal(signal.SIGALRM, lambda *_: found.append(said(asked)))
    other = threading.Thread(target=asked)
    other.start()
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    first = said(name)
    other.join()
    while not found:
        time.sleep(0.01)
    return first, found


def child(do):
    """What `do` gives in a child of a fork, where nothing was used yet."""
    read, write = os.pipe()
    number = os.fork()
    if number == 0:
        signal.alarm(60)
        os.write(write, repr(do()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as out:
        text = out.read()
    return text, os.waitpid(number, 0)[1]


developing = "dev" in sys.argv
for number in (8,) if developing else (2, 3, 8, 16):
    print(number, *child(lambda: many(number)))
for delay in (0.02,) if developing else (0, 0.1):
    print("fork", *child(lambda: meanwhile(delay)))
if not developing:
    print("loop", *child(loop))
    print("handler", *child(interrupted))
print("directly", many(9, jobs if developing else all_jobs))
if not developing:
    # What development mode says goes to standard error, of which nothing is to come.
    words = [sys.executable, "-X", "dev", "-W", "ignore", __file__, "dev"]
    done = subprocess.run(words, capture_output=True, text=True)
    print(done.stdout, "_taper" in done.stderr, done.returncode)
