"""What the command line refuses: the exit code, and that the message says what, got, wanted and where."""
import fcntl
import json
import unittest

import program

USAGE, DATA = 64, 65


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Refusal(unittest.TestCase):
    def check(self, arguments, code, *words, ranks=0):
        """The command ends with `code` and says all words; mpirun adds lines of its own."""
        got, output = program.run(arguments, ranks)
        self.assertEqual(got, code, output)
        for word in words:
            self.assertIn(word, output)
        self.assertNotIn("step      1", output, "it trained first")
        self.assertNotIn("terminate called", output)
        return output

    def check_setting(self, setting, *words, ranks=0, code=USAGE):
        settings = [setting] if isinstance(setting, str) else setting
        return self.check(corpus.train("refused", *settings), code, *words, ranks=ranks)


class Configuration(Refusal):
    def tearDown(self):
        self.assertFalse(corpus.run_directory("refused").exists(), "a refused run left files")

    def test_a_misspelt_key(self):
        self.check_setting("model.hiden=3", "--set model.hiden=3: model.hiden: unknown key", 'did you mean "hidden"?')
        text = corpus.config.read_text(encoding="utf-8").replace("seq_len", "seqlen")
        path = corpus.path / "misspelt.yaml"
        path.write_text(text, encoding="utf-8")
        line = text[: text.index("seqlen")].count("\n") + 1
        self.check(["train", path], USAGE, f"{path}:{line}:3: data.seqlen: unknown key", 'did you mean "seq_len"?')

    def test_a_key_nobody_knows(self):
        self.check_setting("frobnicate=1", "frobnicate: unknown key")

    def test_a_wrong_type(self):
        self.check_setting("data.seq_len=4k", '--set data.seq_len=4k: data.seq_len: "4k" is not an integer')
        self.check_setting("optimizer.dense.lr=fast", 'optimizer.dense.lr: "fast" is not a number')

    def test_a_value_outside_its_range(self):
        self.check_setting("optimizer.dense.weight_decay=1.5", "optimizer.dense.weight_decay", "1.5", "[0, 1]")

    def test_heads_that_do_not_divide(self):
        self.check_setting(["model.attention.num_heads=4", "model.attention.num_kv_heads=3"],
                           "model.attention.num_kv_heads", "3", "4")  # fmt: skip

    def test_a_memory_dimension_that_does_not_divide(self):
        self.check_setting("model.engram.memory_dim=18", "model.engram.memory_dim", "18", "4")

    def test_more_active_than_routed_experts(self):
        self.check_setting("model.moe.top_k=5", "model.moe.top_k", "5", "4")

    def test_a_batch_that_does_not_divide_over_the_ranks(self):
        self.check_setting("train.global_batch=7", "train.global_batch", "7", "2", ranks=2)

    def test_tables_smaller_than_their_ranks(self):
        small = ["model.engram.rows_per_head=[2]", "model.engram.heads=1", "model.engram.orders=[2]",
                 "model.engram.layers=[1]"]  # fmt: skip
        self.check_setting(small, "model.engram.rows_per_head", "4", ranks=4)

    def test_several_problems_are_told_together_by_one_rank(self):
        output = self.check_setting(["model.hiden=3", "data.seq_len=4k"], "model.hiden", ranks=4)
        self.assertEqual(output.count("model.hiden: unknown key"), 1, output)
        self.assertEqual(output.count('data.seq_len: "4k" is not an integer'), 1, output)

    def test_files_that_are_not_there(self):
        self.check(["train", corpus.path / "nowhere.yaml"], USAGE, "nowhere.yaml")
        self.check_setting("data.train=nowhere.h5", "nowhere.h5", code=DATA)
        self.check_setting("data.tokenizer=nowhere.json", "nowhere.json", code=DATA)

    def test_tasks_of_slurm_that_are_no_ranks(self):
        environment = dict(program.ENVIRONMENT, SLURM_STEP_NUM_TASKS="2")
        code, output = program.run(corpus.train("refused"), environment=environment)
        self.assertEqual(code, USAGE, output)
        self.assertIn("srun started 2 tasks that know nothing of each other; wanted the ranks of one job", output)

    def test_a_command_that_does_not_exist(self):
        self.check(["trian", corpus.config], USAGE, '"trian": unknown command', 'did you mean "train"?')
        self.check(["train"], USAGE, "engram train --help")


class Data(Refusal):
    def test_a_truncated_store(self):
        path = corpus.path / "truncated.h5"
        whole = (corpus.path / "train.h5").read_bytes()
        for size in (0, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            self.check_setting(f"data.train={path}", str(path), code=DATA)
        self.check_setting(f"data.train={path}", str(path), code=DATA, ranks=4)

    def test_an_altered_store(self):
        path = corpus.path / "altered.h5"
        altered = bytearray((corpus.path / "train.h5").read_bytes())
        altered[len(altered) // 2] ^= 1
        path.write_bytes(altered)
        self.check_setting(f"data.train={path}", str(path), code=DATA)

    def test_a_tokenizer_that_did_not_make_the_store(self):
        other = json.loads(program.TOKENIZER.read_text(encoding="utf-8"))
        merges = other["model"]["merges"]
        merges[-1], merges[-2] = merges[-2], merges[-1]
        path = corpus.path / "other.json"
        path.write_text(json.dumps(other, ensure_ascii=False), encoding="utf-8")
        words = ("train.h5", "was built with the tokenizer of digest", "got one of digest")
        self.check_setting(f"data.tokenizer={path}", *words, code=DATA)
        self.check_setting(f"data.tokenizer={path}", *words, code=DATA, ranks=2)

    def test_fewer_embeddings_than_token_ids(self):
        self.check_setting("model.vocab_size=4000", "has 8192 ids, model.vocab_size is 4000", code=DATA)

    def test_a_store_shorter_than_a_sample(self):
        self.check_setting("data.seq_len=100000", "train.h5", "100000", code=DATA)

    def test_text_that_is_not_there(self):
        arguments = corpus.build("train")
        arguments[2] = corpus.path / "nowhere.txt"
        self.check(arguments, DATA, "nowhere.txt")


class Checkpoints(Refusal):
    @classmethod
    def setUpClass(cls):
        program.run_well(corpus.train("base"), 2)
        cls.checkpoint = corpus.run_directory("base") / "checkpoints" / "step-00000006"

    def check_resume(self, *settings_and_words, ranks=2, code=DATA):
        setting, *words = settings_and_words
        before = self.files()
        self.check(corpus.train("base", setting, "train.steps=9"), code, *words, ranks=ranks)
        self.assertEqual(self.files(), before, "the refused run changed files")

    def files(self):
        directory = corpus.run_directory("base")
        return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}

    def test_of_another_model(self):
        self.check_resume("model.ffn_hidden=32", "step-00000006", "model.ffn_hidden: 24 -> 32")

    def test_of_another_data_order(self):
        self.check_resume("run.seed=7", "step-00000006", "run.seed: 0 -> 7")
        self.check_resume(f"data.train={corpus.path}/validation.h5", "step-00000006", "training data digest")

    def test_of_another_table_optimizer(self):
        self.check_resume("optimizer.table.kind=sgd", "optimizer.table.kind: adam_lazy -> sgd")

    def test_that_a_new_run_would_overwrite(self):
        self.check_resume("checkpoint.resume=false", "checkpoint.resume", "step-00000006", code=USAGE)

    def test_that_is_damaged(self):
        for name in ("MANIFEST.json", "config.yaml", "rank-00001-of-00002.h5"):
            path = self.checkpoint / name
            good = path.read_bytes()
            path.write_bytes(good[: len(good) // 2] + b"~" + good[len(good) // 2 + 1 :])
            try:
                self.check_resume("train.eval_samples=4", name, ranks=4)
                self.check(["eval", self.checkpoint], DATA, name, ranks=2)
                self.check(["generate", self.checkpoint, "--prompt", "A"], DATA, name)
            finally:
                path.write_bytes(good)

    def test_that_is_damaged_while_another_process_trains_the_run(self):
        path = self.checkpoint / "config.yaml"
        good = path.read_bytes()
        path.write_bytes(good + b"#")
        try:
            with open(corpus.run_directory("base") / "run.lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self.check_resume("train.eval_samples=4", "another process trains this run")
        finally:
            path.write_bytes(good)

    def test_that_is_not_there(self):
        self.check(["eval", corpus.path / "nowhere"], DATA, "nowhere: is no complete checkpoint")
        self.check(["generate", corpus.path, "--prompt", "A"], DATA, "is no complete checkpoint", ranks=2)

    def test_an_empty_prompt(self):
        self.check(["generate", self.checkpoint, "--prompt", ""], DATA, "the prompt has no token")


if __name__ == "__main__":
    unittest.main()
