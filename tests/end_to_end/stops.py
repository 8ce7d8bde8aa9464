"""Runs that are asked to stop at seeded moments: what signals_test.py and soak.py share."""
import os
import random
import re
import shutil
import signal
import subprocess
import time

import program

RANKS = 2
STEPS = 60  # of the run that nobody stops; the others would go on for ever
EVERY = 15  # steps between evaluations, each of which takes about as long as they do
REQUEUE = 75
COLUMNS = ("step", "loss", "norm", "lr", "engram.unique")
SETTINGS = ("train.global_batch=4", f"train.eval_every={EVERY}", "train.eval_samples=60",
            "optimizer.schedule.kind=constant")  # fmt: skip

# What is asked, and the exit code it ends with.
WAYS = {"SIGTERM": REQUEUE, "SIGUSR2": REQUEUE, "SIGINT": 0, "STOP": 0}
PHASES = ("start-up", "training", "evaluation")


def catches(pid, number):
    """Whether the process has a handler for the signal: until then it has not reached its main()."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        mask = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
    return int(mask, 16) >> (number - 1) & 1 == 1


class Stops:
    def __init__(self, corpus):
        self.corpus = corpus
        program.run_well(corpus.train("unbroken", f"train.steps={STEPS}", *SETTINGS), RANKS)

    def inject(self, seed):
        """What was done, and in "problem" what went wrong ("" for nothing). The seed fixes what is asked, when, and of
        which rank."""
        chance = random.Random(seed)
        way, phase = list(WAYS)[seed % len(WAYS)], PHASES[seed % len(PHASES)]
        rank, name = chance.randrange(RANKS), f"stop{seed}"
        done = {"seed": seed, "point": f"{way} to rank {rank} of {RANKS} in {phase}"}
        process = None
        try:
            process, pids = self.start(name)
            self.wait_for(phase, name, chance, process)
            self.ask(way, name, pids[rank])
            done["problem"] = self.problem_of_end(process, WAYS[way]) or self.problem_after(name)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:  # ended before it was asked to, or never
            done["problem"] = str(error)
        finally:
            if process:
                program.kill(process)
        shutil.rmtree(self.corpus.run_directory(name), ignore_errors=True)
        return done

    def start(self, name):
        """The launcher of an endless run, and the process id of each rank; all of them take signals."""
        process = program.start(self.corpus.train(name, "train.steps=1000000", *SETTINGS), RANKS)
        try:
            program.wait_until(lambda: len(program.ranks_of(process)) == RANKS, process)
            pids = program.ranks_of(process)
            for pid in pids.values():
                program.wait_until(lambda pid=pid: catches(pid, signal.SIGINT), process)
        except BaseException:
            program.kill(process)
            raise
        return process, pids

    def wait_for(self, phase, name, chance, process):
        if phase == "start-up":
            time.sleep(chance.uniform(0, 0.3))
        elif phase == "training":
            program.wait_for_steps(self.corpus, name, chance.randint(1, 40), process)
        else:  # it begins once its step is told
            program.wait_for_steps(self.corpus, name, EVERY * chance.randint(1, 2), process)

    def ask(self, way, name, pid):
        if way in ("STOP", "SAVE"):
            self.corpus.run_directory(name).mkdir(parents=True, exist_ok=True)
            (self.corpus.run_directory(name) / way).touch()
        else:
            os.kill(pid, getattr(signal, way))

    def problem_of_end(self, process, code):
        """What is wrong with the end of a run that was asked to stop; "" for nothing."""
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8", errors="replace")
        if process.returncode != code:
            return f"ended with {process.returncode}, wanted {code}: {output}"
        said = re.search(r"stopped after step \d+ of 1000000 on request|stopped on request before the first", output)
        return "" if said else f"does not say that it was asked to stop: {output}"

    def problem_after(self, name):
        """The run must go on for a few steps, and all it ever wrote be what the unbroken run wrote."""
        directory = self.corpus.run_directory(name)
        if (directory / "STOP").exists():
            return "left the file STOP"
        done = len(self.corpus.metrics(name)) if (directory / "metrics.jsonl").exists() else 0
        code, output = program.run(self.corpus.train(name, f"train.steps={done + 5}", *SETTINGS), RANKS)
        if code != 0:
            return f"does not go on: {output}"
        rows = self.corpus.csv_columns(name, *COLUMNS)
        if len(rows) != done + 5 or rows[:STEPS] != self.corpus.csv_columns("unbroken", *COLUMNS)[: done + 5]:
            return "went on to other numbers than the unbroken run"
        losses = [self.evaluations(run, min(STEPS, done + 5)) for run in (name, "unbroken")]
        return "" if losses[0] == losses[1] else f"evaluated to {losses[0]}, wanted {losses[1]}"

    def evaluations(self, name, last):
        found = [(event["step"], event["loss"]) for event in self.corpus.events(name, "eval")]
        return [(step, loss) for step, loss in found if step % EVERY == 0 and step <= last]
