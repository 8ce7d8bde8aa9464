"""Token stores that stay in their files: what becomes of a run that cannot read one."""
import errno
import unittest

import program

IO_ERROR = 74
SETTINGS = ("train.steps=4", "checkpoint.every=2", "checkpoint.asynchronous=false")


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Unreadable(unittest.TestCase):
    def train(self, name, ranks, *settings, **shim):
        environment = program.shim_environment(path="/train.h5", calls="pread", **shim)
        return program.run(corpus.train(name, *SETTINGS, *settings), ranks, environment)

    def num_reads(self, name, ranks, *settings, **shim):
        log = corpus.path / f"{name}.log"
        code, output = self.train(name, ranks, *settings, log=log, **shim)
        self.assertEqual(code, 0, output)
        return len(log.read_text(encoding="utf-8").splitlines())

    def test_a_window_that_cannot_be_read_ends_the_run(self):
        for ranks, shim in ((0, {}), (2, {"rank": 1})):
            with self.subTest(ranks=ranks):
                reads = self.num_reads(f"counted{ranks}", ranks, **shim)
                name = f"failed{ranks}"
                code, output = self.train(name, ranks, first=reads - 1, errno=errno.EIO, **shim)
                self.assertEqual(code, IO_ERROR, output)
                self.assertRegex(output, r"/train.h5: reading bytes \d+ to \d+ failed: Input/output error")
                self.assertIn("resuming from", program.run_well(corpus.train(name, *SETTINGS), ranks))
                self.assertEqual(corpus.csv_columns(name, "loss"), corpus.csv_columns(f"counted{ranks}", "loss"))

    def test_ranks_share_the_reading_of_a_store(self):
        """Four windows a step, and one rank of two reads the only block; what HDF5 reads is the same on both. Without
        memory, for which the first rank reads windows once more to count collisions."""
        alone = self.num_reads("alone", 0, "model.engram.layers=[]")
        both = [self.num_reads(f"shared{rank}", 2, "model.engram.layers=[]", rank=rank) for rank in range(2)]
        self.assertEqual(both[0] - both[1], 1)
        self.assertLess(both[0], alone)


if __name__ == "__main__":
    unittest.main()
