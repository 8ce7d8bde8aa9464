#!/bin/bash
# Starts a training command again for as long as that helps:
#
#   scripts/supervise.sh RUN_DIRECTORY COMMAND...
#   scripts/supervise.sh runs/mine mpirun -np 4 build/cpu/engram train configs/quickstart.yaml --set run.name=mine
#
# Again after 74 (the disk), 75 (a peer was lost, room was wanted) and where a signal killed it (128 and above); any
# other exit code is passed on. Three starts in a row without a new checkpoint end with 93. SIGTERM, SIGUSR2 and SIGINT
# go on to the command as SIGUSR2, and it is not started again. In a job of Slurm SIGUSR2 announces the time limit:
# where the command then ends with 75, the job goes back into the queue. After SIGTERM that is up to Slurm.
set -uo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 64
fi
directory=$1
shift
most_fruitless=3
asked= # the signal

# The step of the newest complete checkpoint, 0 without one.
newest_step() {
  local steps
  steps=$(ls -d "$directory"/checkpoints/step-*/MANIFEST.json 2> /dev/null | sed 's/.*step-0*\([0-9][0-9]*\)\/.*/\1/')
  sort -n <<< "${steps:-0}" | tail -1
}

child=
pass_on() {
  asked=$1
  [ -z "$child" ] || kill -USR2 "$child" 2> /dev/null
}
for signal in TERM USR2 INT; do
  trap "pass_on $signal" "$signal"
done

fruitless=0
while true; do
  before=$(newest_step)
  "$@" &
  child=$!
  [ -z "$asked" ] || pass_on "$asked" # it came while the child was being started
  wait "$child"
  code=$?
  while kill -0 "$child" 2> /dev/null; do # wait came back for a signal
    wait "$child"
    code=$?
  done
  if [ -n "$asked" ]; then
    trap - TERM
    if [ "$asked $code" = "USR2 75" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
      sleep 5 # the nodes' daemons clean up: a requeue kills them, and a socket that they leave stops the next start
      scontrol requeue "$SLURM_JOB_ID" && sleep 300
    fi
    exit "$code" # Slurm has ended the script by now, unless it refused
  fi
  [ "$code" -eq 74 ] || [ "$code" -eq 75 ] || [ "$code" -ge 128 ] || exit "$code"
  fruitless=$((fruitless + 1))
  [ "$(newest_step)" -gt "$before" ] && fruitless=0
  if [ "$fruitless" -ge "$most_fruitless" ]; then
    echo "supervise: $fruitless starts in a row ended with code $code and without a new checkpoint in $directory" >&2
    exit 93
  fi
  echo "supervise: ended with code $code; starting again from step $(newest_step)" >&2
done
