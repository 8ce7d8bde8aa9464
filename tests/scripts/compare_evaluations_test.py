"""scripts/compare_evaluations.py on made-up items."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "compare_evaluations.py"


def words(costs, tokens=2, kind="cloze"):
    same = {"task": "words", "kind": kind, "answer": 0, "tokens": [tokens], "bytes": [4]}
    return [
        {**same, "nats": [cost], "worst_rank": [i]}
        for i, cost in enumerate(costs)
    ]


def choices(costs):
    return [
        {"task": "choices", "kind": "choice", "answer": 0, "nats": cost, "tokens": [1, 1], "bytes": [2, 8]}
        for cost in costs
    ]


class Comparison(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = pathlib.Path(temporary.name)

    def compare(self, a, b):
        for name, items in (("a.jsonl", a), ("b.jsonl", b)):
            (self.path / name).write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
        command = [sys.executable, SCRIPT, self.path / "a.jsonl", self.path / "b.jsonl"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_a_difference_that_every_item_shows_is_marked(self):
        costs = [float(i % 7) for i in range(50)]
        output = self.compare(words([cost + 1 for cost in costs]), words(costs)).stdout
        self.assertRegex(output, r"words +50 p_at_1 +0\.0400 +0\.0400 +\+0\.0000  0\.0000 to 0\.0000\n")
        self.assertRegex(output, r"words +50 p_at_10 +0\.2200 +0\.2200 +\+0\.0000  0\.0000 to 0\.0000\n")
        self.assertRegex(output, r"nats_per_token +\S+ +\S+ +\+0\.5000  0\.5000 to 0\.5000 \*")

    def test_noise_is_not_marked(self):
        costs = [float(i % 7) for i in range(50)]
        output = self.compare(*(words(each, kind="last_word") for each in (costs, costs[::-1]))).stdout
        low, high = re.search(r"nats_per_word .*  (\S+) to (\S+)\n", output).groups()
        self.assertLess(float(low), 0)
        self.assertGreater(float(high), 0)

    def test_choices_are_compared_raw_and_by_bytes(self):
        output = self.compare(choices([[1, 2]] * 9), choices([[3, 2]] * 9)).stdout
        self.assertRegex(output, r"choices +9 accuracy +1\.0000 +0\.0000 +\+1\.0000")
        self.assertRegex(output, r"choices +9 accuracy_norm +0\.0000 +0\.0000 +\+0\.0000")

    def test_other_items_are_refused(self):
        done = self.compare(words([1.0, 2.0]), words([1.0, 2.0], tokens=3))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("words: the two files hold different items", done.stderr)


if __name__ == "__main__":
    unittest.main()
