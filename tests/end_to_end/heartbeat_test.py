"""A rank that is stopped, stuck or cut off ends the job, with its name; one that is only slow does not."""
import os
import signal
import time
import unittest

import program

REQUEUE = 75
RANKS = 3
LIMIT = 5  # seconds
ENDLESS = ("train.steps=1000000", f"parallel.silence_seconds={LIMIT}", "train.global_batch=6", "train.micro_batch=1",
           "checkpoint.every=5", "optimizer.schedule.kind=constant")  # fmt: skip


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Heartbeat(unittest.TestCase):
    def start(self, name, environment=None):
        """The launcher of an endless run that has made some steps and a checkpoint, and the process id of each rank."""
        process = program.start(corpus.train(name, *ENDLESS), RANKS, environment)
        self.addCleanup(process.kill)
        checkpoints = corpus.run_directory(name) / "checkpoints"
        program.wait_until(lambda: list(checkpoints.glob("step-*/MANIFEST.json")), process)
        return process, program.ranks_of(process)

    def check_ended(self, process, pids, pattern):
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertEqual(process.returncode, REQUEUE, output)
        self.assertRegex(output, pattern)
        for pid in pids.values():
            self.assertTrue(program.ended(pid, 10), output)

    def check_goes_on(self, name):
        steps = len(corpus.metrics(name)) + 5
        output = program.run_well(corpus.train(name, *ENDLESS, f"train.steps={steps}"), RANKS)
        self.assertIn("resuming from", output)

    def test_a_stopped_rank_ends_the_job(self):
        for rank in (0, 1):
            with self.subTest(rank=rank):
                name = f"stopped{rank}"
                process, pids = self.start(name)
                os.kill(pids[rank], signal.SIGSTOP)
                pattern = rf"rank {rank} on {os.uname().nodename} has given no sign of life for {LIMIT} seconds"
                self.check_ended(process, pids, pattern)
                self.check_goes_on(name)

    def test_a_stuck_rank_ends_the_job(self):
        environment = program.shim_environment(path="metrics.jsonl", rank=0, first=40, errno="hang")
        process, pids = self.start("stuck", environment)
        self.check_ended(process, pids, rf"the others wait for rank 0 on {os.uname().nodename}, which is stuck")
        self.check_goes_on("stuck")

    def test_a_rank_that_is_stuck_in_a_save_ends_the_job(self):
        environment = program.shim_environment(rank=1, first=0, errno="hang")
        settings = (*ENDLESS, "checkpoint.asynchronous=false", f"parallel.timeout_seconds={3 * LIMIT}")
        process = program.start(corpus.train("stuck_save", *settings), RANKS, environment)
        self.addCleanup(process.kill)
        pattern = rf"for {3 * LIMIT} seconds .* wait for rank 1 on {os.uname().nodename}, which is stuck in a save"
        self.check_ended(process, {}, pattern)

    def test_a_broken_link_ends_the_job(self):
        environment = dict(program.ENVIRONMENT, LD_PRELOAD=program.MPI_SHIM, ENGRAM_SHIM_RANK="1")
        code, output = program.run(corpus.train("link", *ENDLESS), RANKS, environment)
        self.assertEqual(code, REQUEUE, output)
        self.assertRegex(output, r"rank 1: MPI_Wait: .*the link to it was lost. Start again from the last checkpoint")

    def test_a_slow_save_does_not(self):
        environment = program.shim_environment(rank=1, first=0, errno="slow")
        settings = (*ENDLESS, "checkpoint.asynchronous=false", "train.steps=12")
        code, output = program.run(corpus.train("slow_save", *settings), RANKS, environment)
        self.assertEqual(code, 0, output)
        self.assertGreater(max(event["seconds"] for event in corpus.events("slow_save", "save")), LIMIT)

    def test_a_slow_rank_does_not(self):
        process, pids = self.start("slow")
        os.kill(pids[1], signal.SIGSTOP)
        time.sleep(LIMIT / 3)
        os.kill(pids[1], signal.SIGCONT)
        time.sleep(LIMIT)  # nor does anybody who is heard
        program.wait_for_steps(corpus, "slow", len(corpus.metrics("slow")) + 5, process)
        os.kill(pids[0], signal.SIGTERM)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertIn("on request, saved as", output)


if __name__ == "__main__":
    unittest.main()
