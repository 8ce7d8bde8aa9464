"""Token ids against those of Hugging Face's Python package, on real text and on awkward texts.

The shipped tokenizer is compared on the sample text; the others, and 25 MB of text each, where they are present.
"""
import os
import pathlib
import subprocess
import unittest

import program

SHARED = pathlib.Path(os.environ.get("ENGRAM_SHARED", program.SOURCES.parent / "shared")) / "data"
SCRIPT = program.SOURCES / "scripts" / "compare_tokenizers.py"
SAMPLE = program.SOURCES / "data" / "sample" / "train.txt"
CORPUS = SHARED / "corpora" / "mix_00.txt.xz"
CORPUS_BYTES = 25_000_000
TIME_LIMIT = 850  # seconds of one comparison


class AgainstThePackage(unittest.TestCase):
    def compare(self, tokenizer, *what):
        python = program.python_with("tokenizers")
        command = [python, SCRIPT, "--tokenizer", tokenizer, "--engram", program.PROGRAM, *what]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIME_LIMIT)
        print(done.stdout, flush=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(done.stdout.count(" 0 texts differ"), 3)

    def test_no_id_of_the_shipped_tokenizer_differs(self):
        self.compare(program.TOKENIZER, "--awkward", SAMPLE)

    def test_no_id_of_released_tokenizers_differs(self):
        files = sorted(SHARED.glob("tokenizers/*/tokenizer.json"))
        if not files or not CORPUS.exists():
            self.skipTest(f"no {SHARED}/tokenizers/*/tokenizer.json or no {CORPUS}")
        for file in files:
            with self.subTest(tokenizer=file.parent.name):
                self.compare(file, "--awkward", CORPUS, "--bytes", str(CORPUS_BYTES))


if __name__ == "__main__":
    unittest.main()
