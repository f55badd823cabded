#!/usr/bin/env bash
# Get what `make fuzz` needs: clang with its sanitizers, and the [fuzz] extra, installed into $2 with the Python of $1.
set -euo pipefail
venv=$1 target=$2

say() { printf 'halfsync set-up: %s\n' "$*" >&2; }

# $1: the package, as Debian names it.
install() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $1"
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1" >/dev/null
    else
        say "missing: $1; install it (for example: sudo apt-get install $1) and try again"
        exit 1
    fi
}

has_headers() { echo '#include <sanitizer/asan_interface.h>' | clang -fsanitize=address,fuzzer-no-link -E - >/dev/null 2>&1; }

# With atheris comes the runtime of AddressSanitizer and libFuzzer: of clang, the compiler and its headers are enough.
command -v clang >/dev/null || install clang
has_headers || install "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"

# The dependencies are read from pyproject.toml, so that they stand in one place.
mapfile -t packages < <("$venv/bin/python" - <<'PY'
import tomllib
with open("pyproject.toml", "rb") as file:
    print("\n".join(tomllib.load(file)["project"]["optional-dependencies"]["fuzz"]))
PY
)
say "installing ${packages[*]} into $target"
rm -rf "$target"
"$venv/bin/python" -m pip --disable-pip-version-check -q install --target "$target" "${packages[@]}"
