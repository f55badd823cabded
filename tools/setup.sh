#!/usr/bin/env bash
# Make the virtual environment in $1 with everything that building, testing and serving the example need.
set -euo pipefail
venv=$1

say() { printf 'halfsync set-up: %s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "no Python 3.11 or later found (looked for \$PYTHON, python3.11, python3.12, python3.13, python3)"
    exit 1
}

python=$(find_python)

# Debian splits venv and the C headers from the interpreter: install what is missing where we may, else say it.
missing=()
"$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
"$python" -c 'import os, sysconfig; assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null \
    || missing+=(python3-dev)
command -v gcc >/dev/null || missing+=(gcc)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing ${missing[*]}"
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        say "missing: ${missing[*]}; install them (for example: sudo apt-get install ${missing[*]}) and try again"
        exit 1
    fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"

# The dependencies are read from pyproject.toml, so that they stand in one place.
"$venv/bin/python" - > "$venv/requirements.txt" <<'PY'
import tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
print("\n".join(project["dependencies"] + extras["dev"] + extras["lab"]))
PY
say "installing the build and test tools into $venv"
"$venv/bin/python" -m pip --disable-pip-version-check -q install -r "$venv/requirements.txt"
