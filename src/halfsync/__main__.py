"""``python -m halfsync`` is the command line."""

import sys

from halfsync.cli import main

if __name__ == "__main__":
    sys.exit(main())
