"""The first kills of scripts/soak.sh. ENGRAM_SOAK_KILLS sets how many, ENGRAM_SOAK_SECONDS when to stop."""
import os
import time
import unittest

import program
import soak

NUM_KILLS = int(os.environ.get("ENGRAM_SOAK_KILLS", "24"))
SECONDS = float(os.environ.get("ENGRAM_SOAK_SECONDS", "100"))


class Soak(unittest.TestCase):
    def test_nothing_is_lost(self):
        corpus = program.Corpus()
        self.addCleanup(corpus.remove)
        kills, end = soak.Soak(corpus), time.monotonic() + SECONDS
        num_done = 0
        for seed in range(NUM_KILLS):
            if num_done >= 2 and time.monotonic() > end:
                break
            done = kills.kill(seed)
            self.assertEqual(done["problem"], "", done)
            num_done += 1
        print(f"{num_done} kills", flush=True)


if __name__ == "__main__":
    unittest.main()
