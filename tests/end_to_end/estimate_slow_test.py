"""`engram estimate` against the peak memory and the checkpoints of runs of every shape on 1, 2 and 4 ranks."""
import unittest

import estimates
import program

BOUND = 0.05  # of the memory


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Estimates(unittest.TestCase):
    def test_memory_and_checkpoints(self):
        for shape, settings in estimates.SHAPES.items():
            for ranks in (2, 4) if "parallel.expert=2" in settings else (1, 2, 4):
                with self.subTest(shape=shape, ranks=ranks):
                    (estimated, peak), (size, stored) = estimates.compare(corpus, shape, ranks)
                    print(f"{shape:<7} {ranks}  memory {estimated:6.1f} {peak:6.1f} {estimated / peak - 1:+.1%}  "
                          f"checkpoint {size:6.1f} {stored:6.1f} {size / stored - 1:+.2%}", flush=True)  # fmt: skip
                    self.assertAlmostEqual(estimated / peak, 1, delta=BOUND)
                    self.assertAlmostEqual(size / stored, 1, delta=0.01)


if __name__ == "__main__":
    unittest.main()
