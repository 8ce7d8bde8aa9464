"""Every rank killed at several moments, and messages that must arrive whichever rank is first: many repetitions."""
import os
import random
import signal
import time
import unittest

import event_files
import program

RANKS = 4
COLUMNS = ("step", "loss", "norm", "lr", "engram.unique", "skipped")


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Killed(unittest.TestCase):
    def kill(self, name, rank, delay, num_steps=0, settings=()):
        """Kills one rank `delay` seconds after all have started and the metrics have so many steps more than before.
        The job must end with an error that names it."""
        metrics = corpus.run_directory(name) / "metrics.jsonl"
        num_before = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        process = program.start(corpus.train(name, "train.steps=100000", "checkpoint.every=3", *settings), RANKS)
        program.wait_until(lambda: len(program.ranks_of(process)) == RANKS, process)
        pids = program.ranks_of(process)
        if num_steps > 0:
            program.wait_for_steps(corpus, name, num_before + num_steps, process)
        time.sleep(delay)
        begin = time.monotonic()
        os.kill(pids[rank], signal.SIGKILL)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        seconds = time.monotonic() - begin
        self.assertNotEqual(process.returncode, 0, output)
        self.assertLess(seconds, 10, output)
        self.assertIn(f"rank {rank} ", output)
        self.assertEqual([r for r, pid in pids.items() if not program.ended(pid, 10 - seconds)], [], output)

    def test_every_rank_at_several_moments(self):
        for rank in range(RANKS):
            for delay in (0.2, 0.5, 1.1, 1.7):
                with self.subTest(rank=rank, delay=delay):
                    self.kill("killed_often", rank, delay)

    def test_a_run_that_was_killed_often_is_whole(self):
        for placement in ("device", "host"):
            name = f"killed_twice_{placement}"
            settings = (f"parallel.table_placement={placement}", "optimizer.schedule.kind=constant")
            for rank, num_steps in ((1, 20), (3, 40)):
                self.kill(name, rank, 0.1, num_steps, settings)
            done = corpus.metrics(name)[-1]["step"] + 20
            settings = (*settings, "checkpoint.every=3", f"train.steps={done}")
            self.assertIn("resuming from", program.run_well(corpus.train(name, *settings), RANKS))
            self.assertEqual([row["step"] for row in corpus.metrics(name)], list(range(1, done + 1)))
            program.run_well(corpus.train(f"unbroken_{placement}", *settings), RANKS)
            unbroken = corpus.csv_columns(f"unbroken_{placement}", *COLUMNS)
            self.assertEqual(corpus.csv_columns(name, *COLUMNS), unbroken)


class KilledAtRandom(unittest.TestCase):
    """What any moment of death leaves in the files of metrics, from start-up to the saving of a checkpoint."""

    KILLS = 20
    SETTINGS = ("checkpoint.every=3", "train.eval_every=3", "optimizer.schedule.kind=constant")

    def kill_after(self, name, num_steps, delay):
        """Kills a run when its metrics have that many steps more than at its start, and a delay later."""
        path = corpus.run_directory(name) / "metrics.jsonl"
        process = program.start(corpus.train(name, *self.SETTINGS, "train.steps=100000"), 0)
        size = path.stat().st_size if path.exists() else 0
        end = time.monotonic() + program.TIME_LIMIT
        num_found, seen = 0, size
        while num_found < num_steps and time.monotonic() < end:
            self.assertIsNone(process.poll(), "it ended by itself")
            time.sleep(0.002)
            now = path.stat().st_size if path.exists() else 0
            num_found, seen = num_found + (now > seen), now  # shorter where it was cut back
        time.sleep(delay)
        process.kill()
        process.communicate(timeout=program.TIME_LIMIT)

    def test_no_step_is_missing_or_there_twice(self):
        name, draw = "killed_at_random", random.Random(20261122)
        for _ in range(self.KILLS):
            self.kill_after(name, draw.choice((0, 1, 2, 3, 4, 7)), draw.uniform(0, 0.05))
        done = corpus.metrics(name)[-1]["step"] + 5
        program.run_well(corpus.train(name, *self.SETTINGS, f"train.steps={done}"))
        steps = list(range(1, done + 1))
        self.assertEqual([row["step"] for row in corpus.metrics(name)], steps)
        self.assertEqual([int(step) for (step,) in corpus.csv_columns(name, "step")], steps)
        evaluated = [step for step in steps if step % 3 == 0 or step == done]
        self.assertEqual([event["step"] for event in corpus.events(name, "eval")], evaluated)
        shown = event_files.scalars(corpus.run_directory(name))
        self.assertEqual([step for step, _ in shown["loss"]], steps)
        self.assertEqual([step for step, _ in shown["eval/loss"]], evaluated)


class Messages(unittest.TestCase):
    def test_a_refusal_is_told_whichever_rank_is_first(self):
        for setting, code, words in (
            ("model.hiden=3", 64, "model.hiden: unknown key"),
            (f"data.train={corpus.path}/tiny.yaml", 65, "tiny.yaml"),
        ):
            for _ in range(10):
                got, output = program.run(corpus.train("refused", setting), RANKS)
                self.assertEqual(got, code, output)
                self.assertIn(words, output)


if __name__ == "__main__":
    unittest.main()
