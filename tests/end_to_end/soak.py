"""Injects faults into training runs and checks that nothing is lost: scripts/soak.sh.

    soak.py [--kills N | --signals N | --corruptions N] [--results FILE] [--first SEED]

Each fault has a seed.

--kills: it fixes the number of ranks, which of them is killed, and where: at a random moment, or at a random call that
changes the checkpoints' directory, inside writing, renaming or pruning. Then
  - the newest complete checkpoint is the one that the run resumes from, and no older than the last that was logged;
  - the resumed run writes what a run wrote that nobody killed, bit for bit;
  - nothing is left over beside the checkpoints that are kept.
--signals: it fixes what one of two ranks is asked by (SIGTERM, SIGUSR2, SIGINT, the file STOP), and when, in start-up,
training or evaluation; the job ends as it was asked to and goes on to the bits of a run that nobody stopped (stops.py).
--corruptions: it fixes what is done to the newest of four checkpoints (flipped bits, files cut, zeroed, swapped,
missing, or of an older checkpoint); each is found before use, and the newest that is intact is loaded
(checkpoint_corruption_test.cpp, which takes a hundred seeds at a time).

FILE, runs/soak_FAULT.jsonl by default, gets a line per fault; seeds that are in it already are not done again, so that
runs of this script add up.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import program
import stops

STEPS, EVERY, KEEP = 24, 3, 2
SETTINGS = (f"train.steps={STEPS}", f"checkpoint.every={EVERY}", f"checkpoint.keep={KEEP}", "checkpoint.keep_every=9",
            "train.global_batch=12", "train.micro_batch=1")  # fmt: skip
KEPT = [f"step-{step:08d}" for step in (9, 18, 21, 24)]
COLUMNS = ("step", "loss", "norm", "lr", "experts.max_over_mean", "engram.unique", "skipped")
RANKS = (1, 2, 3)


class Kills:
    def __init__(self, corpus):
        self.corpus = corpus
        self.reference = {}  # by number of ranks: the rows of an unbroken run, its seconds, and its calls by rank

    def unbroken(self, ranks):
        if ranks not in self.reference:
            name, calls = f"unbroken{ranks}", []
            begin = time.monotonic()
            program.run_well(self.corpus.train(name, *SETTINGS), ranks)
            seconds = time.monotonic() - begin
            for rank in range(ranks):
                log = self.corpus.path / f"calls{ranks}_{rank}"
                environment = program.shim_environment(log=log, rank=rank)
                code, output = program.run(self.corpus.train(f"{name}_{rank}", *SETTINGS), ranks, environment)
                assert code == 0, output
                calls.append([line.split()[1] for line in log.read_text(encoding="utf-8").splitlines()])
            self.reference[ranks] = self.corpus.csv_columns(name, *COLUMNS), seconds, calls
        return self.reference[ranks]

    def inject(self, seed):
        """What was done, and in "problem" what went wrong ("" for nothing)."""
        chance = random.Random(seed)
        ranks = chance.choice(RANKS)
        rank = chance.randrange(ranks)
        rows, seconds, calls = self.unbroken(ranks)
        name = f"kill{seed}"
        done = {"seed": seed}
        if chance.random() < 0.5:
            call = chance.randrange(len(calls[rank]))
            done["point"] = f"rank {rank} of {ranks} in call {call}: {calls[rank][call]}"
            environment = program.shim_environment(rank=rank, first=call, errno="kill")
            process = program.start(self.corpus.train(name, *SETTINGS), ranks, environment)
        else:
            moment = chance.uniform(0, seconds)
            done["point"] = f"rank {rank} of {ranks} after {moment:.3f} s"
            process = program.start(self.corpus.train(name, *SETTINGS), ranks)
            time.sleep(moment)
            if (pid := program.ranks_of(process).get(rank)) is not None:
                os.kill(pid, signal.SIGKILL)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8", errors="replace")
        done["code"] = process.returncode
        done["problem"] = self.problem_after(name, ranks, rows) or ""
        if done["problem"]:
            done["output"] = output
        shutil.rmtree(self.corpus.run_directory(name), ignore_errors=True)
        return done

    def problem_after(self, name, ranks, rows):
        directory = self.corpus.run_directory(name) / "checkpoints"
        complete = sorted(path.parent.name for path in directory.glob("step-*/MANIFEST.json"))
        events = self.corpus.run_directory(name) / "events.jsonl"
        saved = [event["step"] for event in self.corpus.events(name, "save")] if events.exists() else []
        if saved and (not complete or complete[-1] < f"step-{max(saved):08d}"):
            return f"saved step {max(saved)}, but found {complete}"
        code, output = program.run(self.corpus.train(name, *SETTINGS), ranks)
        if code != 0:
            return f"does not go on: {output}"
        if "passed over" in output or (complete and f"resuming from {directory / complete[-1]}\n" not in output):
            return f"did not resume from {complete[-1]}: {output}"
        if self.corpus.csv_columns(name, *COLUMNS) != rows:
            return "went on to other numbers than the unbroken run"
        left = sorted(path.name for path in directory.iterdir())
        return "" if left == KEPT else f"left {left}"


class Corruptions:
    """Damages checkpoints in batches of seeds: one process each."""

    BATCH = 100
    TESTS = pathlib.Path(program.PROGRAM).parent / "tests" / "trainer_tests"

    def __init__(self, _):
        pass

    def inject(self, seed):
        environment = dict(program.ENVIRONMENT, ENGRAM_CORRUPTIONS=str(self.BATCH), ENGRAM_CORRUPTIONS_FIRST=str(seed))
        done = subprocess.run([self.TESTS, "--gtest_filter=CheckpointCorruptionSlow.*"], env=environment, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        output = done.stdout.decode("utf-8", errors="replace")
        well = done.returncode == 0 and "[  PASSED  ] 1 test" in output
        problem = "" if well else f"ended with {done.returncode}: {output}"
        return {"seed": seed, "count": self.BATCH, "point": "checkpoints", "problem": problem}


KINDS = {"kills": Kills, "signals": stops.Stops, "corruptions": Corruptions}


def seeds_to_do(results, first, count, step):
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    done = {json.loads(line)["seed"] for line in lines}
    return [seed for seed in range(first, first + count, step) if seed not in done]


def summary(results, kind):
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    count = sum(line.get("count", 1) for line in lines)
    inside = sum("call" in line["point"] for line in lines)
    failed = [line["seed"] for line in lines if line["problem"]]
    text = f"{count} {kind}" + (f", {inside} of them inside a save" if kind == "kills" else "")
    return f"{text}; failed: {failed or 'none'}", not failed


def arguments_of(command_line):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_mutually_exclusive_group(required=True)
    for kind in KINDS:
        kinds.add_argument(f"--{kind}", type=int, metavar="N")
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--first", type=int, default=1, metavar="SEED")
    arguments = parser.parse_args(command_line)
    kind = next(kind for kind in KINDS if getattr(arguments, kind) is not None)
    return kind, getattr(arguments, kind), arguments.results or pathlib.Path(f"runs/soak_{kind}.jsonl"), arguments.first


def main():
    kind, count, results, first = arguments_of(sys.argv[1:])
    results.parent.mkdir(parents=True, exist_ok=True)
    results.touch()
    corpus = program.Corpus()
    try:
        faults = KINDS[kind](corpus)
        for seed in seeds_to_do(results, first, count, getattr(faults, "BATCH", 1)):
            done = faults.inject(seed)
            with open(results, "a", encoding="utf-8") as file:
                file.write(json.dumps(done) + "\n")
            print(f"seed {seed}: {done['point']}:", done["problem"] or "well", flush=True)
    finally:
        corpus.remove()
    text, well = summary(results, kind)
    print(text)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
