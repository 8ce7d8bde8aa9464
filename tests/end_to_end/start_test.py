"""What a start of a run finds: `train --dry-run` says beforehand what it would do, or why it would be refused, with the
same exit code, and changes nothing.
"""
import errno
import unittest

import program

USAGE, DATA, UNAVAILABLE, IO_ERROR = 64, 65, 69, 74
SETTINGS = ("train.steps=4", "checkpoint.every=2", "checkpoint.keep=5")


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


def contents(directory):
    """{path: bytes} of all files below."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


class DryRun(unittest.TestCase):
    def dry(self, name, *settings, ranks=0, environment=None):
        """Exit code and output; nothing below the corpus changes."""
        before = contents(corpus.path)
        result = program.run([*corpus.train(name, *SETTINGS, *settings), "--dry-run"], ranks, environment)
        self.assertEqual(contents(corpus.path), before)
        return result

    def check(self, expected, words, name, *settings, **how):
        code, output = self.dry(name, *settings, **how)
        self.assertEqual(code, expected, output)
        self.assertIn(words, output)
        self.assertNotIn("resuming from", output)

    def test_a_run_that_has_not_begun(self):
        for ranks in (0, 2):
            self.check(0, "dry run: a start would begin at step 0\ncheckpoints to come take up to ", "new", ranks=ranks)
        self.assertFalse(corpus.run_directory("new").exists())

    def test_a_run_that_goes_on(self):
        program.run_well(corpus.train("begun", *SETTINGS))
        step = corpus.run_directory("begun") / "checkpoints" / "step-00000004"
        for ranks in (0, 2):
            self.check(0, f"dry run: a start would resume from {step}\n", "begun", "train.steps=9", ranks=ranks)
        self.check(DATA, "is of another run: model.hidden: 16 -> 32", "begun", "model.hidden=32")
        self.check(DATA, "is of another run: data.seq_len: 16 -> 32", "begun", "data.seq_len=32", ranks=2)
        self.check(USAGE, f"checkpoint.resume: is false, but {step} is there", "begun", "checkpoint.resume=false")
        shim = program.shim_environment(calls="read", path=step, first=0, count=1000000, errno=errno.EIO)
        self.check(IO_ERROR, "Input/output error", "begun", environment=shim)
        damaged = next(step.glob("rank*"))
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:-1])
        self.check(0, f"passed over: {damaged}", "begun")
        self.check(0, "dry run: a start would resume from " + str(step)[:-1] + "2\n", "begun")
        damaged.write_bytes(whole)

    def test_weights_of_another_run(self):
        program.run_well(corpus.train("source", *SETTINGS))
        source = corpus.run_directory("source")
        exported = corpus.path / "exported"
        program.run_well(["checkpoint", "export", source, "--output", exported])
        for path in (source, exported):
            weights = f"run.init_from={path}"
            self.check(0, f"dry run: a start would start from the weights of {path}\n", "second", weights)
            self.check(DATA, "model.hidden: 16 -> 32", "second", weights, "model.hidden=32")
        other = "model.hidden: 16 -> 32 (checkpoint -> this run); set the value back"
        self.check(DATA, other, "second", f"run.init_from={source}", "model.hidden=32")
        self.check(DATA, "is no complete checkpoint", "second", "run.init_from=nowhere")

    def test_a_disk_that_is_too_small(self):
        small = "model.engram.rows_per_head=[500000]", "checkpoint.keep=1000000", "train.steps=1000000"
        code, output = self.dry("large", *small, "checkpoint.every=1")
        self.assertEqual(code, IO_ERROR, output)
        self.assertRegex(output, r"bytes are free, wanted \d+ .*; for the checkpoints to come: wanted fewer")

    def test_a_run_that_another_process_trains(self):
        process = program.start(corpus.train("busy", "train.steps=1000000", "checkpoint.every=0"), 0)
        self.addCleanup(program.kill, process)
        program.wait_for_steps(corpus, "busy", 2, process)
        code, output = program.run([*corpus.train("busy", *SETTINGS), "--dry-run"])
        self.assertEqual(code, DATA, output)
        self.assertIn("another process trains this run", output)

    def test_other_data(self):
        program.run_well(corpus.train("first_stage", *SETTINGS))
        other = f"data.train={corpus.path}/validation.h5"
        weights = corpus.run_directory("first_stage") / "checkpoints" / "step-00000004"
        for setting in (other, "train.global_batch=16", "data.seq_len=32"):
            words = f"another run.name with run.init_from={weights} starts from its weights"
            self.check(DATA, words, "first_stage", setting)
            self.check(0, "a start would start from the weights", "second_stage", setting, f"run.init_from={weights}")


class Tokenizer(unittest.TestCase):
    """A run keeps its tokenizer, so that its checkpoints can be used without the file of data.tokenizer."""

    def test_a_tokenizer_that_is_not_there(self):
        given, run = corpus.path / "given.json", corpus.run_directory("kept")
        given.write_bytes(program.TOKENIZER.read_bytes())
        program.run_well(corpus.train("kept", *SETTINGS, f"data.tokenizer={given}"), 2)
        kept = run / "tokenizer.json"
        self.assertEqual(kept.read_bytes(), given.read_bytes())
        exported, imported = corpus.path / "weights", corpus.path / "imported"
        uses = (["generate", run, "--prompt", "The", "--tokens", "3"],
                ["eval", f"{run}/checkpoints/step-00000004/"],
                ["explain", "The history", "--checkpoint", run],
                ["checkpoint", "export", run, "--output", exported])  # fmt: skip
        with_file = [program.run_well(use) for use in uses[:3]]
        given.write_text("{}", encoding="utf-8")
        self.assertEqual([program.run_well(use) for use in uses[:3]], with_file)
        given.unlink()
        self.assertEqual([program.run_well(use) for use in uses][:3], with_file)
        program.run_well(["checkpoint", "import", exported, "--output", imported])
        (exported / "tokenizer.json").unlink()
        self.assertEqual(program.run_well(["generate", imported, *uses[0][2:]]), with_file[0])

        kept.write_bytes(kept.read_bytes() + b"\n")
        for use in uses[:3]:
            code, output = program.run(use)
            self.assertEqual(code, DATA, output)
            self.assertIn(f"and is neither {given} nor {kept}; give it with --tokenizer FILE", output)
        self.assertEqual(program.run_well([*uses[0], "--tokenizer", program.TOKENIZER]), with_file[0])


class Host(unittest.TestCase):
    def test_more_memory_than_a_host_has(self):  # not under a sanitizer, which ends the program itself
        rows = ["--device=cpu", "--rows=64", "--widths=8", "--rows-per-token=2", "--tokens=10000000000000"]
        code, output = program.run(["bench", "table", *rows])
        self.assertEqual(code, UNAVAILABLE, output)
        self.assertIn("this host has no memory left for what was asked", output)
        self.assertNotIn("internal error", output)


if __name__ == "__main__":
    unittest.main()
