"""Two ranks give the same bits however they cut and overlap their work, on CPUs and on cards alike. On cards: graphs
change nothing, and a rank that dies or stops ends the job with its name."""
import os
import signal
import unittest

import program

RANKS = 2
REQUEUE = 75
LIMIT = 5  # seconds
COLUMNS = ("step", "loss", "experts.max_over_mean", "engram.unique", "engram.gate", "skipped")


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Bits(unittest.TestCase):
    def columns(self, name, ranks, *settings):
        """Those of a whole run."""
        program.run_well(corpus.train(name, "train.steps=20", *settings), ranks)
        return corpus.csv_columns(name, *COLUMNS)

    def test_work_may_be_cut_and_overlapped_in_any_way(self):
        layers, whole = "parallel.bucket_mib=0", "parallel.bucket_mib=1e6"
        host = "parallel.table_placement=host"
        want = None
        for name, settings in {"layers": (layers,), "again": (layers,), "whole": (whole,),
                               "host_layers": (host, layers), "host_whole": (host, whole)}.items():  # fmt: skip
            # Clipping reads a norm, whose sum is cut as well.
            got = self.columns(name, RANKS, "optimizer.clip.norm=0", *settings)
            want = want or got
            self.assertEqual(got, want, name)

    def test_two_ranks_learn_as_one(self):
        precise = ("train.precision=float32", "optimizer.dense.lr=3e-3")
        one, two = self.columns("one", 1, *precise), self.columns("two", RANKS, *precise)
        for (step, want, *_), (_, got, *_) in zip(one, two, strict=True):
            self.assertAlmostEqual(float(got), float(want), delta=1e-3, msg=f"step {step}")

    @unittest.skipIf(program.DEVICE == "cpu", "no graphs on CPUs")
    def test_graphs_may_run_beside_validations(self):
        runs = []
        for graphs in ("true", "false"):
            columns = self.columns(graphs, 1, f"train.graphs={graphs}", "train.eval_every=3", "checkpoint.every=5")
            runs.append((columns, [(event["step"], event["loss"]) for event in corpus.events(graphs, "eval")]))
        self.assertEqual(runs[0], runs[1])
        self.assertEqual(len(runs[0][1]), 7)


@unittest.skipIf(program.DEVICE == "cpu", "heartbeat_test and train_test do it on CPUs")
class Ends(unittest.TestCase):
    def end_rank_one(self, name, how, pattern, *settings):
        """Sends a signal to rank 1 of an endless run, which must end with that message; returns its exit code."""
        settings = ("train.steps=1000000", "checkpoint.every=50", "optimizer.schedule.kind=constant", *settings)
        process = program.start(corpus.train(name, *settings), RANKS)
        self.addCleanup(program.kill, process)
        checkpoints = corpus.run_directory(name) / "checkpoints"
        program.wait_until(lambda: list(checkpoints.glob("step-*/MANIFEST.json")), process)
        pids = program.ranks_of(process)
        os.kill(pids[1], how)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertRegex(output, pattern)
        for pid in pids.values():
            self.assertTrue(program.ended(pid, 10), output)
        steps = len(corpus.metrics(name)) + 5
        self.assertIn("resuming from", program.run_well(corpus.train(name, *settings, f"train.steps={steps}"), RANKS))
        return process.returncode

    def test_a_killed_rank_is_named(self):
        self.assertNotEqual(self.end_rank_one("killed", signal.SIGKILL, r"rank 1 .*(killed|signal 9)"), 0)

    def test_a_stopped_rank_is_named(self):
        pattern = rf"rank 1 on {os.uname().nodename} has given no sign of life for {LIMIT} seconds"
        code = self.end_rank_one("stopped", signal.SIGSTOP, pattern, f"parallel.silence_seconds={LIMIT}")
        self.assertEqual(code, REQUEUE)

    def test_a_collective_that_does_not_end_is_named(self):
        # Without rows to fetch, ranks wait for one another in NCCL alone.
        settings = ("parallel.silence_seconds=0", f"parallel.timeout_seconds={3 * LIMIT}", "model.engram.layers=[]")
        pattern = rf"rank 0 of {RANKS}: .* has not ended for \d+ seconds \(parallel.timeout_seconds\)"
        self.assertEqual(self.end_rank_one("wedged", signal.SIGSTOP, pattern, *settings), REQUEUE)


if __name__ == "__main__":
    unittest.main()
