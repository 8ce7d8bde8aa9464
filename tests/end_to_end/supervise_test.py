"""scripts/supervise.sh with commands whose exit codes and checkpoints are known."""
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import program

SCRIPT = program.SOURCES / "scripts" / "supervise.sh"
GIVE_UP = 93


class Supervise(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="engram_supervise_")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def command(self, *endings):
        """A command that ends in these ways, one start after the other: (exit code, step that it saves or None)."""
        lines = [f"start=$(($(cat {self.directory}/starts 2>/dev/null || echo 0) + 1))",
                 f"echo $start > {self.directory}/starts", "case $start in"]  # fmt: skip
        for number, (code, step) in enumerate(endings, 1):
            checkpoint = f"{self.directory}/checkpoints/step-{step or 0:08d}"
            save = f"mkdir -p {checkpoint}; touch {checkpoint}/MANIFEST.json; " if step else ""
            lines.append(f"{number}) {save}exit {code};;")
        return ["bash", "-c", "\n".join([*lines, "esac"])]

    def starts(self):
        return int((self.directory / "starts").read_text(encoding="utf-8"))

    def supervise(self, *endings):
        done = subprocess.run(
            [SCRIPT, self.directory, *self.command(*endings)], capture_output=True, timeout=60, check=False
        )
        return done.returncode, done.stderr.decode("utf-8")

    def test_it_starts_again_until_the_end(self):
        code, output = self.supervise((75, 9), (137, 10), (75, None), (74, None), (75, 1200), (75, None), (0, None))
        self.assertEqual((code, self.starts()), (0, 7), output)
        self.assertIn("starting again from step 1200", output)

    def test_other_codes_end_it(self):
        for code in (64, 65, 69, 70, GIVE_UP, 1):
            (self.directory / "starts").unlink(missing_ok=True)
            self.assertEqual((self.supervise((code, None), (0, None))[0], self.starts()), (code, 1))

    def test_three_starts_without_a_checkpoint_end_it(self):
        code, output = self.supervise((75, 5), (75, None), (75, None), (75, None), (0, None))
        self.assertEqual((code, self.starts()), (GIVE_UP, 4), output)
        self.assertIn("without a new checkpoint", output)

    def test_a_signal_goes_on_to_the_command_and_ends_it(self):
        ready = self.directory / "ready"
        command = f"trap 'exit 75' USR2; touch {ready}; while true; do sleep 0.02; done"
        process = subprocess.Popen(
            [SCRIPT, self.directory, "bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        program.wait_until(ready.exists, process)
        os.kill(process.pid, signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 75)
        process.stdout.close()


if __name__ == "__main__":
    unittest.main()
