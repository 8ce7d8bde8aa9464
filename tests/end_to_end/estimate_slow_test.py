"""`engram estimate` against the peak memory and the checkpoints of runs of every shape on 1, 2 and 4 ranks."""
import os
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

    def test_an_evaluation_holds_no_optimizer_state_of_the_tables(self):
        settings = (*estimates.SETTINGS, *estimates.SHAPES["engram"], "model.engram.rows_per_head=[100000]")
        program.run_well(corpus.train("tables", *settings, "train.steps=1"))
        with program.start(["eval", corpus.run_directory("tables")], 0) as evaluation:
            output = evaluation.stdout.read()
            _, status, usage = os.wait4(evaluation.pid, 0)
            evaluation.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(evaluation.returncode, 0, output)
        stateless = corpus.train("tables", *settings, "optimizer.table.kind=sgd", "checkpoint.asynchronous=false")
        estimated = estimates.mebibytes(program.run_well(["estimate", *stateless[1:]]), "total")
        self.assertLess(usage.ru_maxrss / 2**10, estimated * (1 + BOUND))


if __name__ == "__main__":
    unittest.main()
