#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test that needs no GPU.
#
#   scripts/test.sh [--quick]
#     --quick   neither CUDA compilation, sanitizers nor the tests with the label slow
#
# ENGRAM_JOBS=N sets the number of build and test jobs. The last lines are the summary of the whole test suite.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

quick=
case ${1:-} in
  '') ;;
  --quick) quick=1 ;;
  --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) fail "unknown option $1; known: --quick, --help" ;;
esac

# build PRESET [TARGET...]: all targets if none is named.
build() {
  local preset=$1
  shift
  if ! cmake --preset "$preset" -DENGRAM_TESTS=ON > "build/$preset.log" 2>&1; then
    cat "build/$preset.log"
    fail "cmake --preset $preset failed; what it said is above"
  fi
  cmake --build --preset "$preset" -j "$ENGRAM_JOBS" ${1:+--target "$@"}
}

mkdir -p build
announce "packages"
scripts/install_dependencies.sh --tests

announce "build: program, tests, and each header alone ($ENGRAM_JOBS jobs)"
build cpu
build cpu all_verify_interface_header_sets

if [ -z "$quick" ]; then
  if nvcc=$(find_nvcc); then
    announce "build: all CUDA code, with $nvcc"
    CUDACXX=$nvcc build cuda kernels_tests parallel_tests engram
  else
    announce "CUDA code is not compiled: there is no nvcc in PATH or in ${CUDA_HOME:-/usr/local/cuda}/bin"
  fi
  announce "tests under AddressSanitizer and UndefinedBehaviorSanitizer"
  build asan
  ctest --preset asan --no-tests=error -j "$ENGRAM_JOBS"
  announce "tests whose ranks are threads under ThreadSanitizer"
  build tsan parallel_tests trainer_tests
  ctest --preset tsan --no-tests=error -j "$ENGRAM_JOBS"
fi

announce "tests"
ctest --preset cpu --no-tests=error -j "$ENGRAM_JOBS" ${quick:+-LE slow}
