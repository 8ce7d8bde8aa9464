#!/usr/bin/env bash
# Builds the token stores behind docs/results/engram-against-backbone.md from the text that it names, and compares their
# digests with those of the page.
#
#   scripts/rebuild_results_stores.sh TEXT VALIDATION_TEXT     each .txt or .txt.xz
#
# TEXT: its first 24,000,000 bytes are used, up to the last whole document. Needs build/cpu/engram. With other text,
# such as that of data/corpora/, build stores by `engram data build`; the figures are then others, too.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

case ${1:-} in
  --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
esac
[ $# = 2 ] || fail "wanted TEXT and VALIDATION_TEXT; see --help"

engram=build/cpu/engram
tokenizer=data/tokenizers/english_8k/tokenizer.json
separator='<|endoftext|>'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

plain() { case $1 in *.xz) xz -dc "$1" ;; *) cat "$1" ;; esac }

# build TEXT STORE DIGEST
build() {
  mkdir -p runs/data
  $engram data build "$1" --tokenizer $tokenizer --output "runs/data/$2.h5"
  local verified
  verified=$($engram data verify "runs/data/$2.h5")
  case $verified in
    *" $3,"*) echo "runs/data/$2.h5 is the store of the results" ;;
    *) fail "runs/data/$2.h5 is another store than that of the results, $3: $verified" ;;
  esac
}

plain "$1" | head -c 24000000 > "$work/begin.txt" || [ "${PIPESTATUS[0]}" = 141 ]  # 141: head had enough
last=$(LC_ALL=C grep -abxF "$separator" "$work/begin.txt" | tail -n 1 | cut -d : -f 1)
head -c $((last + ${#separator} + 1)) "$work/begin.txt" > "$work/train.txt"
plain "$2" > "$work/validation.txt"

build "$work/train.txt" english_train a890a4846c3c412a3cfed4ad3a123832
build "$work/validation.txt" english_validation 99282e98fb8d497685ae396399db31c5
