#!/usr/bin/env bash
# Checks a machine with a GPU: every GPU test (with two GPUs those of two ranks, too), a reduced set once more under
# compute-sanitizer, and the benchmarks.
# Writes results.jsonl (one line per part and per measurement) and summary.md, which names card, driver and commit.
#
#   scripts/gpu_check.sh [--bundle DIR] [--output DIR] [--configs "A B"] [--skip PART]... [--peer]
#     --bundle DIR      programs of scripts/bundle.sh --with-tests; otherwise they are built here
#     --output DIR      where results go, build/gpu_check unless told
#     --configs "A B"   names in configs/bench to time, "tiny a_mha a_mha_engram" unless told
#     --skip PART       tests, sanitizer, ops, rows or steps; may be repeated
#     --peer            time the PyTorch peer beside each configuration and the row path
#
# Ends with code 1 where a part failed; the others still run.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. scripts/environment.sh

bundle=
output=build/gpu_check
configs="tiny a_mha a_mha_engram"
skip=" "
peer=
while [ $# -gt 0 ]; do
  case $1 in
    --bundle) bundle=$(realpath "$2"); shift ;;
    --output) output=$2; shift ;;
    --configs) configs=$2; shift ;;
    --skip) skip+="$2 "; shift ;;
    --peer) peer=1 ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) fail "unknown option $1; see --help" ;;
  esac
  shift
done

nvidia-smi > /dev/null 2>&1 || fail "nvidia-smi does not answer: there is no GPU here, or no driver for it"
mkdir -p "$output"
output=$(realpath "$output")
results=$output/results.jsonl
: > "$results"
if [ -z "$bundle" ]; then
  announce "build ($ENGRAM_JOBS jobs)"
  cmake --preset cuda > "$output/cmake.log" 2>&1 || { cat "$output/cmake.log"; fail "cmake failed"; }
  cmake --build --preset cuda -j "$ENGRAM_JOBS" > "$output/build.log" 2>&1 ||
    { tail -n 40 "$output/build.log"; fail "the build failed; $output/build.log has all of it"; }
  mkdir -p "$output/bundle/bin"
  ln -sf "$PWD/build/cuda/engram" "$PWD"/build/cuda/tests/*_tests "$output/bundle/bin/"
  bundle=$output/bundle
fi
engram=$bundle/bin/engram
commit=$("$engram" --version) || fail "$engram does not start"
card=$(nvidia-smi --query-gpu=name --format=csv,noheader | sed -n 1p)
driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | sed -n 1p)
failed=0
rows=

# part NAME COMMAND...: runs a part, keeps what it prints in NAME.log, records how it ended.
part() {
  local name=$1 begin=$SECONDS code=0 what
  shift
  announce "$name"
  "$@" > "$output/$name.log" 2>&1 || code=$?
  what=$(grep -E '^\[  (PASSED|FAILED)  \]|ERROR SUMMARY|^rate |^(OK|FAILED)( \(|$)' "$output/$name.log" | tail -n 1)
  tail -n 3 "$output/$name.log"
  if [ "$code" != 0 ]; then failed=1; fi
  printf '{"kind": "check", "part": "%s", "exit_code": %d, "seconds": %d, "device": "%s", "driver": "%s", %s}\n' \
    "$name" "$code" $((SECONDS - begin)) "$card" "$driver" "\"commit\": \"$commit\", \"command\": \"${*//\"/\'}\"" \
    >> "$results"
  rows+="| $name | $([ "$code" = 0 ] && echo passed || echo "**failed, exit code $code**") | ${what//|/ } |"$'\n'
}

wanted() { [[ $skip != *" $1 "* ]]; }

if wanted tests; then
  for program in "$bundle"/bin/*_tests; do
    part "$(basename "$program")" "$program" --gtest_filter='*GpuTest*:*Cuda*:Nccl*' --gtest_brief=1
  done
  if [ "$(nvidia-smi -L | wc -l)" -ge 2 ]; then
    part nccl_under_mpi mpirun -n 2 "$bundle/bin/parallel_mpi_tests" --gtest_filter='Nccl*' --gtest_brief=1
    part devices env ENGRAM_DEVICE=cuda ENGRAM_PROGRAM="$engram" python3 tests/end_to_end/devices_test.py
  fi
fi
if wanted sanitizer && command -v compute-sanitizer > /dev/null; then
  # What is slow under it, for what it covers more than the rest does, stays out.
  filter='*GpuTest*-*Slow*:*TwoBillion*:*Large*:*TimesWhat*'
  for tool in memcheck racecheck; do
    part "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 --kernel-name-exclude kernel_substring=cutlass \
      $([ "$tool" != memcheck ] || echo --report-api-errors no) \
      "$bundle/bin/kernels_tests" --gtest_filter="$filter" --gtest_brief=1
  done
fi
if wanted ops; then
  part ops "$engram" bench ops configs/bench/a.yaml --json "$results"
fi
if wanted rows; then
  # The same work on both sides; the table fills 20 GiB.
  part rows "$engram" bench table --tokens 1048576 --rows-per-token 1 --values float32 --json "$results"
  if [ -n "$peer" ]; then
    part peer_rows python3 scripts/peer/rows.py table --tokens 1048576 --rows-per-token 1 --json "$results"
  fi
fi
if wanted steps; then
  for name in $configs; do
    part "step_$name" "$engram" bench step "configs/bench/$name.yaml" --profile --json "$results"
    if [ -n "$peer" ]; then
      part "peer_$name" python3 scripts/peer/train.py "configs/bench/$name.yaml" --json "$results"
    fi
  done
fi

{
  printf '# GPU check\n\n%s, driver %s, %s, %s\n\n' "$card" "$driver" "$commit" "$(date -u +%F)"
  printf '| part | outcome | last words |\n|---|---|---|\n%s' "$rows"
} > "$output/summary.md"
announce "$output/summary.md"
cat "$output/summary.md"
exit "$failed"
