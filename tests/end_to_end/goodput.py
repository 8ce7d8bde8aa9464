"""Measures how much of a training job's time faults and saves take: scripts/goodput.sh.

    goodput.py [--steps N] [--mtbf SECONDS] [--seed SEED]

A job of two ranks runs under scripts/supervise.sh, and at seeded moments, SECONDS apart on average, one of its ranks is
killed. Goodput is the time of the job's steps, each once and at the median of their own times, over the time that the
job took. What is left is put down to its starts, one for each fault and the first; with as much lost by each fault, the
goodput at one fault in ten minutes follows. The share of saves is the time in which training stood still for them, at
Young's interval for ten minutes between faults, sqrt(2 x 600 x seconds of a save).
"""
import argparse
import contextlib
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import types

import program

RANKS = 2
TEN_MINUTES = 600
SETTINGS = ("model.hidden=64", "model.ffn_hidden=128", "model.moe.expert_hidden=32", "model.engram.memory_dim=32",
            "model.engram.rows_per_head=[20000]", "checkpoint.every=20")  # fmt: skip


def start_job(corpus, name, steps):
    command = program.command_line(corpus.train(name, f"train.steps={steps}", *SETTINGS), RANKS)
    supervise = program.SOURCES / "scripts" / "supervise.sh"
    return subprocess.Popen([supervise, corpus.run_directory(name), *command], env=program.ENVIRONMENT,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def kill_a_rank(job, chance):
    """False where not all of them have started."""
    with open(f"/proc/{job.pid}/task/{job.pid}/children", encoding="utf-8") as children:
        launchers = [types.SimpleNamespace(pid=int(pid)) for pid in children.read().split()]
    for launcher in launchers:
        if len(pids := program.ranks_of(launcher)) == RANKS:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pids[chance.randrange(RANKS)], signal.SIGKILL)
                return True
    return False


def run_with_faults(corpus, name, arguments):
    """Seconds that the job took, and how many faults it met."""
    chance, begin, num_faults = random.Random(arguments.seed), time.monotonic(), 0
    job = start_job(corpus, name, arguments.steps)
    next_fault = begin + chance.expovariate(1 / arguments.mtbf)
    try:
        while job.poll() is None:
            time.sleep(0.05)
            if time.monotonic() > next_fault and kill_a_rank(job, chance):
                num_faults += 1
                next_fault = time.monotonic() + chance.expovariate(1 / arguments.mtbf)
    finally:  # an interrupt ends it, too: its directory is about to be removed
        job.terminate()
        job.wait()
    if job.returncode != 0:
        raise AssertionError(f"the job ended with {job.returncode}")
    return time.monotonic() - begin, num_faults


def figures(corpus, name, seconds, num_faults):
    rows, saves = corpus.metrics(name), corpus.events(name, "save")
    step = statistics.median(row["tokens"] / row["step"] / row["tok_s"] for row in rows)
    save, stall = (statistics.median(event[key] for event in saves) for key in ("seconds", "stall_seconds"))
    lost = (seconds - step * len(rows)) / (num_faults + 1)
    return {
        "seconds": seconds,
        "faults": num_faults,
        "steps": len(rows),
        "step_seconds": step,
        "goodput": step * len(rows) / seconds,
        "lost_per_start": lost,
        "goodput_at_ten_minutes": 1 - lost / TEN_MINUTES,
        "save_bytes": saves[-1]["bytes"],
        "save_seconds": save,
        "stall_seconds": stall,
        "save_share": stall / math.sqrt(2 * TEN_MINUTES * save),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--mtbf", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    corpus = program.Corpus()
    try:
        seconds, num_faults = run_with_faults(corpus, "goodput", arguments)
        print(json.dumps(figures(corpus, "goodput", seconds, num_faults), indent=2))
    finally:
        corpus.remove()


if __name__ == "__main__":
    sys.exit(main())
