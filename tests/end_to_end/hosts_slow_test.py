"""A training job over three hosts with addresses of their own, one of which is cut off, stopped or slowed."""
import os
import shutil
import signal
import unittest

import emulated_hosts
import program

REQUEUE = 75
LIMIT = 5  # seconds
HOSTS = ("engram-h1", "engram-h2", "engram-h3")
SLOTS = dict(zip(HOSTS, (2, 1, 1)))
RANKS = sum(SLOTS.values())
COLUMNS = ("step", "loss", "norm", "lr", "engram.unique")
BATCH = ("train.global_batch=12", "train.micro_batch=1")
ENDLESS = (*BATCH, "train.steps=1000000", "checkpoint.every=5", f"parallel.silence_seconds={LIMIT}",
           "optimizer.schedule.kind=constant")  # fmt: skip


def setUpModule():
    global corpus, hosts
    if reason := emulated_hosts.why_not():
        raise unittest.SkipTest(reason)
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)
    hosts = emulated_hosts.Hosts(HOSTS)
    unittest.enterModuleContext(hosts)


class Hosts(unittest.TestCase):
    def start_endless(self, name):
        """The launcher of an endless run that has made a checkpoint."""
        process = hosts.start(corpus.train(name, *ENDLESS), SLOTS)
        self.addCleanup(process.kill)
        checkpoints = corpus.run_directory(name) / "checkpoints"
        program.wait_until(lambda: list(checkpoints.glob("step-*/MANIFEST.json")), process)
        return process

    def run_well(self, slots, name, *settings):
        process = hosts.start(corpus.train(name, *settings), slots)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertEqual(process.returncode, 0, output)
        return output

    def check_lost(self, process, name):
        """The job ends with the rank of the third host named, and goes on without that host."""
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertEqual(process.returncode, REQUEUE, output)
        pattern = rf"rank {RANKS - 1} on {HOSTS[2]} has given no sign of life for {LIMIT} seconds"
        self.assertRegex(output, pattern)
        for host in HOSTS[:2]:
            self.assertTrue(all(program.ended(pid, 30) for pid in hosts.processes(host)), output)
        self.check_goes_on(name)

    def check_goes_on(self, name):
        """On the two hosts that are left."""
        steps = len(corpus.metrics(name)) + 5
        slots = {host: SLOTS[host] for host in HOSTS[:2]}
        self.assertIn("resuming from", self.run_well(slots, name, *ENDLESS, f"train.steps={steps}"))

    def test_as_on_one_host(self):
        settings = (*BATCH, "train.steps=12", "checkpoint.every=5")
        self.run_well(SLOTS, "spread", *settings)
        program.run_well(corpus.train("together", *settings), RANKS)
        self.assertEqual(corpus.csv_columns("spread", *COLUMNS), corpus.csv_columns("together", *COLUMNS))

    def test_a_host_is_cut_off(self):
        process = self.start_endless("cut_off")
        self.addCleanup(hosts.run, HOSTS[2], "ip link set eth0 up")
        hosts.run(HOSTS[2], "ip link set eth0 down")
        self.check_lost(process, "cut_off")

    def test_the_ranks_of_a_host_stand_still(self):
        process = self.start_endless("still")
        for pid in hosts.ranks(HOSTS[2]):
            os.kill(pid, signal.SIGSTOP)
        self.check_lost(process, "still")

    def test_a_slow_host_is_waited_for(self):
        """Its ranks run a fifth of the time; the job goes on, to the bits of one in which nobody is slow."""
        process = self.start_endless("slow")
        with hosts.slowed(HOSTS[2], still=0.4, running=0.1):
            done = len(corpus.metrics("slow"))
            program.wait_for_steps(corpus, "slow", done + 20, process)
        os.kill(hosts.ranks(HOSTS[2])[0], signal.SIGTERM)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        self.assertEqual(process.returncode, REQUEUE, output)
        rows = corpus.csv_columns("slow", *COLUMNS)
        program.run_well(corpus.train("quick", *ENDLESS, f"train.steps={len(rows)}"), RANKS)
        self.assertEqual(rows, corpus.csv_columns("quick", *COLUMNS))

    def test_a_network_that_is_slow_is_waited_for(self):
        """Each packet of a host comes twenty milliseconds late."""
        slow = "tc qdisc add dev eth0 root netem delay 20ms"
        if not shutil.which("tc") or hosts.run(HOSTS[2], slow, check=False) != 0:
            self.skipTest("no tc, or no netem in this kernel")
        self.addCleanup(hosts.run, HOSTS[2], "tc qdisc del dev eth0 root")
        settings = (*BATCH, "train.steps=6", f"parallel.silence_seconds={LIMIT}")
        self.run_well(SLOTS, "slow_network", *settings)
        self.assertEqual([row["step"] for row in corpus.metrics("slow_network")], list(range(1, 7)))


if __name__ == "__main__":
    unittest.main()
