#!/bin/bash
# Fuzz the parsers on the instrumented build: tools/fuzz.sh SECONDS
# Keep the fewest inputs that reach what all of them reach: tools/fuzz.sh --keep
#
# New inputs go to build/fuzz/corpus, findings to tests/fuzz/found (commit them with what mends them: the suite replays
# them). With any other arguments they are libFuzzer's own, as it gives them to the processes that it starts.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
site=$root/build/fuzz/site tools=$root/build/fuzz/tools kept=$root/tests/fuzz/corpus
if [ ! -d "$site/halfsync" ]; then
    echo "tools/fuzz.sh: there is no fuzzing build in build/fuzz/site; make build/fuzz.stamp makes it" >&2
    exit 2
fi

# The runtime of the sanitizer must be the first library of the process, as in tools/asan.sh; this one is libFuzzer too.
# Its symbolizer would start with it preloaded, so addresses are printed as they are: found inputs are replayed by name.
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:handle_abort=1:allocator_may_return_null=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}"
export PYTHONPATH=$site:$tools:$root PYTHONHASHSEED=0 HALFSYNC_FUZZ_PROGRAM=$root/tools/fuzz.sh
run() { env LD_PRELOAD="$tools/asan_with_fuzzer.so" "$root/.venv/bin/python" -m tests.fuzz "$@"; }
limits=(-max_len=4096 -timeout=10 -rss_limit_mb=2048 "-dict=$root/tests/fuzz/http.dict")

mkdir -p "$root/build/fuzz/corpus" "$root/build/fuzz/seeds"
case ${1:-} in
--keep)
    rm -rf "$root/build/fuzz/kept" && mkdir -p "$root/build/fuzz/kept"
    run -set_cover_merge=1 -use_value_profile=0 "${limits[@]}" \
        "$root/build/fuzz/kept" "$kept" "$root/build/fuzz/seeds" "$root/build/fuzz/corpus"
    rm -f "$kept"/*
    cp "$root/build/fuzz/kept"/* "$kept"
    echo "kept $(find "$kept" -type f | wc -l) inputs, $(cat "$kept"/* | wc -c) bytes"
    ;;
*[!0-9]* | '')
    run "$@"
    ;;
*)
    run --seeds "$root/build/fuzz/seeds"
    cd "$root"
    run -max_total_time="$1" -print_final_stats=1 -artifact_prefix="tests/fuzz/found/" "${limits[@]}" \
        "$root/build/fuzz/corpus" "$kept" "$root/build/fuzz/seeds"
    ;;
esac
