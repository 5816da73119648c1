"""What the GPU's driver and libraries do with memory that is not there until it is touched.

    python3 xtask/checks/gpu/faults.py [--json FILE]

Runs on a machine with one GPU, with the PyTorch of this interpreter and a C compiler; needs
no network, and changes nothing but a temporary folder. GPU code of all loaded libraries
(their sections of fat binaries, and the frames of cuBLASLt) is made unreadable, then a
program for each subject runs in a process of its own:

- `plain`: as it is.
- `guarded`: each 64 KiB come back when something touches them, as in a package.
- `zeros`: they come back as zeros, as pages that are out of a package would.

Printed for each program: whether its results are those of `plain`, the error otherwise, how
much was touched in which library, and whose code touched it.
"""

import argparse
import collections
import concurrent.futures
import ctypes
import glob
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SECTIONS = (".nv_fatbin", "__nv_relfatbin", ".ldata", ".cask_resource")


def programs(torch):
    """A function for each subject, that gives tensors."""
    nn, f = torch.nn, torch.nn.functional

    def some(*shape, kind=torch.float32):
        generator = torch.Generator().manual_seed(sum(shape))
        return torch.randn(*shape, generator=generator).to("cuda", kind)

    def product(kind):
        return lambda: [some(512, 512, kind=kind) @ some(512, 512, kind=kind)]

    def tf32():
        torch.backends.cuda.matmul.allow_tf32 = True
        return product(torch.float32)()

    def int8():
        a = (some(64, 64) * 10).to(torch.int8)
        return [torch._int_mm(a, a.t().contiguous().t())]

    def convolution():
        layer = nn.Conv2d(16, 32, 3, padding=1).cuda()
        x = some(4, 16, 32, 32).requires_grad_()
        layer.weight.data = some(32, 16, 3, 3)
        y = layer(x)
        y.sum().backward()
        return [y - layer.bias[None, :, None, None], x.grad]

    def attention():
        return [f.scaled_dot_product_attention(*[some(2, 8, 128, 64, kind=torch.float16)] * 3)]

    def normalized():
        return [nn.BatchNorm2d(8).cuda().train()(some(4, 8, 16, 16))]

    def recurrent():
        layer = nn.LSTM(16, 16, batch_first=True).cuda()
        for parameter in layer.parameters():
            parameter.data = some(*parameter.shape)
        return [layer(some(4, 8, 16))[0]]

    def train():
        layer = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)).cuda()
        for parameter in layer.parameters():
            parameter.data = some(*parameter.shape)
        optimizer = torch.optim.Adam(layer.parameters())
        scaler = torch.amp.GradScaler("cuda")
        with torch.autocast("cuda", dtype=torch.float16):
            loss = layer(some(32, 64)).pow(2).mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return [loss] + [parameter.detach() for parameter in layer.parameters()]

    def graph():
        x, side = some(128, 128), torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                y = x @ x
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = torch.relu(x @ x)
        graph.replay()
        return [y]

    return {
        "add": lambda: [some(1000) + 1],
        "matmul float32": product(torch.float32),
        "matmul tf32": tf32,
        "matmul float16": product(torch.float16),
        "matmul bfloat16": product(torch.bfloat16),
        "matmul float64": product(torch.float64),
        "matmul int8": int8,
        "convolution": convolution,
        "attention": attention,
        "batch norm": normalized,
        "lstm": recurrent,
        "fft": lambda: [torch.fft.fft(some(1000)), torch.fft.rfft2(some(4, 60, 34))],
        "linalg": lambda: [torch.linalg.svdvals(some(64, 64)), torch.linalg.inv(some(64, 64))],
        "sort": lambda: [some(100_000).sort()[0], some(1000).topk(5)[0]],
        "embedding": lambda: [f.embedding(torch.arange(50, device="cuda"), some(100, 16))],
        "sparse": lambda: [torch.sparse.mm(some(64, 64).relu().to_sparse_csr(), some(64, 8))],
        "train with autocast": train,
        "graph and streams": graph,
    }


def loaded():
    """The libraries of this process: path to what their addresses are relative to."""
    bases = {}
    with open("/proc/self/maps") as maps:
        for line in maps:
            parts = line.split(None, 5)
            if len(parts) == 6 and ".so" in parts[5]:
                start, offset = int(parts[0].split("-")[0], 16), int(parts[2], 16)
                bases.setdefault(parts[5].strip(), start - offset)
    return bases


def sections(path):
    """Names, addresses, sizes and flags of the sections of a library."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            return
        at, size, number, names = struct.unpack_from("<Q", head, 40)[0], *struct.unpack_from("<3H", head, 58)
        file.seek(at)
        table = [struct.unpack("<IIQQQQIIQQ", file.read(64)) for _ in range(number)]
        file.seek(table[names][4])
        text = file.read(table[names][5])
    for name, kind, flags, address, _, size, *_ in table:
        if flags & 2 and kind == 1:
            yield text[name : text.index(b"\0", name)].decode(), address, size, flags


def one(subject, mode):
    """Runs one program in this process and prints what happened."""
    import torch

    packages = os.path.dirname(os.path.dirname(torch.__file__))
    # What they open later is here before memory is guarded.
    for path in sorted(glob.glob(packages + "/nvidia/**/*.so*", recursive=True)):
        try:
            ctypes.CDLL(path)
        except OSError:
            pass
    library = ctypes.CDLL(os.environ["TAPER_FAULTS"])
    found = []
    for path, base in loaded().items():
        if "nvidia/" not in path and "torch" not in path:
            continue
        first = next(segments(path), None)
        if first is None:
            continue
        for name, address, size, flags in sections(path):
            bare = name == ".ldata" and "cublasLt" not in path and "cufft" not in path
            if name not in SECTIONS or bare:
                continue
            start, end = base + first + address, base + first + address + size
            start, end = (start + 4095) & ~4095, end & ~4095
            if start < end:
                found.append((os.path.basename(path), name, start, end, 3 if flags & 1 else 1))
    guarded = 0
    if mode != "plain":
        for _, _, start, end, protection in found:
            if library.guard(
                ctypes.c_ulong(start), ctypes.c_ulong(end), protection, int(mode == "zeros")
            ):
                raise OSError("a section cannot be guarded")
            guarded += end - start
    began = time.perf_counter()
    outcome = {}
    try:
        result = programs(torch)[subject]()
        torch.cuda.synchronize()
        outcome["seconds"] = round(time.perf_counter() - began, 3)
        outcome["result"] = [tensor.detach().cpu().flatten().tolist()[:4096] for tensor in result]
        if any(tensor.is_complex() for tensor in result):
            outcome["result"] = [[abs(x) for x in part] for part in outcome["result"]]
    except Exception as error:
        outcome["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"

    class Touch(ctypes.Structure):
        _fields_ = [("address", ctypes.c_ulong), ("by", ctypes.c_ulong)]

    number = ctypes.c_long.in_dll(library, "touched").value
    touches = (Touch * min(number, 1 << 20)).in_dll(library, "touches") if number else ()
    whose = maps()
    where, by = collections.Counter(), collections.Counter()
    for touch in touches:
        for name, section, start, end, _ in found:
            if start <= touch.address < end:
                where[f"{name} {section}"] += 1
                by[f"{name} {section} by {owner(whose, touch.by)}"] += 1
    outcome.update(touches=number, guarded=guarded, where=dict(where), by=dict(by))
    print("\n" + json.dumps(outcome))


def segments(path):
    """Address less offset of the first loaded segment of a library, negated: what maps an
    address to a place behind where file offset 0 is mapped."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            return
        at, size, number = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<2H", head, 54)
        file.seek(at)
        for _ in range(number):
            kind, _, offset, address, *_ = struct.unpack("<IIQQQQQQ", file.read(56))
            if kind == 1:
                yield offset - address
                return


def maps():
    rows = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            parts = line.split(None, 5)
            start, end = (int(part, 16) for part in parts[0].split("-"))
            rows.append((start, end, os.path.basename(parts[5].strip()) if len(parts) == 6 else "?"))
    return rows


def owner(rows, address):
    return next((name for start, end, name in rows if start <= address < end), "?")


def run(task):
    subject, mode, environment = task
    done = subprocess.run(
        [sys.executable, __file__, "--one", subject, mode],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    line = done.stdout.strip().rpartition("\n")[2]
    try:
        outcome = json.loads(line)
    except ValueError:
        end = done.stderr.strip().splitlines()[-1:] or [""]
        outcome = {"error": f"the process ended with {done.returncode}: {end[0][:160]}"}
    return subject, mode, outcome


def close(one, other):
    pairs = [pair for parts in zip(one, other) for pair in zip(*parts)]
    return [len(part) for part in one] == [len(part) for part in other] and all(
        abs(a - b) <= 1e-2 + 1e-2 * abs(b) for a, b in pairs
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=2)
    parser.add_argument("--json")
    parser.add_argument("--jobs", type=int, default=4)
    arguments = parser.parse_args()
    if arguments.one:
        return one(*arguments.one)
    import torch

    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}, {torch.cuda.get_device_name()}")
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "faults.so")
        source = os.path.join(HERE, "faults.c")
        subprocess.run(["cc", "-O2", "-fPIC", "-shared", "-o", library, source], check=True)
        environment = dict(os.environ, TAPER_FAULTS=library)
        eager = dict(environment, CUDA_MODULE_LOADING="EAGER")
        tasks = [
            (subject, mode, environment)
            for mode in ("plain", "guarded", "zeros")
            for subject in programs(torch)
        ]
        tasks += [("add", "guarded", eager)]
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            outcomes = list(pool.map(run, tasks))
    results = {}
    for subject, mode, outcome in outcomes:
        results.setdefault(subject, {}).setdefault(mode, outcome)
    results["add, modules loaded eagerly"] = {"guarded": outcomes[-1][2]}
    for subject, modes in results.items():
        plain = modes.get("plain", results["add"]["plain"])
        for mode, outcome in modes.items():
            same = "result" in outcome and "result" in plain and close(outcome["result"], plain["result"])
            said = outcome.get("error") or ("same" if same else "ANOTHER RESULT")
            print(f"{subject:20} {mode:8} {outcome.get('seconds', '-'):>7} s "
                  f"{outcome.get('touches', 0):6} chunks of {outcome.get('guarded', 0) >> 16:6}  {said}")
    by = collections.Counter()
    for modes in results.values():
        for key, number in modes.get("guarded", {}).get("by", {}).items():
            by[key] += number
    for key, number in sorted(by.items()):
        print(f"{number:8} chunks of {key}")
    if arguments.json:
        for modes in results.values():
            for outcome in modes.values():
                outcome.pop("result", None)
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
