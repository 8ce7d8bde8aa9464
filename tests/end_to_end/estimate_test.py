"""`engram estimate` knows the size of checkpoints."""
import unittest

import estimates
import program


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Checkpoints(unittest.TestCase):
    def test_size_of_the_files(self):
        for shape, ranks in (("dense", 1), ("both", 2)):
            with self.subTest(shape=shape, ranks=ranks):
                _, (estimated, stored) = estimates.compare(corpus, shape, ranks)
                self.assertAlmostEqual(estimated / stored, 1, delta=0.01)


if __name__ == "__main__":
    unittest.main()
