#!/usr/bin/env bash
# Install the system programs that some tests use. Where they cannot be had, those tests skip and print the reason.
set -euo pipefail
packages=()
command -v chromium >/dev/null || packages+=(chromium)
command -v curl >/dev/null || packages+=(curl)
command -v redis-benchmark >/dev/null || packages+=(redis-tools)
command -v slowhttptest >/dev/null || packages+=(slowhttptest)
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "halfsync set-up: installing ${packages[*]}" >&2
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
else
    echo "halfsync set-up: ${packages[*]} not found; the tests that need them will be skipped" >&2
fi
