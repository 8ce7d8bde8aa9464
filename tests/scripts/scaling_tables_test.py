"""scripts/scaling_tables.py on made-up results."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "scaling_tables.py"


def step(name, devices, milliseconds, flops=2e9):
    return {"kind": "step", "name": name, "devices": devices, "device": "card", "driver": "580", "commit": "abc",
            "tokens_per_step": 32000 * devices, "flops_per_token": flops, "median": milliseconds / 1e3,
            "memory_bytes": 2**30, "losses": [10.5, 7.25]}


class Tables(unittest.TestCase):
    def tables(self, *lines):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "results.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            return subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)

    def test_weak_scaling(self):
        text = self.tables(step("weak_b", 1, 200), step("weak_b", 2, 250)).stdout
        self.assertIn("card, driver 580, commit abc", text)
        self.assertIn("| b | 1 | 160.0k | 32.4 % | 200.0 | 1.0 | 100.0 % | 0.0 |", text)
        self.assertIn("| b | 2 | 256.0k | 25.9 % | 250.0 | 1.0 | 80.0 % | 50.0 |", text)
        self.assertIn("| weak_b | 2 | 2 | 10.5000 | 7.2500 |", text)
        self.assertNotIn("Strong", text)

    def test_what_tables_cost_beyond_their_flops(self):
        text = self.tables(*(step("weak_b", 2, ms) for ms in (190, 200, 210)), step("weak_b_tables", 2, 206, 2.04e9),
                           {"kind": "model", "name": "weak_b_tables", "devices": 2, "exposed": "0.2-0.5"}).stdout
        self.assertIn("| 2 | 200.00 | 206.00 | 2.00 % | 1.00 % | 0.2-0.5 % |", text)

    def test_exchange_beside_the_model(self):
        line = {"kind": "exchange", "devices": 2, "device": "card", "commit": "abc", "tokens": 4096, "median": 0.002,
                "bytes": 4e8, "limit_bytes_per_second": 2.5e11}
        model = {"kind": "model", "name": "exchange_4096", "devices": 2, "fetch": "1-2", "return": "3-4"}
        text = self.tables(dict(line, name="fetch"), dict(line, name="gradient return"), dict(line, name="other"),
                           model).stdout
        self.assertIn("| 2 | 4096 | fetch | 400.00 | 2.000 | 1-2 | 200.0 | 250.0 | 80 % |", text)
        self.assertIn("| gradient return | 400.00 | 2.000 | 3-4 |", text)
        self.assertIn("| other | 400.00 | 2.000 | - |", text)

    def test_nothing_measured(self):
        result = self.tables()
        self.assertIn("no measurement", result.stderr)
        self.assertEqual(result.returncode, 1)


if __name__ == "__main__":
    unittest.main()
