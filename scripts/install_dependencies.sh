#!/usr/bin/env bash
# Installs what is missing to build and run the program, on Debian 12, Ubuntu 24.04 and their like. Where CUDA is found,
# fetches the headers of CUTLASS and cuDNN's frontend as well.
#
#   scripts/install_dependencies.sh [--tests] [--figures] [--dry-run]
#     --tests     also what the tests need, Python packages of PyPI in .venv included
#     --figures   also what draws the figures of sweep reports
#     --dry-run   only say what is missing
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

# package|what it is for
needed='g++|C++20 compiler
cmake|configures the build
ninja-build|runs the build
pkg-config|finds libraries
libopenblas-dev|matrix products on the CPU
libopenmpi-dev|messages between ranks
openmpi-bin|mpirun, which starts the ranks
libhdf5-dev|token stores and checkpoints
libyaml-cpp-dev|configuration files
libcli11-dev|command line
libfmt-dev|text in messages and reports
nlohmann-json3-dev|tokenizer files and metrics
libpcre2-dev|splits text in the tokenizer
libxxhash-dev|checksums
libssl-dev|SHA-256
zlib1g-dev|text files compressed by gzip
liblzma-dev|text files compressed by xz
libzstd-dev|text files compressed by zstd'
needed_by_tests='libgtest-dev|test framework
python3|size and layer checks
python3-venv|Python packages that tests compare with
clang-format-14|format check
iproute2|network namespaces, in which tests start hosts
slurmctld|controller of the Slurm that tests start
slurmd|its nodes
slurm-client|its commands
munge|its credentials'

dry_run= with_tests=
for argument in "$@"; do
  case $argument in
    --tests) with_tests=1 needed="$needed
$needed_by_tests" ;;
    --figures) needed="$needed
python3-matplotlib|figures of sweep reports" ;;
    --dry-run) dry_run=1 ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) fail "unknown option $argument; known: --tests, --figures, --dry-run, --help" ;;
  esac
done

if ! command -v apt-get > /dev/null; then
  fail "this system has no apt-get; install by hand, under the names it has there:
${needed//|/ - }"
fi

headers=
if find_nvcc > /dev/null; then headers=$(scripts/fetch_headers.sh --missing); fi
if [ -n "$headers" ] && ! python3 -m pip --version > /dev/null 2>&1; then
  needed="$needed
python3-pip|fetches headers of CUDA libraries"
fi

missing=()
while IFS='|' read -r package purpose; do
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" != installed ]; then
    [ ${#missing[@]} -gt 0 ] || echo "Missing packages, with what each is for:"
    printf '  %-20s %s\n' "$package" "$purpose"
    missing+=("$package")
  fi
done <<< "$needed"
if [ ${#missing[@]} -eq 0 ]; then echo "Every package needed is installed."; fi
if [ -n "$headers" ]; then printf 'Missing headers, from PyPI:\n  %s\n' "${headers//$'\n'/$'\n'  }"; fi
python_packages=
if [ -n "$with_tests" ] && ! cmp -s tests/requirements.txt .venv/requirements.txt; then
  python_packages=$(grep -v '^#' tests/requirements.txt)
  printf 'Missing Python packages, from PyPI:\n  %s\n' "${python_packages//$'\n'/$'\n'  }"
fi
[ -z "$dry_run" ] || exit 0

log=$(mktemp)
trap 'rm -f "$log"' EXIT
as_root=()
install() {
  "${as_root[@]}" apt-get update -q > "$log" 2>&1 &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -q -y --no-install-recommends "${missing[@]}" 2>&1 | tee -a "$log" |
    { grep --line-buffered -E '^(Need to get|After this)' || true; }
}
install_python_packages() {
  python3 -m venv .venv &&
    .venv/bin/python -m pip install -q --disable-pip-version-check --only-binary=:all: -r tests/requirements.txt &&
    cp tests/requirements.txt .venv/  # last: all are there
}
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || fail "run as root: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  echo "Installing them${as_root:+ with sudo} from the package sources of this system ..."
  if ! install; then
    tail -n 25 "$log" >&2
    fail "apt-get failed; its last lines are above"
  fi
  echo "Installed ${#missing[@]} packages."
fi
if [ -n "$python_packages" ] && ! install_python_packages; then
  echo "Going on without them: the tests that compare with them skip."
fi
if [ -n "$headers" ] && ! scripts/fetch_headers.sh; then
  echo "Going on without them: built-in kernels, which are slower, do their work on GPUs."
fi
