"""``python -m halfsync`` is the command line."""

import os
import sys

# Python has put the working directory first on sys.path. Remove it, so that none of our imports is found in it. Loading
# the application puts the application's directory there.
try:
    _here = ["", os.getcwd()]  # noqa: PTH109 - pathlib is slow to import
except OSError:
    _here = [""]  # the working directory is gone
if not sys.flags.safe_path and sys.path and sys.path[0] in _here:
    del sys.path[0]

from halfsync.cli import main

if __name__ == "__main__":
    sys.exit(main())
