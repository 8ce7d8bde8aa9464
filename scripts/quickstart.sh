#!/usr/bin/env bash
# From a clone to a trained model: installs what is missing, builds the program, trains a small mixture of experts with
# Engram memory on the sample text, then the same model without Engram, and compares them. It does so on GPUs, a rank on
# each of 1, 2, 4 or 8, where nvidia-smi lists some and nvcc of CUDA 13 is there; otherwise on CPUs with 4 MPI ranks, in
# four to ten minutes on two cores.
#
#   scripts/quickstart.sh [--plan] [--set KEY=VALUE ...]
#     --plan            only say where it would train, and with which commands
#     --set KEY=VALUE   overrides of configs/quickstart.yaml, for both models
#
# ENGRAM_JOBS=N sets the number of build jobs; CUDA_VISIBLE_DEVICES= hides GPUs. Everything written lies in build/ and
# runs/.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

plan='' overrides=()
while [ $# -gt 0 ]; do
  case $1 in
    --plan) plan=1 ;;
    --set)
      [[ ${2:-} == *=* ]] || fail "--set is followed by \"${2:-}\"; wanted KEY=VALUE"
      overrides+=(--set "$2")
      shift
      ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) fail "unknown option $1; known: --plan, --set, --help" ;;
  esac
  shift
done

# use_gpus N: a rank on each of N GPUs, to which the 8 sequences of a step are dealt.
use_gpus() {
  ranks=$1
  on_device=(--set device=cuda --set "train.micro_batch=$((8 / ranks))")
}

# Sets where to train, and why there.
choose_device() {
  local capabilities kind num_gpus=0 nvcc cuda n
  capabilities=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | grep '^[0-9]') || true
  if [ -n "$capabilities" ]; then  # what is no card hides those behind it
    num_gpus=$(tr -s ', ' '\n' <<< "${CUDA_VISIBLE_DEVICES-$capabilities}" | sed -E '/^([0-9]|GPU-|MIG-)/!Q' | wc -l)
  fi
  kind=$(sort -uV <<< "$capabilities")
  nvcc=$(find_nvcc) || true
  cuda=$("${nvcc:-false}" --version | sed -n 's/.*release \([0-9]*\).*/\1/p') || true
  preset=cpu ranks=4 architecture=() on_device=()
  if [ "$num_gpus" = 0 ]; then
    why="CPUs: nvidia-smi lists no GPU, or CUDA_VISIBLE_DEVICES hides it"
  elif [[ $kind == *$'\n'* ]]; then
    why="CPUs: the GPUs have compute capabilities ${kind//$'\n'/, }; wanted one for all"
  elif [ "${kind%.*}" -lt 8 ]; then
    why="CPUs: the GPU has compute capability $kind; wanted 8.0 or newer"
  elif [ "${cuda:-0}" -lt 13 ]; then
    why="CPUs, though there is a GPU: the CUDA found in PATH and CUDA_HOME is ${cuda:-none}; wanted 13 or newer"
  else
    why="GPUs: nvidia-smi lists them, and $nvcc is of CUDA $cuda"
    preset=cuda architecture=("-DCMAKE_CUDA_ARCHITECTURES=$(sed 's/\.//;s/^90$/90a/' <<< "$kind")")
    export CUDACXX=$nvcc
    for n in 1 2 4 8; do [ "$n" -gt "$num_gpus" ] || use_gpus "$n"; done
  fi
}
choose_device
engram=build/$preset/engram

announce "trains on $why; ranks: $ranks"
if [ -n "$plan" ]; then
  echo "cmake --preset $preset -DENGRAM_TESTS=OFF ${architecture[*]}"
  echo "mpirun -np $ranks $engram train configs/quickstart.yaml ${on_device[*]} ${overrides[*]}"
  exit
fi

tokenizer=data/tokenizers/english_8k/tokenizer.json
plain=(--set 'model.engram.layers=[]')

# Ends the script where a command of the build failed.
fail_build() {
  local way_out=
  if [ $preset = cuda ]; then way_out="; CUDA_VISIBLE_DEVICES= scripts/quickstart.sh trains on CPUs"; fi
  fail "$* failed; what it said is above$way_out"
}

# train NAME [OPTION...]: from the start, whatever a run of that name left behind.
train() {
  local name=$1
  shift
  rm -rf "runs/$name"
  mpirun -np $ranks $engram train configs/quickstart.yaml "${on_device[@]}" "$@" --set "run.name=$name"
}

# estimated WHAT [OPTION...]: the figure of that line of `engram estimate`.
estimated() {
  local what=$1
  shift
  $engram estimate configs/quickstart.yaml "$@" | awk -v what="$what" 'index($0, what) {print $NF}'
}

announce "packages"
scripts/install_dependencies.sh

announce "build of the program ($ENGRAM_JOBS jobs)"
mkdir -p build runs/data
if ! cmake --preset $preset -DENGRAM_TESTS=OFF "${architecture[@]}" > build/$preset.log 2>&1; then
  cat build/$preset.log
  fail_build cmake --preset $preset
fi
if grep -q "^-- NCCL not found" build/$preset.log; then use_gpus 1; fi
cmake --build --preset $preset --target engram -j "$ENGRAM_JOBS" || fail_build cmake --build --preset $preset

announce "sample text to tokens"
for part in train validation; do
  $engram data build "data/sample/$part.txt" --tokenizer $tokenizer --output "runs/data/sample_$part.h5"
done

announce "training with Engram, on $ranks ranks that share the tables"
train quickstart "${overrides[@]}"
announce "training of the same model without Engram"
train quickstart_plain "${overrides[@]}" "${plain[@]}"

announce "validation loss, in nats per token"
awk -f scripts/compare_curves.awk runs/quickstart/events.jsonl runs/quickstart_plain/events.jsonl
with=$(estimated "active (" "${overrides[@]}")
without=$(estimated "active (" "${overrides[@]}" "${plain[@]}")
tables=$(estimated "Engram tables" "${overrides[@]}")
echo "Active parameters: $with with Engram, $without without. The tables hold $tables more; a token reads a few rows."

announce "a text by the model with Engram"
$engram generate runs/quickstart --prompt "The history of the city" --tokens 60

as_root=
if [ "$(id -u)" = 0 ]; then as_root=" --allow-run-as-root"; fi
cat << END

Done in $((SECONDS / 60)) min $((SECONDS % 60)) s. The figures of every step are in runs/quickstart/metrics.csv.
Your own text (.txt or .jsonl files, or directories of them) takes two commands:

  $engram data build MY_TEXT --tokenizer $tokenizer --output runs/data/mine.h5
  mpirun$as_root -np $ranks --oversubscribe --bind-to none $engram train configs/quickstart.yaml \\
    ${on_device[*]:+${on_device[*]} }--set run.name=mine --set data.train=runs/data/mine.h5
END
