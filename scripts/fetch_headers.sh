#!/usr/bin/env bash
# Fetches the header-only libraries that the CUDA code uses where they are: CUTLASS and cuDNN's frontend. They are
# pinned packages of PyPI, of which only the headers are unpacked, below third_party/.
#
#   scripts/fetch_headers.sh [--missing]
#     --missing   only say which are missing
#
# Needs Python 3 with pip. CMake finds what is there (ENGRAM_CUTLASS, ENGRAM_CUDNN); without them built-in kernels do
# the same work more slowly.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

only_say=
case ${1:-} in
  '') ;;
  --missing) only_say=1 ;;
  --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) fail "unknown option $1; known: --missing, --help" ;;
esac

# unpack FOLDER PACKAGE VERSION HEADERS DIGEST
unpack() {
  local folder=third_party/$1 package=$2 version=$3 headers=$4 digest=$5
  echo "$package==$version --hash=sha256:$digest" > "$work/wanted.txt"
  # One wheel on every machine: its headers are the same in all of them.
  python3 -m pip download -q --no-deps --require-hashes --only-binary=:all: --python-version 3.11 \
    --implementation cp --abi cp311 --abi none --platform manylinux_2_28_x86_64 --platform any \
    -d "$work/wheels" -r "$work/wanted.txt" || return 1
  python3 -m zipfile -e "$work/wheels/${package//-/_}-"*.whl "$work/$1" || return 1
  rm -rf "$folder"
  mkdir -p "$(dirname "$folder")"
  mv "$work/$1/$headers" "$folder"
  echo "$version" > "$folder/.version"  # last: the folder is whole
}

# fetch FOLDER PACKAGE VERSION HEADERS DIGEST: the package's headers below HEADERS, unless they are there. DIGEST is the
# SHA-256 of its wheel.
fetch() {
  if [ "$(cat "third_party/$1/.version" 2> /dev/null)" = "$3" ]; then return; fi
  if [ -n "$only_say" ]; then
    echo "$2 $3"
  else
    unpack "$@" || fail "cannot fetch $2 $3; pip said why above"
    echo "Headers of $2 $3 are in third_party/$1."
  fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch cutlass nvidia-cutlass 4.2.0.0 cutlass_library/source/include \
  f9599ada45c7bcb6bf53f7d3f0a7d154183e53451c01bfa59eecd37dd4a693f6
fetch cudnn_frontend/include nvidia-cudnn-frontend 1.32.0 include \
  c6006556017a4d1c914c52a556c71b1267f2d6a0500f742e7b4edef539878df0
