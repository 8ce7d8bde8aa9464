#!/usr/bin/env bash
# Feeds mutated input to what reads files of users, under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   scripts/fuzz.sh [TARGET...] [--executions N]
#     TARGET          a file tests/fuzz/TARGET_fuzz.cpp; all if none is named
#     --executions N  inputs for each; default 1000000, and 100000 for the targets that read HDF5
#
# Needs clang with libFuzzer (package clang of Debian 12). Corpora grow in build/fuzz/corpus/TARGET from run to run. An
# input that is read for longer than 30 s, takes more than 2 GB, or ends the program is a finding and stays in
# build/fuzz/findings/TARGET until the next run. A program that ends before its time without a finding fails as well.
# Findings inside libhdf5 are counted by themselves: they take a file with forged digests.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

hdf5_targets=" checkpoint token_store "
targets=()
executions=
while [ $# -gt 0 ]; do
  case $1 in
    --executions) executions=${2:?--executions wants a number}; shift ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    -*) fail "unknown option $1; known: --executions, --help" ;;
    *) targets+=("$1") ;;
  esac
  shift
done
mapfile -t known < <(find tests/fuzz -name '*_fuzz.cpp' -printf '%f\n' | sed 's/_fuzz.cpp//' | sort)
if [ ${#targets[@]} = 0 ]; then targets=("${known[@]}"); fi
for target in "${targets[@]}"; do
  [ -f "tests/fuzz/${target}_fuzz.cpp" ] || fail "no target $target; known: ${known[*]}"
done

command -v clang++ > /dev/null || fail "clang++ is missing; libFuzzer is part of it (Debian: apt-get install clang)"
echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
  clang++ -fsanitize=fuzzer -x c++ - -o /dev/null 2> /dev/null || fail "clang++ lacks libFuzzer (-fsanitize=fuzzer)"

announce "build"
cmake --preset fuzz > /dev/null
cmake --build --preset fuzz -j "$ENGRAM_JOBS" --target "${targets[@]/%/_fuzz}"

# in_hdf5 PROGRAM INPUT: whether the first function of ours or of HDF5 in the report on this input is one of HDF5.
in_hdf5() {
  local report
  report=$("$1" -timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=1024 "$2" 2>&1 || true)
  grep -m1 -oE ' in (H5|engram::)' <<< "$report" | head -1 | grep -q H5
}

# fuzz TARGET: one line about it. HDF5 may end the process, so that other targets alone stop at the first finding.
fuzz() {
  local target=$1 program=build/fuzz/tests/fuzz/$1_fuzz corpus=build/fuzz/corpus/$1 findings=build/fuzz/findings/$1
  local log=build/fuzz/$1.log count=${executions:-1000000} symbolize=1 on_findings=() ours=0 of_hdf5=0 num_done coverage
  if [[ $hdf5_targets == *" $target "* ]]; then
    count=${executions:-100000} symbolize=0  # naming functions takes longer than most runs; in_hdf5 does it once
    on_findings=(-fork=1 -ignore_crashes=1 -ignore_timeouts=1 -ignore_ooms=1)
  fi
  rm -rf "$findings"
  mkdir -p "$corpus" "$findings"
  ASAN_OPTIONS=$ASAN_OPTIONS:symbolize=$symbolize "$program" "$corpus" "tests/fuzz/seeds/$target" -runs="$count" \
    -timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=1024 -artifact_prefix="$findings/" "${on_findings[@]}" \
    > "$log" 2>&1 || true
  for input in "$findings"/*; do
    [ -f "$input" ] || continue
    if in_hdf5 "$program" "$input"; then of_hdf5=$((of_hdf5 + 1)); else ours=$((ours + 1)); echo "finding: $input"; fi
  done
  num_done=$(grep -oE '^#[0-9]+' "$log" | tail -1 | tr -d '#' || true)
  coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -1 | cut -d' ' -f2 || true)
  echo "$target: ${num_done:=0} executions, coverage ${coverage:-0}, $ours findings, $of_hdf5 in libhdf5"
  [ "$ours" = 0 ] || return 1
  [ "$of_hdf5" != 0 ] || [ "$num_done" -ge "$count" ] || { echo "$target: ended before $count, see $log"; return 1; }
}

TMPDIR=$(mktemp -d -p "$(if [ -d /dev/shm ]; then echo /dev/shm; else echo /tmp; fi)")  # no disk has to be waited for
trap 'rm -rf "$TMPDIR"' EXIT
export TMPDIR ASAN_OPTIONS=quarantine_size_mb=8:malloc_context_size=3
export UBSAN_OPTIONS=print_stacktrace=1
well=0
for target in "${targets[@]}"; do
  announce "$target"
  fuzz "$target" || well=1
done
exit $well
