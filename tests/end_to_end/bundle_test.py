"""A bundle runs from where it was moved to, with the libraries that lie in it."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import program

BUILD = pathlib.Path(program.PROGRAM).parent
BARE = {key: value for key, value in program.ENVIRONMENT.items() if key != "LD_LIBRARY_PATH"}


def output_of(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, timeout=program.TIME_LIMIT, **options)
    assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="engram_bundle_"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        made = cls.directory / "made" / "engram"
        output_of(program.SOURCES / "scripts" / "bundle.sh", "--as-it-is", "--without-cuda-libraries",
                  "--build", BUILD, "--output", made)
        cls.bundle = cls.directory / "moved"
        made.rename(cls.bundle)

    def run_in_bundle(self, *arguments):
        return output_of(self.bundle / "bin" / "engram", *arguments, cwd=self.directory, env=BARE)

    def test_runs(self):
        version = self.run_in_bundle("--version")
        self.assertRegex(version, r"^engram \d+\.\d+\.\d+, commit ")
        self.assertEqual(version, (self.bundle / "VERSION").read_text())
        estimate = self.run_in_bundle("estimate", self.bundle / "configs" / "quickstart.yaml")
        self.assertIn("training FLOPs per token", estimate)

    def test_has_its_libraries_and_leaves_out_those_of_the_site(self):
        names = {path.name for path in (self.bundle / "lib").iterdir()}
        self.assertTrue(any(name.startswith("libfmt") for name in names), names)
        self.assertFalse([name for name in names if name.startswith(("libmpi", "libc.so", "libopen-", "libcuda.so"))])
        loaded = {}
        for line in output_of("ldd", self.bundle / "bin" / "engram", env=BARE).splitlines():
            if "=>" in line:
                name, path = line.split("=>")
                loaded[name.strip()] = path.split("(")[0].strip()
        lib = os.path.realpath(self.bundle / "lib")
        elsewhere = [name for name in names & set(loaded) if os.path.dirname(os.path.realpath(loaded[name])) != lib]
        self.assertEqual(elsewhere, [])


if __name__ == "__main__":
    unittest.main()
