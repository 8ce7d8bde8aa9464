#!/bin/bash
# Measures what faults and saves cost a training job on this machine:
#
#   scripts/goodput.sh [--steps N] [--mtbf SECONDS] [--seed SEED]
#
# How stands in tests/end_to_end/goodput.py. ENGRAM_PROGRAM names another program than build/cpu/engram.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 tests/end_to_end/goodput.py "$@"
