"""Lets functions remember what they would read the package's own files for.

When the package was made, functions that their authors declare to depend on nothing but their
arguments (`functools.lru_cache`) were called as imports call them, and their answers to these
calls were written down where nothing spoke against it (`crates/startup`). Here each gives them to
the same calls, and makes others anew.
"""

import functools
import marshal


def remember(module, known, root):
    """Gives functions at the top of `module`, whose body has run, their answers: `known` has for
    each name what reads them. Paths in answers' arguments are those inside `root`."""
    about = vars(module)
    for name, read in known.items():
        asked = about.get(name)
        if type(asked) is functools._lru_cache_wrapper:
            about[name] = _remembering(asked, read, root)


def _remembering(asked, read, root):
    function = asked.__wrapped__
    answers = None

    def inside(text):
        return text[len(root) :] if text.startswith(root) else None

    def remember(*words, **named):
        nonlocal answers
        if answers is None:
            answers = marshal.loads(read())
        try:
            found = answers.get(call_key(words, named, inside))
        except ValueError:
            found = None
        return function(*words, **named) if found is None else marshal.loads(found)

    made = functools.lru_cache(**asked.cache_parameters())(remember)
    vars(made).clear()
    vars(made).update(vars(asked))
    for name in functools.WRAPPER_ASSIGNMENTS:
        if hasattr(asked, name):
            setattr(made, name, getattr(asked, name))
    return made


def call_key(words, named, inside):
    """The call as it is written down, by whoever looks for answers too (`crates/startup`). A path
    for which `inside` gives its part inside the package is that part, wherever the package lies.
    Raises ValueError for a call that is not written down."""
    words = tuple(_word(word, inside) for word in words)
    named = tuple((name, _word(named[name], inside)) for name in sorted(named))
    return marshal.dumps((words, named), 2)


def _word(word, inside):
    kind = type(word)
    if kind is str:
        part = inside(word)
        return word if part is None else ("inside", part)
    if kind.__name__ == "PosixPath" and kind.__module__.partition(".")[0] == "pathlib":
        return ("path", _word(str(word), inside))
    if word is None or kind in (bool, int, float, bytes):
        return word
    raise ValueError(f"an argument is a {kind.__name__}")
