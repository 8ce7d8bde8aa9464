"""Every page of results names the digest of its data, or says that it has none, and is in the list of pages."""
import json
import pathlib
import re
import unittest

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results"
DIGEST = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{64})\b")


class Pages(unittest.TestCase):
    def test_each_names_its_data_and_is_listed(self):
        listed = (RESULTS / "README.md").read_text(encoding="utf-8")
        pages = [page for page in RESULTS.glob("*.md") if page.name != "README.md"]
        self.assertGreater(len(pages), 5)
        for page in pages:
            text = page.read_text(encoding="utf-8")
            self.assertTrue(DIGEST.search(text) or "No data file" in text, f"{page.name}: which data?")
            self.assertIn(f"({page.name})", listed)

    def test_rates_and_memory_of_training_are_those_of_its_lines(self):
        lines = [json.loads(line) for line in (RESULTS / "training-on-h200.jsonl").read_text().splitlines()]
        measured = {f"{line['flops_per_second_per_device'] / 1e12:.1f}, {line['share_of_matmul'] * 100:.1f} %, "
                    f"{line['memory_bytes'] / 2**30:.1f}" for line in lines if line["kind"] == "step"}  # fmt: skip
        cells = re.findall(r"\| ([\d.]+, [\d.]+ %, [\d.]+) (?=\|)", (RESULTS / "training-on-h200.md").read_text())
        self.assertGreater(len(cells), 20)
        self.assertEqual(set(cells) - measured, set())


if __name__ == "__main__":
    unittest.main()
