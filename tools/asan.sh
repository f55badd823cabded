#!/bin/bash
# Run a command with the sanitizer build of halfsync: tools/asan.sh python -m pytest tests/faults
#
# It has AddressSanitizer and UndefinedBehaviorSanitizer. The first must be the first library of the process, and Python is
# not built with it: so it is preloaded, and the second behind it, for all extensions to share one. Every process that the
# command starts inherits all of this, and so tests the same build.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
site=$root/build/asan/site
if [ ! -d "$site/halfsync" ]; then
    echo "tools/asan.sh: there is no sanitizer build in build/asan/site; make build/asan.stamp makes it" >&2
    exit 2
fi
preload=
for name in asan ubsan; do
    library=$(gcc -print-file-name=lib$name.so)
    if [ ! -e "$library" ]; then
        echo "tools/asan.sh: gcc has no lib$name.so; install the one of its version (lib$name on Fedora)" >&2
        exit 2
    fi
    preload=$preload${preload:+:}$library
done

# Python leaves memory to the end of the process on purpose, so leaks are not looked for here: the checks build counts
# native objects instead. Objects come from malloc, so that the sanitizer sees each of them on its own.
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="halt_on_error=1:abort_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}"
export PYTHONMALLOC=malloc
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
exec env LD_PRELOAD="$preload" "$@"
