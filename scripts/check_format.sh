#!/usr/bin/env bash
# Checks every C++ and CUDA file against .clang-format, or formats them.
#
#   scripts/check_format.sh [--fix]     needs clang-format 14: other versions break lines elsewhere
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
tool=$(command -v clang-format-14 || command -v clang-format) || fail "clang-format 14 is not installed"
case $("$tool" --version) in
  *" version 14."*) ;;
  *) fail "$tool is $("$tool" --version); wanted version 14 (package clang-format-14)" ;;
esac
mapfile -t files < <(find kernels parallel data model trainer tests -regex '.*\.\(h\|cpp\|cu\|cuh\)')
case ${1:-} in
  --fix) "$tool" -i "${files[@]}" ;;
  '') "$tool" --dry-run -Werror "${files[@]}" && echo "format: ${#files[@]} files are as clang-format writes them" ;;
  *) fail "unknown option $1; known: --fix" ;;
esac
