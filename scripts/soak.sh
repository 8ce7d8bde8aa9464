#!/bin/bash
# Kills training runs at seeded moments and inside saves, asks them to stop, or damages checkpoints, and checks that
# nothing is lost; adds up over several runs:
#
#   scripts/soak.sh --kills N | --signals N | --corruptions N [--results FILE] [--first SEED]
#
# What is checked stands in tests/end_to_end/soak.py. Needs a build with tests; ENGRAM_PROGRAM names another program.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 tests/end_to_end/soak.py "$@"
