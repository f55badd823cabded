"""``python -m halfsync`` is the command line."""

import os
import sys

# Python has put the working directory first. The application's is put there when that is loaded: until then what we
# import is not to be found in it.
try:
    _here = ["", os.getcwd()]  # noqa: PTH109 - pathlib is slow to import
except OSError:
    _here = [""]  # it is gone
if not sys.flags.safe_path and sys.path and sys.path[0] in _here:
    del sys.path[0]

from halfsync.cli import main

if __name__ == "__main__":
    sys.exit(main())
