"""What an interpreter is: run with `-c` by any Python, old ones included, prints one JSON object.

Asked before `question.py`, which only the versions that taper knows can read.
"""

import sys

if sys.path[:1] == [""]:
    del sys.path[0]
import json
import platform
import sysconfig

print(
    json.dumps(
        dict(
            version=list(sys.version_info[:2]),
            full_version=platform.python_version(),
            implementation=platform.python_implementation(),
            free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        )
    )
)
