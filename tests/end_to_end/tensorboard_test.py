"""TensorBoard's own reader, of the Python package, shows the values of metrics.jsonl, after resumes too."""
import json
import struct
import subprocess
import unittest

import event_files
import program

READ = """
import json, logging, sys
from tensorboard.backend.event_processing import event_accumulator
logging.basicConfig(level=logging.WARNING)
run = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
run.Reload()
print(json.dumps({tag: [(e.step, e.value) for e in run.Scalars(tag)] for tag in run.Tags()["scalars"]}))
"""


def single(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def expected(name):
    """What a run's metrics and events say, as TensorBoard should show it."""
    shown = {}
    for row in corpus.metrics(name):
        for column, value in row.items():
            if column != "step" and value is not None:
                shown.setdefault(column.replace(".", "/"), []).append((row["step"], single(value)))
    for kind, field in (("eval", "loss"), ("rows", "never_touched"), ("save", "seconds"), ("save", "stall_seconds")):
        for event in corpus.events(name, kind):
            shown.setdefault(f"{kind}/{field}", []).append((event["step"], single(event[field])))
    return shown


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class EventFiles(unittest.TestCase):
    SETTINGS = ("data.tokenizer=" + str(program.TOKENIZER), "train.eval_every=3", "optimizer.schedule.kind=constant")

    @classmethod
    def setUpClass(cls):
        """Three sessions. The second begins where the first was, but for steps that no checkpoint holds any more."""
        cls.run_to("resumed", 6)
        cls.run_to("resumed", 9)
        directory = corpus.run_directory("resumed")
        last = max(directory.glob("*tfevents*"))
        with open(last, "ab") as file:
            file.write(last.read_bytes()[:20])  # a killed process may leave half a record
        for path in (directory / "checkpoints" / "step-00000009").iterdir():
            path.unlink()
        cls.run_to("resumed", 12)

    @classmethod
    def run_to(cls, name, steps):
        program.run_well(corpus.train(name, *cls.SETTINGS, f"train.steps={steps}", "checkpoint.every=3"))

    def test_our_reading_shows_the_metrics(self):
        self.assertEqual(len(list(corpus.run_directory("resumed").glob("*tfevents*"))), 3)
        self.assertEqual([event["step"] for event in corpus.events("resumed", "resume")], [6, 6])
        shown = event_files.scalars(corpus.run_directory("resumed"))
        self.assertEqual(shown, expected("resumed"))
        self.assertEqual([step for step, _ in shown["loss"]], list(range(1, 13)))

    def test_tensorboard_shows_the_metrics(self):
        reader = program.python_with("tensorboard")
        done = subprocess.run([reader, "-c", READ, str(corpus.run_directory("resumed"))],
                              capture_output=True, text=True, timeout=program.TIME_LIMIT, check=False)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotRegex(done.stderr, "(?i)error|corrupt|crc")
        shown = {tag: [tuple(point) for point in points] for tag, points in json.loads(done.stdout).items()}
        self.assertEqual(shown, expected("resumed"))

    def test_can_be_turned_off(self):
        program.run_well(corpus.train("without", "logging.tensorboard=false", "train.steps=1"))
        self.assertEqual(list(corpus.run_directory("without").glob("*tfevents*")), [])


if __name__ == "__main__":
    unittest.main()
