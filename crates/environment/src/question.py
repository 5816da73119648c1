"""What an interpreter says of itself: run with `-c`, prints one JSON object.

It is not isolated (`-I`), which would leave out a user's site-packages and PYTHONPATH; so a
`json.py` in one of those, or in the current folder, is kept from being imported here.
"""

import sys

if sys.path[:1] == [""]:
    del sys.path[0]
_FOUND = list(sys.path)
_STARTED = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
import os

_OWN = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
sys.path[:] = [path for path in sys.path if path not in _OWN]
import ast
import glob
import importlib.util
import json
import pkgutil
import platform
import re
import site
import sysconfig
import urllib.parse

_INSTALLERS = ("pip", "setuptools", "wheel")
_STANDARD_FINDERS = ("BuiltinImporter", "FrozenImporter", "PathFinder")


def folders():
    """Those of sys.path that distributions are installed in."""
    paths = sysconfig.get_paths()
    known = [paths["purelib"], paths["platlib"]]
    if hasattr(site, "getsitepackages"):
        known += site.getsitepackages()
    if site.ENABLE_USER_SITE:
        known.append(site.getusersitepackages())
    return [path for path in _FOUND if path in known and path not in _OWN]


def standard(known):
    """Those of sys.path that hold the standard library."""
    library = os.path.dirname(os.path.abspath(os.__file__))
    inside = re.compile(re.escape(library) + r"(/lib-dynload)?$|.*/python3\d+\.zip$|.*/lib-dynload$")
    return [path for path in _FOUND if path not in known and inside.match(path)]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


# Requirements (PEP 508) on what installs distributions. A marker that is not understood holds.

_VALUES = dict(
    os_name=os.name,
    sys_platform=sys.platform,
    platform_machine=platform.machine(),
    platform_python_implementation=platform.python_implementation(),
    platform_release=platform.release(),
    platform_system=platform.system(),
    platform_version=platform.version(),
    python_version=".".join(platform.python_version_tuple()[:2]),
    python_full_version=platform.python_version(),
    implementation_name=sys.implementation.name,
    implementation_version=platform.python_version(),
    extra="",
)


def holds(marker):
    try:
        return truth(ast.parse(marker.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return True


def truth(node):
    if isinstance(node, ast.BoolOp):
        parts = [truth(part) for part in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return True
    left, right = word(node.left), word(node.comparators[0])
    if left is None or right is None:
        return True
    operator = type(node.ops[0]).__name__
    version = any(isinstance(n, ast.Name) and n.id.endswith("_version") for n in ast.walk(node))
    numbers = [release(left), release(right)]
    if version and operator in ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE") and None not in numbers:
        size = max(map(len, numbers))
        if right.endswith(".*"):
            size = len(numbers[1])
            numbers[0] = numbers[0][:size]
        left, right = (number + (0,) * (size - len(number)) for number in numbers)
    elif operator in ("Lt", "LtE", "Gt", "GtE"):
        return True
    return {
        "Eq": lambda: left == right,
        "NotEq": lambda: left != right,
        "Lt": lambda: left < right,
        "LtE": lambda: left <= right,
        "Gt": lambda: left > right,
        "GtE": lambda: left >= right,
        "In": lambda: left in right,
        "NotIn": lambda: left not in right,
    }.get(operator, lambda: True)()


def word(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return _VALUES.get(node.id) if isinstance(node, ast.Name) else None


def release(text):
    text = text[:-2] if text.endswith(".*") else text
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d+(\.\d+)*", text) else None


def requirements(folder):
    """The installers that the distribution with this metadata folder requires."""
    lines = []
    text = read(os.path.join(folder, "METADATA")) or read(os.path.join(folder, "PKG-INFO"))
    for line in text.splitlines():
        if not line:
            break
        if line.startswith("Requires-Dist:"):
            lines.append(line.partition(":")[2])
    # Before there was a field for it (setuptools).
    marker = ""
    for line in read(os.path.join(folder, "requires.txt")).splitlines():
        if line.startswith("["):
            extra, _, marker = line.strip("[]").partition(":")
            marker = f"extra == {extra!r}" if extra else marker
        elif line.strip():
            lines.append(line + (f"; {marker}" if marker else ""))
    found = set()
    for line in lines:
        line, _, marker = line.partition(";")
        name = re.match(r"\s*([A-Za-z0-9._-]+)", line)
        if name and canonical(name[1]) in _INSTALLERS and (not marker or holds(marker)):
            found.add(canonical(name[1]))
    return sorted(found)


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# What leads to modules elsewhere than in site-packages.


def editable(known):
    """By metadata folder, the source trees of distributions installed in place (PEP 610)."""
    found = {}
    for folder in known:
        for path in glob.glob(os.path.join(glob.escape(folder), "*.dist-info", "direct_url.json")):
            try:
                told = json.loads(read(path))
                url = urllib.parse.urlsplit(told["url"])
                if told["dir_info"]["editable"] is True and url.scheme == "file":
                    found[os.path.dirname(path)] = urllib.parse.unquote(url.path)
            except (ValueError, KeyError, TypeError):
                pass
    return found


def mapped():
    """Names of modules and their places, as finders hold them that site-packages installs:
    whatever they call the table, it leads from dotted names to paths that are there."""
    found = {}
    for finder in sys.meta_path:
        if getattr(finder, "__name__", None) in _STANDARD_FINDERS:
            continue
        kind = finder if isinstance(finder, type) else type(finder)
        module = sys.modules.get(kind.__module__)
        for owner in (finder, kind, module):
            for table in list(getattr(owner, "__dict__", {}).values()):
                if not isinstance(table, dict):
                    continue
                for name, paths in table.items():
                    for path in paths if isinstance(paths, (list, tuple)) else [paths]:
                        if is_module(name) and isinstance(path, (str, os.PathLike)):
                            path = os.fspath(path)
                            if os.path.isabs(path) and os.path.exists(path):
                                found.setdefault((name, path))
    return [place(name, path) for name, path in found]


def is_module(name):
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def place(name, path):
    """The path in a package of a module at `path`, and that; for a package its folder."""
    inside = name.replace(".", "/")
    if os.path.basename(path).startswith("__init__."):
        path = os.path.dirname(path)
    if os.path.isfile(path):
        inside += os.path.basename(path)[len(os.path.basename(path).partition(".")[0]) :]
    return inside, path


def links(known, trees, plain):
    """Files of site-packages that only lead elsewhere."""
    found = set()
    for folder in known:
        found.update(glob.glob(os.path.join(glob.escape(folder), "*.egg-link")))
        for path in glob.glob(os.path.join(glob.escape(folder), "*.pth")):
            lines = [line.strip() for line in read(path).splitlines()]
            if any(line and os.path.abspath(os.path.join(folder, line)) in plain for line in lines):
                found.add(path)
    for metadata in trees:
        folder = os.path.dirname(metadata)
        found.add(os.path.join(metadata, "direct_url.json"))
        for line in read(os.path.join(metadata, "RECORD")).splitlines():
            name = line.partition(",")[0].strip('"')
            if "/" in name or not name.endswith(".pth"):
                continue
            found.add(os.path.join(folder, name))
            for module in re.findall(r"\bimport\s+(\w+)", read(os.path.join(folder, name))):
                found.update(glob.glob(os.path.join(glob.escape(folder), module + ".py")))
                cached = os.path.join(glob.escape(folder), "__pycache__", module + ".*.pyc")
                found.update(glob.glob(cached))
    return sorted(found)


def names_of(metadata):
    listed = read(os.path.join(metadata, "top_level.txt")).split()
    name = os.path.basename(metadata).partition("-")[0]
    return [name for name in listed if is_module(name)], listed or [name]


def answer():
    known = folders()
    library = standard(known)
    rest = [p for p in _FOUND if p not in known and p not in library and os.path.exists(p)]
    rest = [p for p in rest if not (p in _OWN and os.path.realpath(p) == os.getcwd())]
    plain = [path for path in rest if os.path.isdir(path)]
    trees = editable(known)
    places = mapped()
    lost, declared = [], []
    for metadata, tree in trees.items():
        top, names = names_of(metadata)
        inside = [p for p in plain if p == tree or p.startswith(os.path.join(tree, ""))]
        for folder in inside:
            for name in top:
                for path in [os.path.join(folder, name), os.path.join(folder, name + ".py")]:
                    if os.path.exists(path):
                        declared.append(place(name, path))
        if inside or any(p.startswith(os.path.join(tree, "")) or p == tree for _, p in places):
            continue
        specs = [spec for spec in map(found_by_finders, names) if spec and spec.origin]
        places += [place(spec.name, spec.origin) for spec in specs if os.path.isfile(spec.origin)]
        if not specs:
            lost.append((os.path.basename(metadata), tree))
    every = {p for p in places + declared if os.path.isdir(p[1])}
    covered = lambda p: any(
        p[0].startswith(name + "/") and p[1].startswith(path + "/") for name, path in every
    )
    places = [p for p in places if not covered(p)]
    outside = [p for p in places + declared if not any(p[1].startswith(k + "/") for k in known)]
    return dict(
        executable=sys.executable,
        base_executable=getattr(sys, "_base_executable", None) or sys.executable,
        prefix=sys.prefix,
        base_prefix=sys.base_prefix,
        machine=platform.machine(),
        magic=list(importlib.util.MAGIC_NUMBER),
        folders=known,
        standard=sorted(
            {module.name for module in pkgutil.iter_modules(library)}
            | set(sys.builtin_module_names)
        ),
        started=sorted({os.path.abspath(path) for path in _STARTED if path}),
        plain=[(path, "PYTHONPATH" if path in _OWN else ".pth") for path in plain],
        modules=sorted(set(outside)),
        trees=sorted(trees.items()),
        links=links(known, trees, plain),
        lost=sorted(lost),
        archives=[path for path in rest if os.path.isfile(path)],
        requires={
            path: names
            for folder in known
            for end in ("dist-info", "egg-info")
            for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*." + end)))
            for names in [requirements(path)]
            if names
        },
    )


def found_by_finders(name):
    """What finders other than Python's own say of a module."""
    for finder in sys.meta_path:
        if getattr(finder, "__name__", None) not in _STANDARD_FINDERS:
            try:
                spec = finder.find_spec(name, None)
            except Exception:
                continue
            if spec:
                return spec
    return None


print(json.dumps(answer()))
