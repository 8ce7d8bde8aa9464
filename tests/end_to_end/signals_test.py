"""Signals and request files at seeded moments: whichever rank is told, in start-up, training or evaluation, the job
leaves with the right code, and goes on as if it had never stopped.

ENGRAM_SIGNALS sets how many there are, ENGRAM_SIGNALS_SEED their seed.
"""
import os
import random
import signal
import time
import unittest

import program

NUM_SIGNALS = int(os.environ.get("ENGRAM_SIGNALS", "4"))
SEED = int(os.environ.get("ENGRAM_SIGNALS_SEED", "1"))
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


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


def catches(pid, number):
    """Whether the process has a handler for the signal: until then it has not reached its main()."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        mask = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
    return int(mask, 16) >> (number - 1) & 1 == 1


class Signals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        program.run_well(corpus.train("unbroken", f"train.steps={STEPS}", *SETTINGS), RANKS)

    def start(self, name):
        """The launcher of an endless run, and the process id of each rank; all of them take signals."""
        process = program.start(corpus.train(name, "train.steps=1000000", *SETTINGS), RANKS)
        program.wait_until(lambda: len(program.ranks_of(process)) == RANKS, process)
        pids = program.ranks_of(process)
        for pid in pids.values():
            program.wait_until(lambda pid=pid: catches(pid, signal.SIGINT), process)
        return process, pids

    def wait_for(self, phase, name, chance, process):
        if phase == "start-up":
            time.sleep(chance.uniform(0, 0.3))
        elif phase == "training":
            program.wait_for_steps(corpus, name, chance.randint(1, 40), process)
        else:  # it begins once its step is told
            program.wait_for_steps(corpus, name, EVERY * chance.randint(1, 2), process)

    def ask(self, way, name, pid):
        if way in ("STOP", "SAVE"):
            corpus.run_directory(name).mkdir(parents=True, exist_ok=True)
            (corpus.run_directory(name) / way).touch()
        else:
            os.kill(pid, getattr(signal, way))

    def check_ended(self, process, code):
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertEqual(process.returncode, code, output)
        self.assertRegex(output, r"stopped after step \d+ of 1000000 on request|stopped on request before the first")

    def check_goes_on(self, name):
        """The run goes on for a few steps, and all it ever wrote is what the unbroken run wrote."""
        metrics = corpus.run_directory(name) / "metrics.jsonl"
        done = len(corpus.metrics(name)) if metrics.exists() else 0
        program.run_well(corpus.train(name, f"train.steps={done + 5}", *SETTINGS), RANKS)
        rows = corpus.csv_columns(name, *COLUMNS)
        self.assertEqual(len(rows), done + 5)
        self.assertEqual(rows[:STEPS], corpus.csv_columns("unbroken", *COLUMNS)[: done + 5])
        losses = [self.evaluations(run, min(STEPS, done + 5)) for run in (name, "unbroken")]
        self.assertEqual(losses[0], losses[1])

    def evaluations(self, name, last):
        found = [(event["step"], event["loss"]) for event in corpus.events(name, "eval")]
        return [(step, loss) for step, loss in found if step % EVERY == 0 and step <= last]

    def test_each_is_followed_and_costs_nothing(self):
        chance = random.Random(SEED)
        for number in range(NUM_SIGNALS):
            way, phase = list(WAYS)[number % len(WAYS)], PHASES[number % len(PHASES)]
            with self.subTest(number=number, way=way, phase=phase, seed=SEED):
                name = f"run{number}"
                process, pids = self.start(name)
                self.wait_for(phase, name, chance, process)
                self.ask(way, name, pids[chance.randrange(RANKS)])
                self.check_ended(process, WAYS[way])
                self.assertFalse((corpus.run_directory(name) / "STOP").exists())
                self.check_goes_on(name)

    def test_save_saves_and_goes_on(self):
        process, pids = self.start("saved")
        program.wait_for_steps(corpus, "saved", 5, process)
        self.ask("SAVE", "saved", None)
        program.wait_until(lambda: not (corpus.run_directory("saved") / "SAVE").exists(), process)
        saved = [event["step"] for event in corpus.events("saved", "save")]
        self.assertEqual(len(saved), 1)
        program.wait_for_steps(corpus, "saved", saved[0] + 3, process)
        self.ask("SIGTERM", "saved", pids[1])
        self.check_ended(process, REQUEUE)
        self.check_goes_on("saved")


class OtherCommands(unittest.TestCase):
    def test_a_build_goes_on_where_it_was_asked_to_leave(self):
        text = corpus.path / "long.txt"
        text.write_text("A line of text.\n<|endoftext|>\n" * 200000, encoding="utf-8")
        process = program.start(corpus.build("long"), 0)
        program.wait_until(lambda: catches(process.pid, signal.SIGTERM), process)
        os.kill(process.pid, signal.SIGTERM)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertEqual(process.returncode, REQUEUE, output)
        self.assertFalse((corpus.path / "long.h5").exists())
        self.assertIn("had been encoded by a build that was ended early", program.run_well(corpus.build("long")))
        self.assertEqual(sorted(path.name for path in corpus.path.glob("long*")), ["long.h5", "long.txt"])

    def test_an_evaluation_ends(self):
        program.run_well(corpus.train("short", "train.steps=1"), RANKS)
        process = program.start(["eval", corpus.run_directory("short"), "--data", corpus.path / "train.h5"], RANKS)
        program.wait_until(lambda: len(program.ranks_of(process)) == RANKS, process)
        pid = program.ranks_of(process)[1]
        program.wait_until(lambda: catches(pid, signal.SIGTERM), process)
        os.kill(pid, signal.SIGTERM)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertEqual(process.returncode, REQUEUE, output)
        self.assertNotIn("nats per token", output)


if __name__ == "__main__":
    unittest.main()
