"""Spikes: text that is easily learnt, with a few samples of something else, which come up at known steps."""
import random
import unittest

import program

RANKS = 2
STEPS, EVERY = 400, 20
WINDOW = 128
COLUMNS = ("step", "loss", "norm", "lr", "skipped")
GIVE_UP = 93


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)
    words = (program.SOURCES / "data" / "sample" / "train.txt").read_text(encoding="utf-8")[:20000].split()
    random.Random(1).shuffle(words)
    line = "the cat sat on the mat and the dog lay on the rug .\n"
    text = line * 500 + " ".join(words[:80]) + "\n" + line * 300
    (corpus.path / "plain.txt").write_text(text, encoding="utf-8")
    program.run_well(corpus.build("plain"))


class Spikes(unittest.TestCase):
    def arguments(self, name, policy, *settings):
        return corpus.train(name, f"data.train={corpus.path}/plain.h5", f"train.spike_policy={policy}",
                            f"train.steps={STEPS}", f"checkpoint.every={EVERY}", "train.global_batch=4",
                            "optimizer.schedule.kind=constant", *settings)  # fmt: skip

    def steps_of(self, name, kind):
        return [event["step"] for event in corpus.events(name, kind)]

    def test_log_tells_and_changes_nothing(self):
        output = program.run_well(self.arguments("logged", "log"), RANKS)
        spikes = self.steps_of("logged", "spike")
        self.assertTrue(spikes, "none in this text")
        self.assertGreater(min(spikes), WINDOW)
        self.assertIn(f"step {spikes[0]}: loss", output)
        self.assertEqual({row[0] for row in corpus.csv_columns("logged", "skipped")}, {"0"})

    def test_skip_skips_and_so_does_the_run_that_resumes(self):
        program.run_well(self.arguments("skipped", "skip"), RANKS)
        spikes = self.steps_of("skipped", "spike")
        self.assertTrue(spikes)
        skipped = [int(row[0]) for row in corpus.csv_columns("skipped", "step", "skipped") if row[1] == "1"]
        self.assertEqual(skipped, spikes)
        program.run_well(self.arguments("halves", "skip", f"train.steps={spikes[-1] - 5}"), RANKS)
        program.run_well(self.arguments("halves", "skip"), RANKS)
        self.assertEqual(corpus.csv_columns("halves", *COLUMNS), corpus.csv_columns("skipped", *COLUMNS))

    def test_rewind_goes_on_after_the_batch(self):
        program.run_well(self.arguments("rewound", "rewind"), RANKS)
        rewinds = corpus.events("rewound", "rewind")
        self.assertTrue(rewinds)
        for event in rewinds:
            self.assertEqual(event["step"], (event["from_step"] - 1) // EVERY * EVERY)
        self.assertEqual(self.steps_of("rewound", "spike"), [])  # their steps were made again
        passed = [event["passed_batches"] for event in rewinds]
        self.assertEqual(passed, sorted(set(passed)))
        self.assertEqual([row[0] for row in corpus.csv_columns("rewound", "step")], [str(i + 1) for i in range(STEPS)])

    def test_rewinding_without_end_gives_up(self):
        # Without learning, one loss in six is a deviation over the mean; there is no checkpoint but the start.
        settings = ("train.spike_policy=rewind", "train.spike_sigma=1", "optimizer.dense.lr=0", "train.steps=1000",
                    "train.global_batch=2", "train.micro_batch=1")  # fmt: skip
        code, output = program.run(corpus.train("hopeless", *settings), RANKS)
        self.assertEqual(code, GIVE_UP, output)
        self.assertIn("gave up: 3 rewinds in a row", output)


if __name__ == "__main__":
    unittest.main()
