"""The first kills of scripts/soak.sh, and its results file. ENGRAM_SOAK_KILLS sets how many kills, ENGRAM_SOAK_SECONDS
when to stop."""
import json
import os
import subprocess
import time
import unittest

import program
import soak

NUM_KILLS = int(os.environ.get("ENGRAM_SOAK_KILLS", "24"))
SECONDS = float(os.environ.get("ENGRAM_SOAK_SECONDS", "100"))


class Soak(unittest.TestCase):
    def setUp(self):
        self.corpus = program.Corpus()
        self.addCleanup(self.corpus.remove)

    def test_nothing_is_lost(self):
        kills, end = soak.Kills(self.corpus), time.monotonic() + SECONDS
        num_done = 0
        for seed in range(NUM_KILLS):
            if num_done >= 2 and time.monotonic() > end:
                break
            done = kills.inject(seed)
            self.assertEqual(done["problem"], "", done)
            num_done += 1
        print(f"{num_done} kills", flush=True)

    def test_runs_add_up_and_tell_failures(self):
        results = self.corpus.path / "corruptions.jsonl"
        command = [program.SOURCES / "scripts" / "soak.sh", "--corruptions", "200", "--results", results]
        results.write_text(json.dumps({"seed": 1, "count": 100, "point": "checkpoints", "problem": "it fell"}) + "\n")
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
        self.assertEqual([(line["seed"], line["problem"]) for line in lines], [(1, "it fell"), (101, "")])
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"200 corruptions; failed: [1]", done.stdout)


if __name__ == "__main__":
    unittest.main()
