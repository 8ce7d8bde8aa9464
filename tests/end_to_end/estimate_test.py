"""`engram estimate` knows the size of checkpoints."""
import unittest

import estimates
import program

SMALL = ("model.hidden=64", "model.num_layers=3", "model.ffn_hidden=128", "model.attention.head_dim=16",
         "model.engram.rows_per_head=[5000]", "train.steps=1")  # fmt: skip


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Checkpoints(unittest.TestCase):
    def test_size_of_the_files(self):
        for shape, ranks in (("dense", 1), ("both", 2), ("shared", 4)):
            with self.subTest(shape=shape, ranks=ranks):
                _, (estimated, stored) = estimates.compare(corpus, shape, ranks, *SMALL)
                self.assertAlmostEqual(estimated / stored, 1, delta=0.01)


if __name__ == "__main__":
    unittest.main()
