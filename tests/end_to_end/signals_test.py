"""Signals and request files at seeded moments: whichever rank is told, in start-up, training or evaluation, the job
leaves with the right code, and goes on as if it had never stopped. scripts/soak.sh --signals does more of them.
"""
import os
import signal
import unittest

import program
from stops import RANKS, REQUEUE, Stops, catches

NUM_SIGNALS = 4


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Signals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stops = Stops(corpus)

    def test_each_is_followed_and_costs_nothing(self):
        for seed in range(NUM_SIGNALS):
            done = self.stops.inject(seed)
            self.assertEqual(done["problem"], "", done)

    def test_save_saves_and_goes_on(self):
        process, pids = self.stops.start("saved")
        self.addCleanup(program.kill, process)
        program.wait_for_steps(corpus, "saved", 5, process)
        self.stops.ask("SAVE", "saved", None)
        program.wait_until(lambda: not (corpus.run_directory("saved") / "SAVE").exists(), process)
        saved = [event["step"] for event in corpus.events("saved", "save")]
        self.assertEqual(len(saved), 1)
        program.wait_for_steps(corpus, "saved", saved[0] + 3, process)
        self.stops.ask("SIGTERM", "saved", pids[1])
        self.assertEqual(self.stops.problem_of_end(process, REQUEUE), "")
        self.assertEqual(self.stops.problem_after("saved"), "")


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
