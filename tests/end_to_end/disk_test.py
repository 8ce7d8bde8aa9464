"""A disk that refuses: every write, sync and rename of a save fails in turn, once or for good. The checkpoint before
stays as it was, the message says what and why, and the run goes on as if nothing had been.

ENGRAM_DISK_EVERY tests every n-th call.
"""
import errno
import os
import re
import unittest

import program
import sweep

EVERY = int(os.environ.get("ENGRAM_DISK_EVERY", "9"))
IO_ERROR = 74
TRIES = 5
SETTINGS = ("train.steps=4", "checkpoint.every=2", "checkpoint.keep=5", "checkpoint.retry_seconds=0")
COLUMNS = ("step", "loss", "norm")


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Disk(unittest.TestCase):
    def train(self, name, **shim):
        """Trains on a disk that fails as the shim is told; exit code and output."""
        return program.run(corpus.train(name, *SETTINGS), environment=program.shim_environment(**shim))

    def calls(self):
        """Names of the calls of a run with two saves, in their order."""
        log = corpus.path / "calls"
        code, output = self.train("counted", log=log)
        self.assertEqual(code, 0, output)
        return [line.split()[1] for line in log.read_text(encoding="utf-8").splitlines()]

    def check_goes_on(self, name):
        program.run_well(corpus.train(name, *SETTINGS))
        self.assertEqual(corpus.csv_columns(name, *COLUMNS), corpus.csv_columns("counted", *COLUMNS))
        self.assertEqual(self.left(name), ["step-00000002", "step-00000004"])

    def test_every_call_of_a_save(self):
        calls = self.calls()
        self.assertEqual(set(calls), {"write", "pwrite", "fsync", "rename", "mkdir"})
        second_save = len(calls) // 2 + 1
        kinds = ((errno.ENOSPC, "No space left on device"), (errno.EIO, "Input/output error"))
        for number, first in enumerate(range(second_save, len(calls), EVERY)):
            code, reason = kinds[number % 2]
            for count in (1, 1000000):
                with self.subTest(call=first, of=len(calls), name=calls[first], errno=code, count=count):
                    self.check_failure(f"run{first}_{count}", first, count, code, reason)

    def check_failure(self, name, first, count, code, reason):
        got, output = self.train(name, first=first, count=count, errno=code)
        tries = re.findall(r"checkpoint of step \d+ failed \(try \d of 5\): (.*)", output)
        if count == 1:
            self.assertEqual(got, 0, output)
            self.assertEqual(len(tries), 1, output)
        else:
            self.assertEqual(got, IO_ERROR, output)
            self.assertEqual(len(tries), TRIES - 1, output)
            self.assertIn("resuming from", program.run_well(corpus.train(name, *SETTINGS)))
        self.assertTrue(all("/checkpoints" in problem for problem in tries), output)
        self.assertIn(reason, output)  # HDF5's own messages come below, over several lines
        self.check_goes_on(name)

    def left(self, name):
        return sorted(path.name for path in (corpus.run_directory(name) / "checkpoints").iterdir())

    def test_old_checkpoints_that_cannot_be_removed(self):
        one = ("checkpoint.keep=1", *(setting for setting in SETTINGS if "keep" not in setting))
        steps = ["step-00000002", "step-00000004"]
        for calls, remains in (("remove", steps), ("unlinkat", ["step-00000004", "tmp.old.step-00000002"])):
            with self.subTest(calls=calls):
                name = "unremoved_" + calls
                shim = program.shim_environment(calls=calls, first=0, count=1000000, errno=errno.EACCES)
                for start in range(2):  # what is left does not end the next run either
                    code, output = program.run(corpus.train(name, *one), environment=shim)
                    self.assertEqual(code, 0, output)
                    self.assertIn("Permission denied", output)
                    self.assertEqual(self.left(name), remains)
                    problems = [event["problem"] for event in corpus.events(name, "fault")]
                    self.assertEqual(len(problems), start + 1, problems)
                    self.assertIn("could not be removed, which the next save tries again", problems[-1])
                program.run_well(corpus.train(name, *one))
                self.assertEqual(self.left(name), ["step-00000004"])
                self.assertEqual(len(corpus.csv_columns(name, *COLUMNS)), 4)

    def test_a_checkpoint_that_cannot_be_read_is_not_passed_over(self):
        longer = [setting.replace("steps=4", "steps=6") for setting in SETTINGS]
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                name = f"unread{ranks}"
                program.run_well(corpus.train(name, *SETTINGS), ranks)
                before = self.left(name)
                for file in ("MANIFEST.json", "rank-00000"):
                    shim = {"calls": "read", "first": 0, "count": 1000000, "errno": errno.EIO}
                    shim["path"] = "checkpoints/step-00000004/" + file
                    if ranks:
                        shim["rank"] = 1
                    code, output = program.run(corpus.train(name, *longer), ranks, program.shim_environment(**shim))
                    self.assertEqual(code, IO_ERROR, output)
                    for words in (file, "Input/output error", "start again once it can be read"):
                        self.assertIn(words, output)
                    self.assertIn("rank 1: " if ranks else file, output)
                    self.assertEqual(self.left(name), before)
                self.assertRegex(program.run_well(corpus.train(name, *longer), ranks), "resuming from .*step-00000004")

    def test_metrics_that_cannot_be_read_are_not_cut(self):
        longer = [setting.replace("steps=4", "steps=6") for setting in SETTINGS]
        program.run_well(corpus.train("uncut", *SETTINGS))
        directory = corpus.run_directory("uncut")
        for name in ("metrics.jsonl", "metrics.csv", "events.jsonl"):
            with self.subTest(name=name):
                before = (directory / name).read_bytes()
                shim = {"path": name, "calls": "read", "first": 0, "count": 1000000, "errno": errno.EIO}
                code, output = program.run(corpus.train("uncut", *longer), environment=program.shim_environment(**shim))
                self.assertEqual(code, IO_ERROR, output)
                self.assertIn(f"{name}: cannot be read to its end", output)
                self.assertEqual((directory / name).read_bytes(), before)
        program.run_well(corpus.train("uncut", *longer))
        self.assertEqual([int(step) for step, in corpus.csv_columns("uncut", "step")], [1, 2, 3, 4, 5, 6])

    def test_a_refused_line_of_metrics_comes_later(self):
        patient = [setting for setting in SETTINGS if "retry_seconds" not in setting]
        for path, first in (("metrics.", 2), ("metrics.", 3), ("events.", 3), ("events.out", 3)):
            with self.subTest(path=path, call=first):
                name = f"late_{path}{first}"
                shim = program.shim_environment(path=path, calls="write", first=first, errno=errno.ENOSPC)
                code, output = program.run(corpus.train(name, *patient), environment=shim)
                self.assertEqual(code, 0, output)
                self.assertIn("No space left on device", output)
                self.assertEqual([int(step) for step, in corpus.csv_columns(name, "step")], [1, 2, 3, 4])
                self.assertEqual([row["step"] for row in corpus.metrics(name)], [1, 2, 3, 4])
                self.assertEqual(len(corpus.events(name, "fault")), 1)
                self.assertEqual(len(corpus.events(name, "save")), 2)

    def test_a_disk_that_takes_no_metrics_ends_a_run_that_is_saved(self):
        longer = [setting.replace("steps=4", "steps=60") for setting in SETTINGS]
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                name = f"unmeasured{ranks}"
                shim = {"path": "metrics.", "calls": "write", "first": 12, "count": 1000000, "errno": errno.ENOSPC}
                if ranks:
                    shim["rank"] = 0
                code, output = program.run(corpus.train(name, *longer), ranks, program.shim_environment(**shim))
                self.assertEqual(code, IO_ERROR, output)
                self.assertRegex(output, "its last metrics or events are missing: .*metrics.* No space left on device")
                saved = int(self.left(name)[-1][-8:])
                self.assertTrue(4 < saved < 60, saved)
                output = program.run_well(corpus.train(name, *longer), ranks)
                self.assertIn(f"resuming from {corpus.run_directory(name)}/checkpoints/step-{saved:08d}", output)
                steps = [int(step) for step, in corpus.csv_columns(name, "step")]
                self.assertEqual(steps, sorted(set(steps)))
                self.assertEqual(steps[-(60 - saved) :], list(range(saved + 1, 61)))

    def test_results_of_benchmarks_that_cannot_be_written(self):
        dump = corpus.path / "dump"
        dump.mkdir()
        (dump / "compressed_ids.bin").symlink_to("/dev/full")  # small enough to stay in a buffer until the end
        none = ("data.train=[]", "data.validation=\"\"", "data.tokenizer=\"\"", "train.eval_every=0")
        config = corpus.train("unwritten", "model.vocab_size=64", *none)
        rows = ["--rows=64", "--tokens=8", "--widths=8", "--rows-per-token=2", "--device=cpu"]
        for command in (
            ["bench", "dump", *config[1:], "--samples", "1", "--output", str(dump)],
            ["bench", "table", *rows, "--json", "/dev/full"],
        ):
            with self.subTest(command=command[1]):
                code, output = program.run(command)
                self.assertEqual(code, IO_ERROR, output)
                self.assertRegex(output, "(compressed_ids.bin|/dev/full): cannot be written")

    def test_a_benchmark_opens_its_file_first(self):
        rows = ["--rows=64", "--tokens=8", "--widths=8", "--rows-per-token=2", "--device=cpu"]
        step = corpus.train("unwritten", "data.train=[]", "data.validation=\"\"", "train.eval_every=0")[1:]
        missing = str(corpus.path / "none" / "results.jsonl")
        for ranks, command in ((0, ["table", *rows]), (2, ["exchange", *rows]), (0, ["ops", *step]),
                               (2, ["step", *step])):  # fmt: skip
            with self.subTest(command=command[0]):
                code, output = program.run(["bench", *command, "--json", missing], ranks)
                self.assertEqual(code, IO_ERROR, output)
                self.assertIn(f"{missing}: cannot be opened for writing: No such file or directory", output)
                self.assertNotIn("median", output)

    def test_a_torn_line_of_a_journal_that_cannot_be_read_is_not_written_behind(self):
        small = sweep.Sweep(corpus, "torn")
        program.run_well(small.command("run", "--slurm"))
        path = small.directory / "journal.jsonl"
        with path.open("a", encoding="utf-8") as journal:
            journal.write('{"record":"sta')
        before = path.read_bytes()
        shim = program.shim_environment(path=path.name, calls="pread", first=0, count=1, errno=errno.EIO)
        code, output = program.run(small.command("run", "--slurm", "--skip", "0"), environment=shim)
        self.assertEqual(code, IO_ERROR, output)
        self.assertEqual(path.read_bytes(), before)
        program.run_well(small.command("run", "--slurm", "--skip", "0"))
        self.assertIn("5 queued, 0 running, 0 done, 0 failed, 1 skipped",
                      program.run_well(["sweep", "status", small.directory]))

    def test_a_directory_that_cannot_be_made(self):
        code, output = program.run(corpus.train("unmade", *SETTINGS, "run.dir=/dev/null/runs"))
        self.assertEqual(code, IO_ERROR, output)
        self.assertIn("/dev/null/runs/unmade: cannot be made: Not a directory", output)

    def test_a_directory_that_nobody_may_write(self):
        if os.geteuid() == 0:
            self.skipTest("root may write everywhere")
        code, output = self.train("counted_once", log=corpus.path / "other_calls")
        self.assertEqual(code, 0, output)
        checkpoints = corpus.run_directory("counted_once") / "checkpoints"
        checkpoints.chmod(0o500)
        self.addCleanup(checkpoints.chmod, 0o700)
        more = [setting.replace("steps=4", "steps=6") for setting in SETTINGS]
        code, output = program.run(corpus.train("counted_once", *more))
        self.assertEqual(code, IO_ERROR, output)
        self.assertIn("Permission denied", output)


if __name__ == "__main__":
    unittest.main()
