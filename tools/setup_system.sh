#!/usr/bin/env bash
# Install the system programs that some tests use. Where they cannot be had, those tests skip and print the reason.
set -euo pipefail
PATH="$PATH:/usr/sbin"  # where nginx and haproxy are, which not every user looks through
packages=()
command -v chromium >/dev/null || packages+=(chromium)
command -v curl >/dev/null || packages+=(curl)
command -v haproxy >/dev/null || packages+=(haproxy)
command -v nginx >/dev/null || packages+=(nginx)
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || packages+=(libnginx-mod-stream)  # where Debian puts it
command -v podman >/dev/null || packages+=(podman)
command -v runc >/dev/null || packages+=(runc)  # for podman, under cgroups of any version
command -v promtool >/dev/null || packages+=(prometheus)  # which has it
command -v redis-benchmark >/dev/null || packages+=(redis-tools)
command -v slowhttptest >/dev/null || packages+=(slowhttptest)
[ -e /lib/systemd/systemd ] || packages+=(systemd)  # of which the tests run one of their own
command -v wrk >/dev/null || packages+=(wrk)
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "halfsync set-up: installing ${packages[*]}" >&2
    # The tests start what they need; as in single-user mode, no service is started for being installed.
    apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
else
    echo "halfsync set-up: ${packages[*]} not found; the tests that need them will be skipped" >&2
fi
