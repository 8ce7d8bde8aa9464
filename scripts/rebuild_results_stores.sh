#!/usr/bin/env bash
# Builds the token stores behind a page of docs/results from the text that it names, and compares their digests with
# those of the page.
#
#   scripts/rebuild_results_stores.sh engram-against-backbone TEXT VALIDATION_TEXT
#   scripts/rebuild_results_stores.sh allocation-law TEXT...     all parts of the text, in the order of their names
#
# Each text is .txt or .txt.xz. Needs build/cpu/engram. With other text, such as that of data/corpora/, build stores by
# `engram data build`; the figures are then others, too.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh

engram=build/cpu/engram
tokenizer=data/tokenizers/english_8k/tokenizer.json

# check STORE DIGEST
check() {
  local verified
  verified=$($engram data verify "runs/data/$1.h5")
  case $verified in
    *" $2,"*) echo "runs/data/$1.h5 is the store of the results" ;;
    *) fail "runs/data/$1.h5 is another store than that of the results, $2: $verified" ;;
  esac
}

# build STORE DIGEST TEXT [OPTION]...
build() {
  local store=$1 digest=$2
  shift 2
  mkdir -p runs/data
  $engram data build "$@" --tokenizer $tokenizer --output "runs/data/$store.h5"
  check "$store" "$digest"
}

# The first 24,000,000 bytes of the text, up to the last whole document; and all of the validation text.
engram_against_backbone() {
  [ $# = 2 ] || fail "wanted TEXT and VALIDATION_TEXT; see --help"
  local separator='<|endoftext|>' last
  plain "$1" | head -c 24000000 > "$work/begin.txt" || [ "${PIPESTATUS[0]}" = 141 ]  # 141: head had enough
  last=$(LC_ALL=C grep -abxF "$separator" "$work/begin.txt" | tail -n 1 | cut -d : -f 1)
  head -c $((last + ${#separator} + 1)) "$work/begin.txt" > "$work/train.txt"
  plain "$2" > "$work/validation.txt"
  build english_train a890a4846c3c412a3cfed4ad3a123832 "$work/train.txt"
  build english_validation 99282e98fb8d497685ae396399db31c5 "$work/validation.txt"
}

plain() { case $1 in *.xz) xz -dc "$1" ;; *) cat "$1" ;; esac }

# All parts for the sweeps; the first two for the second search.
allocation_law() {
  [ $# -ge 2 ] || fail "wanted all parts of the text; see --help"
  build mix_train 3835e2fd46c38ba23644aff627a38416 "$@" --holdout 0.012 --holdout-output runs/data/mix_validation.h5
  check mix_validation ad1fd09cd395069de175bf19c5234103
  build search_train fee907cc6ce5eef3c94fd4e01729c199 "$1" "$2" --holdout 0.03 \
    --holdout-output runs/data/search_validation.h5
  check search_validation 5c93a314acacb59d8190533dd0ebf849
}

page=${1:---help}
[ $# = 0 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $page in
  --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" ;;
  engram-against-backbone) engram_against_backbone "$@" ;;
  allocation-law) allocation_law "$@" ;;
  *) fail "no page $page; wanted engram-against-backbone or allocation-law" ;;
esac
