"""Shows that whatever could tell that a group's bodies have not run makes them run.

Reads one document from standard input: a folder with the package's runtime, what was found of
the group (`prove.py`), and the calls whose answers differ. Imports torch with the group deferred
by that runtime. Then each thing that could tell is done, in a child process; a gate that does
not hear of it is an objection. At last the bodies run, and everything must be as where they
were never deferred.
"""

import base64
import ctypes
import importlib.machinery
import io
import os

# Ways to make a tensor without data.
_MADE = {
    "torch.empty": lambda torch: torch.empty(2, device="meta"),
    "torch.empty_strided": lambda torch: torch.empty_strided((2,), (1,), device="meta"),
    "torch.zeros": lambda torch: torch.zeros(2, 3, device="meta"),
    "torch.tensor": lambda torch: torch.tensor([1.0], device="meta"),
    "Tensor.to": lambda torch: torch.ones(2).to("meta"),
    "torch.empty_like": lambda torch: torch.empty_like(torch.ones(2), device="meta"),
    "torch.UntypedStorage": lambda torch: torch.UntypedStorage(4, device="meta"),
    "nn.Linear": lambda torch: torch.nn.Linear(2, 2, device="meta"),
    "Module.to": lambda torch: torch.nn.Linear(2, 2).to("meta"),
}


def looks(about, torch, saved):
    """What looks at what a group changes in Python, by what it is. `saved` is a file of
    TorchScript that calls one of its operators."""
    from _taper import deferred

    operators = sys.modules["torch._ops"]
    found = {f"making a tensor by {name}": lambda f=f: f(torch) for name, f in _MADE.items()}
    if about["script"]:
        held = io.BytesIO(base64.b64decode(about["script"]))
        found["torch.jit.load of a file"] = lambda: torch.jit.load(saved)
        found["torch.jit.load of a buffer"] = lambda: torch.jit.load(held)
    for name in deferred.READ_NAMES:
        if hasattr(torch._C, name):
            found[f"torch._C.{name}"] = lambda n=name: getattr(torch._C, n)("", None)
    for name in about["key_takers"]:
        for key in about["keys"]:
            # It is heard before anything looks whether the words fit.
            one = getattr(torch._C.DispatchKey, key)
            for word in (one, torch._C.DispatchKeySet(one), key):
                found[f"torch._C.{name} with {word!r}"] = lambda n=name, w=word: named(n)(None, w)
    for name in about["members"]:
        found[f"an attribute of {name}"] = lambda m=name: getattr(sys.modules[m], "no_such_name")
    found["the names of torch.ops"] = lambda: dir(torch.ops)
    found["the names in torch.ops"] = lambda: list(torch.ops)
    found["the dict of torch.ops"] = lambda: vars(torch.ops)
    existing = [name for name in about["samples"] if name.partition("::")[0] not in about["namespaces"]]
    for name in existing:
        space, _, rest = name.partition("::")
        packet, _, overload = rest.partition(".")
        one = getattr(getattr(getattr(torch.ops, space), packet), overload or "default")
        found[f"kernels of {name} in Python"] = lambda one=one: one.py_kernels
        found[f"the names of torch.ops.{space}"] = lambda s=space: dir(getattr(torch.ops, s))
        found[f"the names in torch.ops.{space}"] = lambda s=space: list(getattr(torch.ops, s))
        found[f"the overloads of {space}::{packet}"] = lambda p=getattr(getattr(torch.ops, space), packet): dir(p)
        found[f"a library for {space}"] = lambda s=space: torch.library.Library(s, "IMPL", about["keys"][0])
    for space in about["namespaces"]:
        found[f"a library of {space}"] = lambda s=space: torch.library.Library(s, "FRAGMENT")
        found[f"the namespace {space}"] = lambda s=space: getattr(torch.ops, s)
    for name, keys in about["guarded"].items():
        if name == "torch._ops._higher_order_ops":
            for key in keys:
                found[f"torch.ops.higher_order.{key}"] = lambda k=key: getattr(torch.ops.higher_order, k)
        elif name == "torch._subclasses.fake_impls.op_implementations_dict":
            fake = sys.modules["torch._subclasses.fake_tensor"]
            found["a FakeTensorMode"] = fake.FakeTensorMode
        elif name.startswith("torch._library.opaque_object."):
            opaque = sys.modules["torch._library.opaque_object"]
            found["asking about torch.Generator"] = lambda: opaque.is_opaque_type(torch._C.Generator)
        elif name not in ("torch.library._impls", "torch.library._defs"):
            # Libraries are looked at above. Nothing is known to guard another.
            found[name] = lambda: None
    return found


def named(name):
    """What has this name in torch._C."""
    found = sys.modules["torch._C"]
    for part in name.split("."):
        found = getattr(found, part)
    return found


def allocator(device):
    """How many functions the table of an allocator has, and which of them is called whenever a
    tensor is made: found out by watching each in a child process."""
    from _taper import gates

    native = sys.modules["torch._C"]
    start = gates.allocator(device).value
    number = 0
    with open("/proc/self/maps") as maps:
        mapped = [line.split()[:2] for line in maps]
    mapped = [([int(end, 16) for end in place.split("-")], rights) for place, rights in mapped]
    size = ctypes.sizeof(ctypes.c_void_p)

    def within(address, right):
        return any(first <= address < end and right in rights for (first, end), rights in mapped)

    # What follows a table are other words than addresses of code.
    while within(start + size * number, "r"):
        word = ctypes.c_void_p.from_address(start + size * number).value
        if not word or not within(word, "x"):
            break
        number += 1
    make = native._VariableFunctions

    def watch(slot):
        heard = []
        hook = gates.AllocatorHook(device, [number, slot], lambda: heard.append(1))
        seen = []
        for one in (lambda: make.empty((2,), device="meta"), lambda: make.empty((3, 1), device="meta")):
            del heard[:]
            made = one()
            seen.append(len(heard))
            del made
        # The next one is watched in the same process, unless this one died of it.
        hook.remove()
        return seen

    seen = in_children(list(range(number)), watch)
    # Once for each.
    fitting = [slot for slot, said in enumerate(seen) if said == [1, 1]]
    return [number, fitting[0]] if len(fitting) == 1 else [number, -1]


class Defer:
    """Finds the group's first module and defers it."""

    def __init__(self, about):
        self.about = about
        self.group = None
        self.objections = []
        # Modules of the group of which something asked for an attribute.
        self.needed = []

    def find_spec(self, name, path=None, target=None):
        if name != self.about["root"]:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        self.load, spec.loader.exec_module = spec.loader.exec_module, self.exec_module
        return spec

    def exec_module(self, module):
        del module.__spec__.loader.exec_module
        self.about["allocator"] = allocator(self.about["device"])
        from _taper import deferred

        read = deferred._Deferred.__getattribute__

        def look(module, name):
            group = deferred._groups.get(module)
            if group is not None and not group.mine() and name not in deferred._PLAIN:
                self.needed.append(deferred._read(module, "__name__"))
            return read(module, name)

        deferred._Deferred.__getattribute__ = look
        group = deferred.Group(self.about["root"], self.about)
        if self.about["allocator"][1] < 0:
            self.objections.append("no function of the allocator is called for each tensor")
            self.load(module)
        elif not group.defer(module):
            self.objections.append(group.refusal)
            self.load(module)
        else:
            self.group = group


def main():
    question = json.load(sys.stdin)
    about, given = question["group"], question["calls"]
    given = [tuple(tuple(w) if isinstance(w, list) else w for w in words) for words in given]
    sys.path.insert(0, question["folder"])
    os.environ.pop("TAPER_LOG", None)
    defer = Defer(about)
    sys.meta_path.insert(0, defer)
    torch = __import__("torch")
    objections, group, needed = defer.objections, defer.group, None
    if group is not None and group._once.done:
        needed = next(iter(defer.needed), None)
        objections.append(f"importing torch runs the bodies, for {needed or 'some operator'}")
    elif group is not None:
        saved = os.path.join(question["folder"], "saved.pt")
        with open(saved, "wb") as file:
            file.write(base64.b64decode(about["script"]))
        objections += unheard(group, about, given, looks(about, torch, saved))
        if not objections:
            objections += other(group, about, given)
    sys.stdout.write(json.dumps({"allocator": about.get("allocator"), "needed": needed, "objections": objections}))
    sys.stdout.flush()
    os._exit(0)


class Heard(BaseException):
    """Ends what was noticed."""


def unheard(group, about, given, found):
    """What of `found`, and of the calls `given`, could tell and is not heard of."""
    heard = []

    def hear():
        heard.append(1)
        # Without the bodies, what was asked might even abort.
        raise Heard

    settle, group._once.settle = group._once.settle, hear

    def look(name):
        del heard[:]
        try:
            found[name]()
        except BaseException:
            # It may well miss something.
            pass
        return bool(heard)

    names = list(found)
    objections = [
        f"{name} is not noticed"
        for name, said in zip(names, in_children(names, look))
        if said is not True
    ]
    known = functions()

    def ask(job):
        name, number, expected = job
        del heard[:]
        answer = one_answer(known[name], given[number])
        return bool(heard) or answer == expected

    asks = about["asks"]
    for (name, number, _), said in zip(asks, in_children(asks, ask)):
        if said is not True:
            objections.append(f"torch._C.{name}{given[number]!r:.60} is not noticed")
    group._once.settle = settle
    return objections


def other(group, about, given):
    """What is otherwise, once the bodies have run, than where they were not deferred."""
    hidden = about["hidden"]
    there = in_children(list(hidden), lambda name: hasattr(sys.modules[name], hidden[name]))
    objections = [
        f"{name}.{hidden[name]} is not there when it is first asked for"
        for name, said in zip(hidden, there)
        if said is not True
    ]
    group.settle()
    asks = about["asks"]
    now = answers([(name, number) for name, number, _ in asks], given)
    for (name, number, expected), said in zip(asks, now):
        if said != expected:
            objections.append(f"torch._C.{name}{given[number]!r:.60} answers otherwise afterwards")
    if digest(dispatcher(sys.modules["torch._C"])) != about["digest"]:
        objections.append("the dispatcher is otherwise afterwards")
    return objections


main()
