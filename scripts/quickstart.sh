#!/usr/bin/env bash
# From a clone to a trained model: installs what is missing, builds the program, trains a small mixture of experts with
# Engram memory on the sample text with 4 MPI ranks, then the same model without Engram, and compares them. Four to ten
# minutes on two cores.
#
#   scripts/quickstart.sh [--set KEY=VALUE ...]     overrides of configs/quickstart.yaml, for both models
#
# ENGRAM_JOBS=N sets the number of build jobs. Everything written lies in build/ and runs/.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

case ${1:-} in
  '' | --set) ;;
  --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) fail "unknown option $1; known: --set, --help" ;;
esac

engram=build/cpu/engram
tokenizer=data/tokenizers/english_8k/tokenizer.json
ranks=4
plain=(--set 'model.engram.layers=[]')

# train NAME [OPTION...]: from the start, whatever a run of that name left behind.
train() {
  local name=$1
  shift
  rm -rf "runs/$name"
  mpirun -np $ranks $engram train configs/quickstart.yaml "$@" --set "run.name=$name"
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
if ! cmake --preset cpu -DENGRAM_TESTS=OFF > build/cpu.log 2>&1; then
  cat build/cpu.log
  fail "cmake --preset cpu failed; what it said is above"
fi
cmake --build --preset cpu --target engram -j "$ENGRAM_JOBS"

announce "sample text to tokens"
for part in train validation; do
  $engram data build "data/sample/$part.txt" --tokenizer $tokenizer --output "runs/data/sample_$part.h5"
done

announce "training with Engram, on $ranks ranks that share the tables"
train quickstart "$@"
announce "training of the same model without Engram"
train quickstart_plain "$@" "${plain[@]}"

announce "validation loss, in nats per token"
awk -f scripts/compare_curves.awk runs/quickstart/events.jsonl runs/quickstart_plain/events.jsonl
with=$(estimated "active (" "$@")
without=$(estimated "active (" "$@" "${plain[@]}")
tables=$(estimated "Engram tables" "$@")
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
    --set run.name=mine --set data.train=runs/data/mine.h5
END
