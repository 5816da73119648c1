"""Measures what imports add, in processes of their own. Reads JSON from standard input:
a list of objects with `text`, an import statement, `parent`, the package at its top, and
`leaves`. Writes a list with, for each, what it adds to a program that has all the others
but those that leave."""

import gc
import json
import os
import signal
import sys
import time

LIMIT = 120


def mapped():
    """Bytes of the files that are mapped, by path."""
    found = {}
    for line in open("/proc/self/maps"):
        path = line[73:].strip()
        if path.startswith("/") and os.path.exists(path):
            found[path] = os.path.getsize(path)
    return found


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# What changes with every import and nobody depends on.
CACHES = {"re", "linecache", "tokenize", "functools", "importlib._bootstrap_external", "typing",
          "importlib._bootstrap", "_frozen_importlib", "_frozen_importlib_external", "zipimport",
          "abc", "_weakrefset", "weakref", "copyreg", "sre_compile", "ast", "inspect", "__main__",
          # The same lists under another name.
          "_warnings", "warnings", "posix", "os.environ"}
CONTAINERS = (dict, list, set)


def state():
    """What the importing of a module may change elsewhere."""
    import atexit

    modules = {}
    for name, module in list(sys.modules.items()):
        if name in CACHES or name == "sys":
            continue
        try:
            values = vars(module)
        except TypeError:
            continue
        modules[name] = {
            key: (id(value), len(value) if type(value) in CONTAINERS else 0)
            for key, value in list(values.items())
            if key != "__warningregistry__"
        }
    import warnings

    rest = {
        "atexit": atexit._ncallbacks(),
        "signal handlers": [str(signal.getsignal(n)) for n in range(1, signal.NSIG)],
        "os.environ": dict(os.environ),
        "sys.path": list(sys.path),
        "sys.meta_path": len(sys.meta_path),
        "sys.path_hooks": len(sys.path_hooks),
        "sys.excepthook": id(sys.excepthook),
        "sys.displayhook": id(sys.displayhook),
        "warnings.filters": len(warnings.filters),
        "recursion limit": sys.getrecursionlimit(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "_C"):
        rest["operators of torch"] = len(torch._C._jit_get_all_schemas())
        rest["torch's default dtype"] = str(torch.get_default_dtype())
        rest["torch's threads"] = torch.get_num_threads()
    return modules, rest


def effects(before, after):
    found = [what for what, value in before[1].items() if after[1].get(what) != value]
    if "operators of torch" not in before[1] and "operators of torch" in after[1]:
        found = [what for what in found if what.startswith(("sys.", "os.", "signal", "recursion"))]
    for name, values in before[0].items():
        now = after[0].get(name)
        if now is None:
            found.append(f"{name} is gone")
            continue
        for key, value in now.items():
            if values.get(key) != value and f"{name}.{key}" not in sys.modules:
                found.append(f"{name}.{key}")
    return found


def run(texts, space):
    for text in texts:
        try:
            exec(text, space)
        except BaseException:
            pass


def alone(parent, owns):
    """What `import parent` takes, and the modules that each of `owns` loads beyond it."""
    own, space = work([], f"import {parent}"), {}
    base = set(sys.modules)
    beyond = [apart(loaded, own_text, space) for own_text in owns]
    return {"parent": own, "modules": sorted(base), "beyond": beyond}


def loaded(text, space):
    before = set(sys.modules)
    try:
        exec(text, space)
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    return {"modules": sorted(set(sys.modules) - before)}


def work(others, own):
    """What `own` adds after `others`."""
    space = {}
    run(others, space)
    import warnings  # Their filters are looked at.

    files, before = mapped(), state()
    modules = set(sys.modules)
    gc.collect()
    memory = resident()
    start = time.perf_counter()
    try:
        exec(own, space)
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    spent = time.perf_counter() - start
    grown = resident() - memory
    added = sorted(set(sys.modules) - modules)
    changed = effects(before, state())
    size = sum(size for path, size in mapped().items() if path not in files)
    for name in added:
        path = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(path, str) and path.endswith(".py") and os.path.exists(path):
            size += os.path.getsize(path)
    return {"modules": len(added), "milliseconds": spent * 1000, "memory": max(grown, 0),
            "bytes": size, "effects": list(dict.fromkeys(changed))[:8]}


def apart(function, *arguments):
    """The result of a function in a child, which leaves nothing behind here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        silent = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(silent, number)
        signal.alarm(LIMIT)
        answer = json.dumps(function(*arguments)).encode()
        while answer:
            answer = answer[os.write(writing, answer):]
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    status = os.waitpid(child, 0)[1]
    if status or not answer:
        return {"error": f"the process that imported it ended with status {status}"}
    return json.loads(answer)


def main():
    imports = json.load(sys.stdin)
    by_parent = {}
    for one in imports:
        by_parent.setdefault(one["parent"], []).append(one["text"])
    parents, beyond = {}, {}
    start = set(sys.modules)
    for parent, own in by_parent.items():
        found = apart(alone, parent, own)
        parents[parent] = found
        for text, loads in zip(own, found.get("beyond", [])):
            beyond[text] = loads
    results = []
    for one in imports:
        text, parent = one["text"], parents[one["parent"]]
        loads = beyond.get(text, {"error": parent.get("error")})
        if "error" in loads:
            results.append({"error": loads["error"]})
            continue

        def everything(text):
            around = parents[next(other["parent"] for other in imports if other["text"] == text)]
            return set(around.get("modules", ())) | set(beyond.get(text, {}).get("modules", ()))

        others = [other["text"] for other in imports if not other["leaves"]]
        others = [other for other in others if other != text]
        shared = start.union(*(everything(other) for other in dict.fromkeys(others)))
        # Only what loads something that nothing else does is run once more, after the rest.
        result = apart(work, others, text) if everything(text) - shared else {}
        result["parent"] = parent.get("parent")
        result["beyond"] = len(loads["modules"])
        results.append(result)
    json.dump(results, sys.stdout)


main()
