"""Token ids against Hugging Face's package, on the sample text and on awkward texts.

Needs the PyPI package `tokenizers`, in .venv of the sources or in the Python that runs this; the tokenizers that do not
ship are compared where they are present.
"""
import os
import pathlib
import subprocess
import sys
import unittest

import program

SHARED = pathlib.Path(os.environ.get("ENGRAM_SHARED", program.SOURCES.parent / "shared")) / "data"
SCRIPT = program.SOURCES / "scripts" / "compare_tokenizers.py"
TEXT = program.SOURCES / "data" / "sample" / "train.txt"
TIME_LIMIT = 1500


def python_with_package():
    """An interpreter that has the package; None where there is none."""
    for python in (program.SOURCES / ".venv" / "bin" / "python", pathlib.Path(sys.executable)):
        test = [python, "-c", "import tokenizers"]
        if python.exists() and subprocess.run(test, stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


class AgainstThePackage(unittest.TestCase):
    def test_no_id_differs(self):
        python = python_with_package()
        if not python:
            self.skipTest("no Python here has the package tokenizers, see scripts/compare_tokenizers.py")
        files = [program.TOKENIZER, *sorted(SHARED.glob("tokenizers/*/tokenizer.json"))]
        named = [word for file in files for word in ("--tokenizer", file)]
        command = [python, SCRIPT, *named, "--engram", program.PROGRAM, "--awkward", "--bytes", "2000000", TEXT]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIME_LIMIT)
        print(done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(done.stdout.count(" 0 texts differ"), 3 * len(files))


if __name__ == "__main__":
    unittest.main()
