"""Lets the bodies of modules wait that a program needs only after something else.

`torch._meta_registrations`, with what it alone imports, tells the dispatcher how operators
act on tensors without data, and gives operators that are made of others: a quarter of the
time of `import torch`, for programs that trace or compile. Modules of such a group are
there from the start, each with its name and place, but their bodies run when something
could see that they have not:

- an attribute of one of them is asked for, or a module inside one is imported;
- a module of torch is imported that no workload imported;
- something asks what operators or kernels there are, or adds some where they do (`torch._C`);
- the kernels that Python gives an operator are looked at (`OpOverload.py_kernels`);
- a call is led to kernels by a dispatch key that its tensors do not have (`redispatch`);
- a tensor without data is made, by whatever code: its allocator says so.

Then all bodies run, in the order in which they would have; whoever asked waits for it.
What a group changes, and that nothing else sees it, was proved when the package was made
(`defer.py`); the plan holds the names.
"""

import importlib
import importlib._bootstrap
import importlib.util
import os
import sys
import types
from _thread import get_ident

from _taper import gates
from _taper.once import Once

# What the import system reads of a module that is there, and sets. It changes nothing.
_PLAIN = frozenset(
    (
        "__spec__",
        "__loader__",
        "__path__",
        "__file__",
        "__cached__",
        "__package__",
        "__name__",
        "__class__",
    )
)

_read = types.ModuleType.__getattribute__

_run = importlib._bootstrap._call_with_frames_removed

# Groups whose bodies have not all run, by the module that begins them.
pending = {}

# The same, by each of their modules.
_groups = {}


class _Deferred(types.ModuleType):
    """A module whose body is deferred, or one of a group of which not all bodies have run."""

    def __getattribute__(self, name):
        group = _groups.get(self)
        if group is not None:
            if name == "__class__":
                return types.ModuleType
            if group.mine():
                # The import system looks at the spec of a module that is there already:
                # here its body would run. Others look at all modules' places and names.
                if name == "__spec__" or name not in _PLAIN:
                    group.run(self)
            elif name not in _PLAIN:
                group.settle()
            if _became_other(self):
                return getattr(self, name)
        return _read(self, name)

    def __setattr__(self, name, value):
        if name not in _PLAIN:
            group = _groups.get(self)
            if group is not None:
                group.settle()
                if _became_other(self):
                    return setattr(self, name, value)
        types.ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name):
        group = _groups.get(self)
        if group is not None:
            group.settle()
            if _became_other(self):
                return delattr(self, name)
        types.ModuleType.__delattr__(self, name)


def _became_other(module):
    """Whether a body made a module that was deferred one of another class, which has attributes
    in a way of its own."""
    return type(module) not in (_Deferred, types.ModuleType)


class Group:
    """Modules that are deferred together; `plan` is what was proved of them.

    All gates stay until all bodies have run. The thread that runs them passes; others wait.
    """

    def __init__(self, root, plan):
        self.root = root
        self.plan = plan
        self._once = Once(root, self._run_all)
        # Modules whose bodies have not begun to run.
        self._open = set()
        self._modules = {}
        self._undo = []
        self._made = {}
        self._error = None
        self._hook = None
        # Why it is not deferred.
        self.refusal = None

    def defer(self, module):
        """Defers the bodies of the group, of which `module` is the first. False where
        that cannot be: they are to run now."""
        members = self.plan["members"]
        # What the rest of torch needs.
        for name in self.plan["early"]:
            importlib.import_module(name)
        if any(name in sys.modules for name in members if name != self.root):
            return self._refuse("modules of its group are there")
        for name in self.plan["at_once"]:
            _AT_ONCE[name]()
        made = {}
        try:
            # A module is found in the one around it.
            for name in sorted(members, key=lambda name: name.count(".")):
                made[name] = module if name == self.root else self._placeholder(name, made)
            self._arm()
        except Exception as error:
            self._disarm()
            return self._refuse(f"what could tell cannot be watched: {error!r}")
        for name in members:
            one = made[name]
            _groups[one] = self
            self._open.add(one)
            one.__class__ = _Deferred
            sys.modules[name] = one
        for parent, name, member in self.plan["attributes"]:
            owner = made.get(parent) or sys.modules[parent]
            types.ModuleType.__setattr__(owner, name, made[member])
        self._modules = made
        pending[self.root] = self
        return True

    def _refuse(self, reason):
        self.refusal = reason
        _say(f"runs {self.root} at once, for {reason}")
        return False

    def _placeholder(self, name, made):
        parent, _, last = name.rpartition(".")
        owner = made.get(parent) or sys.modules[parent]
        for folder in owner.__path__:
            finder = sys.path_importer_cache.get(folder) or _finder(folder)
            spec = finder.find_spec(name)
            if spec is not None:
                return importlib.util.module_from_spec(spec)
        raise ImportError(name)

    def mine(self):
        """Whether this thread runs the bodies."""
        return self._once.runner == get_ident()

    def settle(self):
        """Runs the bodies, if they have not; returns when all have, or in the thread that
        runs them."""
        if not self._once.done:
            self._once.settle()

    def _run_all(self):
        number = len(self.plan["members"]) - 1
        _say(f"ran {self.root}, which waited with {number} others")
        self.run(self._modules[self.root])
        for module in self._modules.values():
            self.run(module)
        if self._error is not None:
            raise self._error
        # Nothing differs any more from what the import would have left.
        self._disarm()
        pending.pop(self.root, None)
        for module in self._modules.values():
            about = _read(module, "__dict__")
            for name, value in list(about.items()):
                # What a body took for itself while it was watched.
                if id(value) in self._made and self._made[id(value)][0] is value:
                    about[name] = self._made[id(value)][1]
            # A body may have made its module one of another class.
            if type(module) is _Deferred:
                module.__class__ = types.ModuleType
            _groups.pop(module, None)
        self._made.clear()

    def run(self, module):
        """Runs the body of one module of the group, unless it has begun."""
        if module not in self._open:
            return
        around = self._modules.get(_read(module, "__name__").rpartition(".")[0])
        if around is not None:
            # An import begins with the module around it, which may import this one.
            self.run(around)
            if module not in self._open:
                return
        self._open.discard(module)
        about = _read(module, "__dict__")
        spec = about["__spec__"]
        code = spec.loader.get_code(spec.name)
        spec._initializing = True
        try:
            # As the import system does: PyTorch notes the line of who runs a body.
            _run(exec, code, about)
        except BaseException as error:
            # The import system does not hear of what its look at a module raises.
            self._error = self._error or error
            raise
        finally:
            spec._initializing = False
        parent, _, name = spec.name.rpartition(".")
        setattr(sys.modules[parent], name, module)

    def _replace(self, owner, name, made):
        """Puts what `made` makes of an attribute in its place until the bodies run."""
        about = vars(owner)
        if name in about:
            original = about[name]
            gate = made(original)
            setattr(owner, name, gate)
            self._made[id(gate)] = gate, original
            self._undo.append((_put_back, owner, name, (gate, original)))

    def _arm(self):
        """Sees to it that whatever could tell runs the bodies first."""
        plan = self.plan
        native = sys.modules["torch._C"]
        namespaces, keys = set(plan["namespaces"]), plan["keys"]
        changed = namespaces.union(plan["changed"])

        def of(words, watched):
            return any(isinstance(w, str) and w.partition("::")[0] in watched for w in words)

        def names(words):
            return of(words, namespaces)

        def kernels(words):
            return of(words, changed)

        def kernel(words, place=1):
            # A key is a name or a value of torch's; no name means any.
            key = words[place] if len(words) > place else ""
            key = getattr(key, "name", key)
            return of(words, changed) and (not key or any(one in key for one in keys))

        others = set(plan["queries"])
        for asked, needs in (
            (_ASK_FOR_NAMES, names),
            (_ASK_FOR_KERNELS, kernels),
            (_ASK_FOR_A_KERNEL, kernel),
            (("_dispatch_library",), lambda words: kernel(words, 2)),
            (_ASK_FOR_ALL, lambda words: True),
        ):
            for name in asked:
                self._watch_native(name, needs)
                others.discard(name)
        for name in READ_NAMES:
            if hasattr(native, name):
                self._watch_native(name, lambda words: True)
        own = {key: getattr(native.DispatchKey, key) for key in keys if hasattr(native.DispatchKey, key)}
        dense = native.DispatchKeySet(native.DispatchKey.Dense)

        def led(word):
            if isinstance(word, native.DispatchKeySet):
                return any((word | dense).has(key) for key in own.values())
            return getattr(word, "name", word) in own if isinstance(word, (str, native.DispatchKey)) else False

        for name in plan["key_takers"]:
            self._watch_native(name, lambda words: any(map(led, words)))
        # This version of torch has more that answer otherwise without the bodies.
        for name in sorted(others):
            self._watch_native(name, lambda words: True)
        operators = sys.modules["torch._ops"]
        if namespaces.intersection(vars(operators.ops)):
            raise ValueError("a namespace of operators that is not there yet")
        self._undo.append((gates.set_class, operators.ops, operators._Ops, None))
        operators.ops.__class__ = gates.listed(operators._Ops, namespaces, self.settle)
        # What was looked at of a namespace or an operator is listed there.
        for owner in (operators._OpNamespace, operators.OpOverloadPacket):
            for name in ("__iter__", "__dir__"):
                gates.lists(owner, name, self.settle, self._undo)
        for name in ("py_kernels", "python_key_table"):
            self._watch(operators.OpOverload, name)
        # Its name differs from version to version.
        namespace = type(operators.ops.higher_order)
        known = operators._higher_order_ops
        self._replace(
            namespace,
            "__getattr__",
            lambda f: self._gate(f, lambda words: words[1] not in known),
        )
        mode = sys.modules["torch._subclasses.fake_tensor"].FakeTensorMode
        self._replace(mode, "__init__", lambda f: self._gate(f, lambda words: True))
        types_of_custom = sys.modules.get("torch._library.opaque_object")
        if types_of_custom is not None:
            # A group tells it of one class (`GUARDED` in prove.py).
            generator = native.Generator
            self._replace(
                types_of_custom,
                "_resolve_opaque_type_info",
                lambda f: self._gate(f, lambda words: any(w is generator for w in words)),
            )
        script = sys.modules.get("torch.jit._serialization")
        if script is not None:
            for owner in (script, sys.modules["torch.jit"]):
                self._replace(owner, "load", self._second_try)
        self._hook = gates.AllocatorHook(plan["device"], plan["allocator"], self.settle)

    def _watch_native(self, name, needs):
        """Lets the bodies run before a function of torch._C, or of a module in it, or a method of a
        class there (`Graph().create`), where `needs` says so of its words."""
        owner = sys.modules["torch._C"]
        *modules, last = name.split(".")
        for one in modules:
            owner = getattr(owner, one.removesuffix("()"))
        for place, name in [(owner, last), *self._holders(name)]:
            self._replace(place, name, lambda f: self._gate(f, needs))

    def _holders(self, name):
        """Modules that took a function of torch._C for themselves."""
        for module, place in self.plan["holders"].get(name, ()):
            if module in sys.modules:
                yield sys.modules[module], place

    def _gate(self, function, needs):
        """`function`, before which the bodies run where `needs` says so of its words."""

        def asks(*words, **named):
            if not self._once.done and needs((*words, *named.values())):
                self._once.settle()

        if type(function) is types.BuiltinFunctionType:
            return gates.builtin(function, asks)
        if type(function).__name__ == "instancemethod":
            return gates.method(function, asks)

        def gate(*words, **named):
            asks(*words, **named)
            return function(*words, **named)

        return gates.alike(gate, function)

    def _second_try(self, function):
        """`function`, which runs again after the bodies have, where it does not know an
        operator: TorchScript looks for them past Python."""

        def load(f, *words, **named):
            start = f.tell() if hasattr(f, "tell") else None
            try:
                return function(f, *words, **named)
            except RuntimeError as error:
                if self._once.done or not any(f"{n}::" in str(error) for n in self.plan["namespaces"]):
                    raise
            self.settle()
            if start is not None:
                f.seek(start)
            return function(f, *words, **named)

        return gates.alike(load, function)

    def _watch(self, owner, name):
        setattr(owner, name, gates.Watched(name, self.settle))
        self._undo.append((gates.forget, owner, name, None))

    def _disarm(self):
        hook, self._hook = self._hook, None
        if hook is not None:
            hook.remove()
        while self._undo:
            undo, owner, name, original = self._undo.pop()
            undo(owner, name, original)


def _change_generator():
    kind = sys.modules["torch._custom_class_base"].CustomClassBaseMeta
    sys.modules["torch._C"]._set_generator_metaclass(kind)


def _register_finalizers():
    """Has `atexit` run finalizers in the order in which it would have been asked to."""
    import weakref

    weakref.finalize(_register_finalizers, int).detach()


# What bodies do to classes, which could be seen and costs nothing: it is not deferred.
_AT_ONCE = {
    "torch._C.Generator": _change_generator,
    "weakref.finalize": _register_finalizers,
}


# Functions of torch._C that find an operator by its name, that say what kernels one has, that
# say what it has for the key that is named next, and that say what there is at all. Others that
# ask are found when a package is made, and watched whatever they are asked.
_ASK_FOR_NAMES = (
    "_jit_get_operation",
    "_get_operation_overload",
    "_get_schema",
    "_jit_get_schemas_for_operator",
    "_jit_resolve_packet",
    "_dispatch_find_schema_or_throw",
    "_dispatch_pystub",
)
_ASK_FOR_KERNELS = (
    "_dispatch_dump",
    "_dispatch_dump_table",
    "_dispatch_check_invariants",
    "_dispatch_has_kernel",
    "_dispatch_has_kernel_for_any_dispatch_key",
)
_ASK_FOR_A_KERNEL = (
    "_dispatch_has_kernel_for_dispatch_key",
    "_dispatch_has_computed_kernel_for_dispatch_key",
    "_dispatch_get_computed_kernel_for_dispatch_key",
    "_dispatch_kernel_for_dispatch_key_is_fallthrough",
)
_ASK_FOR_ALL = (
    "_dispatch_check_all_invariants",
    "_dispatch_find_dangling_impls",
    "_dispatch_get_all_op_names",
    "_dispatch_print_registrations_for_dispatch_key",
    "_dispatch_get_registrations_for_dispatch_key",
    "_dispatch_call_boxed",
    "_jit_get_all_schemas",
)


# Functions of torch._C that read the names of operators from files. `torch.jit.load` tries
# without the bodies first (`_second_try`).
READ_NAMES = (
    "_load_for_lite_interpreter",
    "_load_for_lite_interpreter_from_buffer",
    "_import_ir_module_from_package",
)


def _put_back(owner, name, both):
    """Puts the original back, unless something else has taken the gate's place."""
    gate, original = both
    if vars(owner).get(name) is gate:
        setattr(owner, name, original)


def _finder(folder):
    """What finds modules in a folder, as `pkgutil.get_importer` says it; that module is one more
    in a process whose torch does not import it."""
    if folder not in sys.path_importer_cache:
        for hook in sys.path_hooks:
            try:
                sys.path_importer_cache[folder] = hook(folder)
                break
            except ImportError:
                continue
    return sys.path_importer_cache.get(folder)


def _say(what):
    if os.environ.get("TAPER_LOG") == "1":
        print(f"taper: {what}", file=sys.stderr)
