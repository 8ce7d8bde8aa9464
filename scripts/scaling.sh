#!/usr/bin/env bash
# How training scales on this host: on 1, 2, 4, 8 of its GPUs, as many as there are, within ten minutes. Writes
# results.jsonl, a line for each measurement and for what the scale model says of it, and summary.md.
#
#   scripts/scaling.sh [--output DIR] [--only PART]... [--cpu]
#     --output DIR   where results go, build/scaling unless told
#     --only PART    weak, tables, exchange, strong, experts or published; may be repeated
#     --cpu          small models on two ranks of this machine: checks the script; the figures mean nothing
#
# ENGRAM_PROGRAM names another program than build/cuda/engram. Ends with code 1 where a run failed; the others go on.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. scripts/environment.sh

output=build/scaling
parts=" weak tables exchange strong experts published "
only=" "
on_cpu=
while [ $# -gt 0 ]; do
  case $1 in
    --output) output=${2:-}; [ -n "$output" ] || fail "--output names no directory"; shift ;;
    --only) only+="${2:-} "; [[ $parts == *" ${2:-} "* ]] || fail "--only ${2:-}: is no part; see --help"; shift ;;
    --cpu) on_cpu=1 ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) fail "unknown option $1; see --help" ;;
  esac
  shift
done

if [ -z "$on_cpu" ]; then
  engram=${ENGRAM_PROGRAM:-build/cuda/engram}
  num_gpus=$(nvidia-smi --list-gpus 2> /dev/null | wc -l)
  [ "$num_gpus" -gt 0 ] || fail "nvidia-smi names no GPU: there is none here, or no driver for it"
  head_rows=1960000 # of 32 heads, 80 columns each: 5.02e9 parameters
  tokens=(4096 16384 32768 131072)
  steps=(--warmup 5 --steps 15) few_steps=(--warmup 2 --steps 6) many_steps=(--warmup 5 --steps 195)
else
  engram=${ENGRAM_PROGRAM:-build/cpu/engram}
  num_gpus=2
  head_rows=200
  tokens=(1024)
  steps=(--warmup 1 --steps 2) few_steps=("${steps[@]}") many_steps=("${steps[@]}")
fi
"$engram" --version > /dev/null || fail "$engram does not start"
mkdir -p "$output/configs"
output=$(realpath "$output")
results=$output/results.jsonl
: > "$results"
: > "$output/all.log"
cp configs/bench/*.yaml "$output/configs"
if [ -n "$on_cpu" ]; then
  sed -i -E 's/(device): .*/\1: cpu/; s/(vocab_size|logits_chunk): .*/\1: 512/; s/(num_layers|num_heads): .*/\1: 2/
    s/(num_kv_heads): .*/\1: 1/; s/(hidden|head_dim): .*/\1: 16/
    s/(num_experts): .*/\1: 8/; s/( layers): .*/\1: [0, 1]/
    s/(memory_dim|seq_len): .*/\1: 64/; s/(rows_per_head): .*/\1: [200]/' "$output"/configs/*.yaml
fi
failed=0
counts=$(for n in 1 2 4 8; do [ "$n" -gt "$num_gpus" ] || echo "$n"; done)
all=$(tail -n 1 <<< "$counts")

wanted() { [[ $only == " " || $only == *" $1 "* ]]; }

# engram_on GPUS ARGUMENT...: runs the program.
engram_on() {
  local gpus=$1 code=0
  shift
  announce "on $gpus: engram $*"
  mpirun -np "$gpus" "$engram" "$@" > "$output/last.log" 2>&1 || code=$?
  cat "$output/last.log" >> "$output/all.log"
  [ "$code" = 0 ] || { failed=1; cat "$output/last.log"; }
}

# step NAME GPUS CONFIG ARGUMENT...: times training steps. The tables know them by the name.
step() {
  local name=$1 gpus=$2 config=$output/configs/$3.yaml
  shift 3
  engram_on "$gpus" bench step "$config" --set "run.name=$name" "$@" --json "$results"
}

# model NAME GPUS SEQUENCES ARGUMENT...: a line with what the scale model says of the exchange of rows, in milliseconds
# and % of a step, for that many sequences on each GPU.
model() {
  local name=$1 gpus=$2 sequences=$3
  shift 3
  "$engram" estimate "$output/configs/b_engram.yaml" "$@" --network ib400 --ranks "$gpus" --local-batch "$sequences" |
    awk -v name="$name" 'END { if (NF < 14) exit 1
      printf "{\"kind\": \"model\", \"name\": \"%s\", \"devices\": %d, ", name, $1
      printf "\"fetch\": \"%s\", \"return\": \"%s\", \"exposed\": \"%s\"}\n", $9, $11, $14 }' >> "$results" || failed=1
}

if wanted weak; then # as many tokens on each GPU
  for n in $counts; do
    for config in b b_engram; do
      step "weak_$config" "$n" "$config" "${steps[@]}" --set train.global_batch=$((16 * n))
    done
    [ "$n" = 1 ] || model weak_b_engram "$n" 16
  done
fi
if wanted tables; then # configuration B with 5 billion table parameters on each GPU; 200 steps of it on all GPUs
  for n in $counts; do
    big=(--set model.moe.num_experts=64 --set optimizer.table.kind=adam_lazy
      --set "model.engram.rows_per_head=[$((head_rows * n))]")
    if [ "$n" = "$all" ]; then steps=("${many_steps[@]}"); fi
    step weak_b_tables "$n" b_engram "${steps[@]}" "${big[@]}" --set train.global_batch=$((16 * n))
    [ "$n" = 1 ] || model weak_b_tables "$n" 16 "${big[@]}"
  done
fi
if wanted exchange; then # of rows, against NCCL's all-to-all of as many bytes
  for n in $counts; do
    [ "$n" -gt 1 ] || continue
    engram_on "$n" bench exchange "$output/configs/b_engram.yaml" --tokens "$(IFS=,; echo "${tokens[*]}")" \
      --json "$results"
    for t in "${tokens[@]}"; do
      model "exchange_$t" "$n" $((t / 2048 > 0 ? t / 2048 : 1)) --set train.micro_batch=1
    done
  done
fi
if wanted strong; then # as many tokens on all GPUs together
  for n in $counts; do
    for config in b b_engram; do
      step "strong_$config" "$n" "$config" "${few_steps[@]}" --set train.global_batch=64 \
        --set train.micro_batch=$((n < 4 ? 16 : 64 / n))
    done
  done
fi
if wanted experts; then # shared by so many of the GPUs, or all of them on each
  for config in b c; do
    for shared in $counts; do
      [ "$all" -gt 1 ] || continue
      step "experts_${config}_$shared" "$all" "$config" "${few_steps[@]}" --set "parallel.expert=$shared" \
        --set train.global_batch=$((16 * all))
    done
  done
fi
if wanted published; then # the published model with 64 sequences a step instead of 1280
  if [ "$all" = 8 ]; then
    step published_engram_27b 8 engram_27b --warmup 2 --steps 18 --set train.global_batch=64
  else
    announce "no run of configs/bench/engram_27b.yaml: it takes 8 GPUs, here are $num_gpus"
  fi
fi

python3 scripts/scaling_tables.py "$results" > "$output/summary.md" || failed=1
announce "$output/summary.md"
cat "$output/summary.md"
exit "$failed"
