"""The command line: parse, call, print, and turn every outcome into an exit code.

0: a clean end; 2: a usage error; 3: the application could not be loaded; 4: a listener could not be bound; 130:
interrupted before serving.
"""

import sys
from collections.abc import Sequence

from halfsync.errors import StartError
from halfsync.runtime.output import complain, hold_standard_descriptors, settle_output
from halfsync.runtime.standard import genuine

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. A user's mistake gets one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    hold_standard_descriptors()
    try:
        # Imported here, so that an interrupt during the imports ends as quietly as any other.
        with genuine():
            from halfsync.cli.commands import run  # noqa: PLC0415

        return run(given)
    except StartError as error:
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        settle_output()
