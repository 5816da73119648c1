"""What this package does otherwise than Python when it starts, in this process.

`planned.py` says what it was made to do. The variable `TAPER_EAGER` switches all of it off, for
finding out whether it is to blame for something. What depends on the exact version of
Python is left alone in another one.
"""

import os
import sys

from _taper import planned

_VERSION = sys.version.split()[0]


def _minor(version):
    return version.split(".")[:2]


# The code of its modules is that of one minor version of CPython.
if (
    sys.implementation.name != "cpython"
    or _minor(_VERSION) != _minor(planned.VERSION)
    or "t" in getattr(sys, "abiflags", "")
):
    raise ImportError(
        f"the package in {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))} is for "
        f"CPython {'.'.join(_minor(planned.VERSION))}, and this is {sys.implementation.name} "
        f"{_VERSION}{getattr(sys, 'abiflags', '')}; run it with that, or pack anew with this"
    )

_EAGER = os.environ.get("TAPER_EAGER", "") not in ("", "0")

# Whether the garbage collector is spared (`collector.py`).
SPARES = planned.SPARES and not _EAGER

# Groups of modules whose bodies are deferred (`deferred.py`).
DEFERRED = {} if _EAGER else planned.DEFERRED

# Whether answers that functions had, and what modules compiled, are taken as they were
# (`answers.py`, `compiled.py`).
REMEMBERS = not _EAGER and _VERSION == planned.VERSION
