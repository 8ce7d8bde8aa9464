"""scripts/scaling.sh with small models on two ranks of this machine."""
import json
import pathlib
import subprocess
import tempfile
import unittest

import program


class Scaling(unittest.TestCase):
    def run_script(self, *arguments, engram=program.PROGRAM):
        with tempfile.TemporaryDirectory() as directory:
            output = pathlib.Path(directory) / "scaling"
            parts = [word for part in arguments for word in ("--only", part)]
            result = subprocess.run(
                [program.SOURCES / "scripts" / "scaling.sh", "--cpu", "--output", output, *parts],
                env=dict(program.ENVIRONMENT, ENGRAM_PROGRAM=engram), capture_output=True, text=True, check=False,
                timeout=program.TIME_LIMIT)
            lines = [json.loads(line) for line in (output / "results.jsonl").read_text(encoding="utf-8").splitlines()]
            return result, lines

    def test_measures_on_one_rank_and_on_two(self):
        result, lines = self.run_script("tables", "exchange", "published")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        steps = [(line["name"], line["devices"]) for line in lines if line["kind"] == "step"]
        self.assertEqual(steps, [("weak_b_tables", 1), ("weak_b_tables", 2)])
        self.assertIn("fetch", {line["name"] for line in lines if line["kind"] == "exchange"})
        models = {line["name"]: line for line in lines if line["kind"] == "model"}
        self.assertEqual(models.keys(), {"weak_b_tables", "exchange_1024"})
        for model in models.values():
            self.assertEqual(model["devices"], 2)
            for key in ("fetch", "return", "exposed"):
                self.assertRegex(model[key], r"^[0-9.]+-[0-9.]+$")
        self.assertIn("Exchange of rows", result.stdout)
        self.assertIn("it takes 8 GPUs, here are 2", result.stdout)

    def test_runs_that_fail_are_told(self):
        with tempfile.TemporaryDirectory() as directory:
            broken = pathlib.Path(directory) / "engram"
            broken.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo "out of order"; exit 3; }\n', encoding="utf-8")
            broken.chmod(0o755)
            result, lines = self.run_script("strong", "tables", engram=broken)
        self.assertEqual(result.returncode, 1)
        self.assertGreaterEqual(result.stdout.count("out of order"), 4)  # two models, on one rank and on two
        self.assertEqual(lines, [])  # nor what the scale model failed to say

    def test_an_unknown_part_is_refused(self):
        script = [program.SOURCES / "scripts" / "scaling.sh", "--only", "week"]
        result = subprocess.run(script, capture_output=True, text=True, check=False, timeout=program.TIME_LIMIT)
        self.assertEqual(result.returncode, 1)
        self.assertIn("--only week: is no part", result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
