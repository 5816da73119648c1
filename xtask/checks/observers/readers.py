"""What reads names of operators past Python: saved programs, and graphs that are made by hand.

Each reader works in a process of its own, in which nothing else has asked for the operator."""

import io
import os
import tempfile
import warnings

import torch

warnings.simplefilter("ignore")


def apart(do, *words):
    """Does something in a child process."""
    child = os.fork()
    if child == 0:
        try:
            print(do.__name__, do(*words), flush=True)
        except BaseException as error:
            print(do.__name__, type(error).__name__, str(error).splitlines()[0], flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def make(folder):
    graph = "graph(%a : Tensor):\n  %b : Tensor = prims::abs(%a)\n  return (%b)\n"
    made = torch._C._create_function_from_graph("forward", torch._C.parse_ir(graph))
    saved = made.save_to_buffer()
    with open(f"{folder}/saved.pt", "wb") as file:
        file.write(saved)
    lite = torch.jit.load(io.BytesIO(saved))._save_to_buffer_for_lite_interpreter()
    with open(f"{folder}/lite.ptl", "wb") as file:
        file.write(lite)
    return len(saved) > 0, len(lite) > 0


def load_file(path):
    return torch.jit.load(path)(torch.tensor([-1.5])), torch.jit.load(path).code


def load_buffer(path):
    with open(path, "rb") as file:
        return torch.jit.load(io.BytesIO(file.read()))(torch.tensor([-2.5]))


def load_open_file(path):
    with open(path, "rb") as file:
        return torch.jit.load(file)(torch.tensor([-3.5]))


def load_lite(path):
    module = torch._C._load_for_lite_interpreter(path, None)
    return module.forward((torch.tensor([-4.5]),))


def load_lite_buffer(path):
    with open(path, "rb") as file:
        module = torch._C._load_for_lite_interpreter_from_buffer(file.read(), None)
    return module.forward((torch.tensor([-5.5]),))


def insert():
    graph = torch._C.Graph()
    return str(graph.insert("prims::abs", [graph.addInput("a")])), str(graph)


def parse():
    graph = torch._C.parse_ir("graph(%a : Tensor):\n  %b : Tensor = prims::abs(%a)\n  return (%b)\n")
    return [str(node.schema()) for node in graph.nodes()]


def script():
    unit = torch.jit.CompilationUnit("def f(x):\n    return torch.ops.prims.abs(x)\n")
    return unit.f(torch.tensor([-6.5]))


with tempfile.TemporaryDirectory() as folder:
    apart(make, folder)
    for reader in (load_file, load_buffer, load_open_file):
        apart(reader, f"{folder}/saved.pt")
    for reader in (load_lite, load_lite_buffer):
        apart(reader, f"{folder}/lite.ptl")
    for reader in (insert, parse, script):
        apart(reader)
