# Shared by scripts/setup, demo and test: sourced, not run.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
started=$SECONDS

say() { printf '\033[1m[flame %3d s]\033[0m %s\n' "$((SECONDS - started))" "$*" >&2; }

fail() {
  printf '\033[1;31m[flame] %s\033[0m\n' "$*" >&2
  exit 1
}

# Runs a step that is described in words; stops with the step's name where it fails.
step() {
  local description=$1
  shift
  say "$description"
  "$@" || fail "this step failed: $description (command: $*)"
}

# Runs a command as root: as it is for root, through sudo for anybody else.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "installing packages needs root; run as root or install sudo, or install by hand: $*"
  fi
}

missing_packages() {
  local package
  grep -v '^#' "$repository/scripts/packages.txt" | while read -r package; do
    [ -z "$package" ] && continue
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || echo "$package"
  done
}
