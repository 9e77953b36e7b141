# Sourced by the scripts beside it: the clone as working directory, messages, and root where it is needed.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Network namespaces, taps and loop mounts need root; building does not.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo; then sudo -E env "PATH=$PATH" "$@"
    else die "this needs root, and sudo is not installed: $*"; fi
}

# cargo and nextest start test binaries through this.
if [ "$(id -u)" != 0 ]; then
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo -E env PATH=$PATH"
fi
PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"
# shellcheck disable=SC2034
target=${CARGO_TARGET_DIR:-target}
