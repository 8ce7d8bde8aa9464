#!/usr/bin/env bash
# From a clone to a trained model: installs what is missing, builds the program, trains a small mixture of experts with
# Engram memory on the sample text with 4 MPI ranks, then the same model without Engram, and compares them. About ten
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

# train NAME [OPTION...]: from the start, whatever a run of that name left behind.
train() {
  local name=$1
  shift
  rm -rf "runs/$name"
  mpirun -np $ranks $engram train configs/quickstart.yaml --set "run.name=$name" "$@"
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
train quickstart_plain "$@" --set 'model.engram.layers=[]'

announce "validation loss, in nats per token"
awk -f scripts/compare_curves.awk runs/quickstart/events.jsonl runs/quickstart_plain/events.jsonl

announce "a text by the model with Engram"
$engram generate runs/quickstart --prompt "The history of the city" --tokens 60

cat << END

== [$((SECONDS / 60)):$(printf %02d $((SECONDS % 60)))] done. Every step's figures: runs/quickstart/metrics.csv
Your own text (.txt or .jsonl, files or directories), all in one:

  $engram data build MY_TEXT --tokenizer $tokenizer --output runs/data/mine.h5 --seed 1 && \\
    OMP_NUM_THREADS=1 mpirun -np $ranks --oversubscribe --bind-to none $engram train configs/quickstart.yaml \\
      --set run.name=mine --set data.train=runs/data/mine.h5
END
