"""tests/run_module.py tells files whose tests all skip from files that pass or fail."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

RUN_MODULE = pathlib.Path(__file__).resolve().parents[1] / "run_module.py"
PASSES = "    def test_passes(self):\n        pass\n"
SKIPS = "    def test_skips(self):\n        self.skipTest('no card')\n"
FAILS = "    def test_fails(self):\n        self.fail()\n"
ALL_SKIP = "def setUpModule():\n    raise unittest.SkipTest('no cards')\n\n"


class RunModule(unittest.TestCase):
    def code(self, *tests, before=""):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "module_test.py"
            text = f"import unittest\n\n{before}class Tests(unittest.TestCase):\n" + "".join(tests)
            path.write_text(text, encoding="utf-8")
            done = subprocess.run([sys.executable, RUN_MODULE, path], stderr=subprocess.PIPE, check=False)
            self.assertIn(b"Ran ", done.stderr)
            return done.returncode

    def test_skipped_is_what_skips_every_test(self):
        self.assertEqual(self.code(SKIPS), 5)
        self.assertEqual(self.code(PASSES, before=ALL_SKIP), 5)
        self.assertEqual(self.code(PASSES, before="@unittest.skip('no')\n"), 5)

    def test_what_ran_decides_otherwise(self):
        self.assertEqual(self.code(PASSES), 0)
        self.assertEqual(self.code(SKIPS, PASSES), 0)
        self.assertEqual(self.code(SKIPS, FAILS), 1)
        self.assertEqual(self.code(FAILS), 1)


if __name__ == "__main__":
    unittest.main()
