"""Checkpoints from the inside, exports and imports, and runs that start from weights, through the command line."""
import json
import subprocess
import unittest

import program

READ = """
import json, sys
from safetensors.numpy import load_file
shapes = {}
for file in sys.argv[1:]:
    shapes |= {name: tensor.shape for name, tensor in load_file(file).items()}
print(json.dumps(shapes))
"""


def setUpModule():
    global corpus, exported
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)
    program.run_well(corpus.train("source"), 2)
    exported = corpus.path / "exported"
    program.run_well(["checkpoint", "export", corpus.run_directory("source"), "--output", exported, "--shard-mib", 1])


def run_in(directory, *arguments):
    done = subprocess.run(program.command_line(arguments, 0), cwd=directory, env=program.ENVIRONMENT, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    return done.returncode, done.stdout


def first_loss(name, *settings):
    output = program.run_well(corpus.train(name, "train.steps=1", *settings), 2)
    return corpus.metrics(name)[0]["loss"], output


class Checkpoint(unittest.TestCase):
    def test_inspect_lists_what_it_holds(self):
        output = program.run_well(["checkpoint", "inspect", corpus.run_directory("source")])
        self.assertIn("step 6, 6 updates applied, written by 2 ranks, tables by adam_lazy", output)
        self.assertRegex(output, r"dense/embedding\.weight/value +float32 +\[8192, 16\] +524\.3kB")
        self.assertRegex(output, r"table/1/count +int32 +\[\d+\]")
        self.assertRegex(output, r"rank-00001-of-00002\.h5")

    def test_verify_finds_a_flipped_bit(self):
        run = corpus.run_directory("flipped")
        program.run_well(corpus.train("flipped", "train.steps=1"))
        self.assertRegex(program.run_well(["checkpoint", "verify", run]), r"step-00000001: ok: 2 files, .*; \d+ arrays")
        file = run / "checkpoints" / "step-00000001" / "rank-00000-of-00001.h5"
        contents = bytearray(file.read_bytes())
        contents[len(contents) // 2] ^= 1
        file.write_bytes(contents)
        code, output = program.run(["checkpoint", "verify", run])
        self.assertEqual(code, 65)
        self.assertRegex(output, r"rank-00000-of-00001\.h5: its digest is .*the file is damaged")

    def test_diff_names_what_differs(self):
        program.run_well(corpus.train("other", "optimizer.dense.lr=1e-3"), 2)
        run = corpus.run_directory("source")
        self.assertEqual(program.run_well(["checkpoint", "diff", run, run]), "equal\n")
        output = program.run_well(["checkpoint", "diff", run, corpus.run_directory("other")])
        self.assertIn("optimizer.dense.lr: 0.01 -> 0.001\n", output)
        self.assertRegex(output, r"dense/embedding\.weight/value: \d+ of 131072 values differ, by 0\.0\d+ at most\n")


class Export(unittest.TestCase):
    def test_holds_what_transformers_needs(self):
        names = {path.name for path in exported.iterdir()}
        for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                     "modeling_engram.py", "configuration_engram.py", "model.safetensors.index.json"):
            self.assertIn(name, names)
        self.assertEqual((exported / "tokenizer.json").read_bytes(), program.TOKENIZER.read_bytes())
        config = json.loads((exported / "config.json").read_text(encoding="utf-8"))
        self.assertEqual(config["auto_map"]["AutoModelForCausalLM"], "modeling_engram.EngramForCausalLM")
        self.assertEqual((config["hidden_size"], config["model"]["hidden"]), (16, 16))
        for name in ("modeling_engram.py", "configuration_engram.py"):
            source = program.SOURCES / "scripts" / "export" / name
            self.assertEqual((exported / name).read_bytes(), source.read_bytes())

    def test_the_safetensors_package_reads_it(self):
        reader = program.python_with("safetensors.numpy")
        index = json.loads((exported / "model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(index.values()))
        self.assertGreater(len(files), 1)
        output = subprocess.check_output([reader, "-c", READ, *(exported / file for file in files)])
        shapes = json.loads(output)
        self.assertEqual(shapes.keys(), index.keys())
        self.assertEqual(shapes["embedding.weight"], [8192, 16])

    def test_comes_back_as_a_checkpoint_of_the_same_weights(self):
        imported = corpus.run_directory("imported")
        program.run_well(["checkpoint", "import", exported, "--output", imported], 3)
        source = corpus.run_directory("source")
        lines = program.run_well(["checkpoint", "diff", source, imported]).splitlines()
        for line in lines:  # optimizer state and what the training was like, but no weight
            self.assertNotRegex(line, r"^(dense/.*/value|table/\d/weight|state/.*|model\..*): ")
        generate = ("--prompt", "Once upon", "--tokens", 8, "--temperature", 0)
        self.assertEqual(program.run_well(["generate", source, *generate]),
                         program.run_well(["generate", imported, *generate]))
        code, output = program.run(["checkpoint", "import", exported, "--output", imported])
        self.assertEqual(code, 65)
        self.assertIn("has a checkpoint already; wanted a new --output", output)

    def test_becomes_a_run_that_has_a_name_in_its_own_directory(self):
        run = corpus.path / "inside"
        run.mkdir()
        code, output = run_in(run, "checkpoint", "import", exported, "--output", ".")
        self.assertEqual(code, 0, output)
        program.run_well(["eval", run, "--data", corpus.path / "validation.h5"])

    def test_is_one_file_where_the_largest_may_have_any_size(self):
        output = corpus.path / "large"
        export = ["checkpoint", "export", corpus.run_directory("source"), "--output", output]
        program.run_well([*export, "--shard-mib", 2**43])
        self.assertTrue((output / "model.safetensors").exists())

    def test_is_not_written_over(self):
        code, output = program.run(["checkpoint", "export", corpus.run_directory("source"), "--output", exported])
        self.assertEqual(code, 65)
        self.assertIn("exists already; wanted a new directory", output)


class StartFromWeights(unittest.TestCase):
    def test_starts_where_they_are_at_step_0(self):
        scratch, _ = first_loss("scratch")
        losses = []
        for name, source in (("run", corpus.run_directory("source")), ("exported", exported)):
            loss, output = first_loss(f"from_{name}", f"run.init_from={source}")
            self.assertIn(f"starting from the weights of {source}", output)
            losses.append(loss)
        self.assertEqual(losses[0], losses[1])
        self.assertLess(losses[0], scratch - 0.1)

    def test_resuming_does_not_start_again(self):
        settings = (f"run.init_from={exported}", "train.steps=2")
        program.run_well(corpus.train("resumed", *settings))
        output = program.run_well(corpus.train("resumed", f"run.init_from={exported}", "train.steps=3"))
        self.assertIn("resuming from", output)
        self.assertNotIn("starting from the weights", output)
        self.assertEqual([row["step"] for row in corpus.metrics("resumed")], [1, 2, 3])

    def test_another_model_is_refused(self):
        for source in (exported, corpus.run_directory("source")):
            code, output = program.run(
                corpus.train("refused", f"run.init_from={source}", "model.moe.expert_hidden=12"), 2)
            self.assertEqual(code, 65)
            self.assertIn("model.moe.expert_hidden: 8 -> 12", output)

    def test_what_is_neither_is_refused(self):
        code, output = program.run(corpus.train("nothing", f"run.init_from={corpus.path}"))
        self.assertEqual(code, 65)
        self.assertIn("is no complete checkpoint", output)


if __name__ == "__main__":
    unittest.main()
