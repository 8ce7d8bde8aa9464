"""Managers and trials of a sweep killed at seeded moments: nothing may be lost, done twice or renumbered.

ENGRAM_SWEEP_KILLS sets the number of kills, ENGRAM_SWEEP_SECONDS how long to go on killing at most.
"""
import os
import random
import shutil
import signal
import time
import unittest

import program
import sweep

NUM_KILLS = int(os.environ.get("ENGRAM_SWEEP_KILLS", "16"))
SECONDS = float(os.environ.get("ENGRAM_SWEEP_SECONDS", "45"))


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


def children(pid):
    """Process ids whose parent is `pid`."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


class Kills(unittest.TestCase):
    def check_journal(self, small, before):
        """The journal only grows, each trial is done at most once, and none is renumbered."""
        records = small.journal()
        self.assertEqual(records[: len(before)], before)
        planned = [record for record in records if record["record"] == "trial"]
        self.assertEqual([record["trial"] for record in planned], list(range(sweep.NUM_TRIALS)))
        done = [r["trial"] for r in records if r["record"] == "state" and r["state"] == "done"]
        self.assertEqual(len(done), len(set(done)), "a trial was done twice")
        for number in done:
            states = [r["state"] for r in records if r["record"] == "state" and r["trial"] == number]
            self.assertEqual(states.index("done"), len(states) - 1, "a done trial was touched again")
        return records

    def victims(self, small, manager, chance):
        """Process ids of which one is to be killed: the manager, or a trial's launcher or one of its ranks."""
        if chance.random() < 0.4:
            return [manager.pid]
        running = [record for record in small.states().values() if record and record["state"] == "running"]
        launchers = [pid for pid in map(sweep.process_of, running) if pid]
        return launchers + [rank for pid in launchers for rank in children(pid)] or [manager.pid]

    def run_with_kills(self, small, num_kills, chance):
        """Returns the number of kills by which the sweep was not yet done."""
        records, kills, end = [], {"manager": 0, "trial": 0}, time.monotonic() + SECONDS
        manager = program.start(small.command("run", "--jobs", "2"), 0)
        while sum(kills.values()) < num_kills and time.monotonic() < end:
            time.sleep(chance.uniform(0.02, 1.2))
            if (small.directory / "journal.jsonl").exists():
                records = self.check_journal(small, records)
            if manager.poll() is None:
                victim = chance.choice(self.victims(small, manager, chance))
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                kills["manager" if victim == manager.pid else "trial"] += 1
                if victim != manager.pid:
                    continue
            output = manager.communicate(timeout=program.TIME_LIMIT)[0].decode()
            if manager.returncode == 0:
                break
            self.assertEqual(manager.returncode, -signal.SIGKILL, output)
            manager = program.start(small.command("run", "--jobs", "2"), 0)
        output = manager.communicate(timeout=4 * program.TIME_LIMIT)[0].decode()
        self.assertEqual(manager.returncode, 0, output)
        self.check_journal(small, records)
        return kills

    def compare(self, small, undisturbed):
        self.assertEqual(small.count("done"), sweep.NUM_TRIALS)
        program.run_well(["sweep", "report", small.directory])
        self.assertEqual(small.results(), undisturbed.results())
        for number, record in small.states().items():
            self.assertEqual(small.steps(number), list(range(1, sweep.NUM_STEPS + 1)))
            self.assertEqual(small.losses(number), undisturbed.losses(number), f"trial {number}")
            self.assertEqual(record["loss"], undisturbed.states()[number]["loss"])

    def kill_often(self, ranks):
        """Sweeps, one after the other, until the kills are spent; each must end as the undisturbed one."""
        undisturbed = sweep.Sweep(corpus, f"undisturbed_{ranks}", ranks)
        program.run_well(undisturbed.command("run", "--jobs", "2"))
        program.run_well(["sweep", "report", undisturbed.directory])
        chance, total, end = random.Random(7 + ranks), {"manager": 0, "trial": 0}, time.monotonic() + SECONDS
        while sum(total.values()) < NUM_KILLS // 2 and time.monotonic() < end:
            small = sweep.Sweep(corpus, f"killed_{ranks}", ranks)
            shutil.rmtree(small.directory, ignore_errors=True)
            kills = self.run_with_kills(small, NUM_KILLS // 2 - sum(total.values()), chance)
            total = {name: total[name] + kills[name] for name in total}
            self.compare(small, undisturbed)
        print(f"{ranks} ranks: killed {total['manager']} managers and {total['trial']} processes of trials", flush=True)

    def test_trials_of_one_rank(self):
        self.kill_often(1)

    def test_trials_of_two_ranks(self):
        self.kill_often(2)


if __name__ == "__main__":
    unittest.main()
