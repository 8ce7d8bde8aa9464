"""Evaluation on tasks through the command line: results, numbers of ranks, refusals."""
import json
import math
import os
import unittest

import program

TASKS = """\
tasks:
  - {name: text, kind: loss, file: validation.txt}
  - {name: store, kind: loss, file: validation.h5}
  - {name: words, kind: last_word, file: words.txt}
  - {name: choices, kind: choice, file: choices.jsonl, prompt: "{question}?", group_by: topic}
  - {name: facts, kind: cloze, file: facts.jsonl, templates: sentences.json}
"""
FILES = {
    "tasks.yaml": TASKS,
    # The second passage is longer than the model sees, the last word of the third alone.
    "words.txt": "God saw the light.\n" + "and the earth " * 8 + "was void\nand " + "Mahershalalhashbaz" * 8 + "\n",
    "choices.jsonl": "".join(
        json.dumps({"topic": topic, "question": f"Who is {i}", "choices": ["he", "she", "it"], "answer": i % 3}) + "\n"
        for i, topic in enumerate("aabab")
    ),
    "facts.jsonl": "".join(
        json.dumps({"relation": relation, "subject": "Abram", "object": "Canaan"}) + "\n" for relation in ("in", "none")
    ),
    "sentences.json": json.dumps({"in": ["[Y] holds [X].", "[X] dwelt in [Y]."]}),
}


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)
    program.run_well(corpus.train("base"), 2)
    for name, text in FILES.items():
        (corpus.path / name).write_text(text, encoding="utf-8")


def evaluate(*arguments):
    run = corpus.run_directory("base")
    return ["eval", run, "--tasks", corpus.path / "tasks.yaml", "--root", corpus.path, *arguments]


class Results(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.outputs, cls.results, cls.items = [], [], []
        for ranks in (0, 1, 4):
            files = corpus.path / f"results_{ranks}.json", corpus.path / f"items_{ranks}.jsonl"
            cls.outputs.append(program.run_well(evaluate("--output", files[0], "--items", files[1]), ranks))
            cls.results.append(files[0].read_text(encoding="utf-8"))
            cls.items.append(files[1].read_text(encoding="utf-8"))
        cls.tasks = {task["name"]: task for task in json.loads(cls.results[0])["tasks"]}

    def test_are_the_same_bytes_on_any_number_of_ranks(self):
        for same in (self.outputs, self.results, self.items):
            self.assertEqual(len(set(same)), 1)

    def test_text_and_its_store_give_one_loss(self):
        text, store = (self.tasks[name]["measures"]["nats_per_token"] for name in ("text", "store"))
        # Batches of other sizes: the float loss of a token may differ by its last place, 1e-6 at 9.
        self.assertAlmostEqual(text["value"], store["value"], delta=1e-6)
        self.assertAlmostEqual(text["chance"], math.log(8192), delta=1e-9)
        self.assertLess(text["low"], text["value"])
        self.assertLess(text["value"], text["high"])
        self.assertLess(text["high"], text["chance"])

    def test_every_byte_and_token_is_scored_once(self):
        items = [json.loads(line) for line in self.items[0].splitlines()]
        num_bytes = sum(item["bytes"][0] for item in items if item["task"] == "text")
        text = (corpus.path / "validation.txt").read_bytes()
        documents = [document.strip(b"\r\n") for document in text.split(b"<|endoftext|>\n")]
        self.assertEqual(num_bytes, sum(map(len, documents)))

    def test_what_is_cut_and_left_out_is_counted(self):
        counts = {name: (task["items"], task["cut"], task["left_out"]) for name, task in self.tasks.items()}
        self.assertEqual(counts["words"], (2, 1, 1))
        self.assertEqual(counts["choices"], (5, 0, 0))
        self.assertEqual(counts["facts"], (1, 0, 1))
        self.assertIn("1 items cut from the left", self.outputs[0])

    def test_groups_divide_the_items(self):
        groups = self.tasks["choices"]["groups"]
        self.assertEqual({name: group["items"] for name, group in groups.items()}, {"a": 3, "b": 2})
        right = sum(group["items"] * group["measures"]["accuracy"]["value"] for group in groups.values())
        self.assertAlmostEqual(right, 5 * self.tasks["choices"]["measures"]["accuracy"]["value"])
        self.assertAlmostEqual(self.tasks["choices"]["measures"]["accuracy"]["chance"], 1 / 3)

    def test_the_table_shows_each_task(self):
        for name in self.tasks:
            self.assertRegex(self.outputs[0], rf"\n{name} +\d+ \w+ +[\d.e+-]+ +[\d.e+-]+ to [\d.e+-]+ [wb] +[\d.e+-]+")


class Choosing(unittest.TestCase):
    def test_one_task_and_some_of_its_items(self):
        output = program.run_well(evaluate("--only", "choices", "--samples", "2"))
        self.assertRegex(output, r"\nchoices +2 accuracy ")
        self.assertNotIn("facts", output)

    def test_an_unknown_task_is_refused(self):
        code, output = program.run(evaluate("--only", "choice"))
        self.assertEqual(code, 64, output)
        self.assertRegex(output, r'--only choice: .* no task of that name; did you mean "choices"\? \(known: text, ')

    def test_a_task_named_twice_is_refused(self):
        code, output = program.run(evaluate("--only", "choices", "--only", "choices"))
        self.assertEqual(code, 64, output)
        self.assertIn("--only choices: is given twice", output)


class Refusals(unittest.TestCase):
    def expect(self, code, pattern, file, text, ranks=0):
        original = (corpus.path / file).read_text(encoding="utf-8")
        (corpus.path / file).write_text(text, encoding="utf-8")
        try:
            got, output = program.run(evaluate(), ranks)
        finally:
            (corpus.path / file).write_text(original, encoding="utf-8")
        self.assertEqual(got, code, output)
        self.assertRegex(output, pattern)
        self.assertNotIn("measure", output, "nothing is scored before all files are read")

    def test_a_bad_task_is_told_with_its_place(self):
        self.expect(64, r"tasks\.yaml:2:\d+: flie: unknown key; did you mean \"file\"", "tasks.yaml",
                    "tasks:\n  - {name: a, kind: loss, flie: b.txt}\n")

    def test_a_bad_item_is_told_with_its_place(self):
        bad = FILES["facts.jsonl"] + '{"relation": "in"}\n'
        for ranks in (0, 2):
            self.expect(65, r"facts\.jsonl:3: has no field \"subject\"", "facts.jsonl", bad, ranks)

    def test_a_file_that_is_not_there_is_bad_data(self):
        self.expect(65, r"nowhere\.txt: is not there, or a directory; wanted the file of task \"a\"", "tasks.yaml",
                    "tasks:\n  - {name: a, file: nowhere.txt}\n")

    def test_results_that_could_not_be_written_are_told_before_anything_is_scored(self):
        nowhere = corpus.path / "nowhere" / "items.jsonl"
        for arguments, code, what in (
            (("--items", nowhere), 74, "items.jsonl: cannot be written: No such file or directory"),
            (("--output", corpus.path), 74, "is a directory; wanted a file to write"),
            (("--output", "same.json", "--items", "same.json"), 64, "--output and --items: both are same.json"),
        ):
            got, output = program.run(evaluate(*arguments))
            self.assertEqual(got, code, output)
            self.assertIn(what, output)
            self.assertNotIn("measure", output)


class Names(unittest.TestCase):
    def test_a_run_whose_name_is_no_utf8_has_results(self):
        run, results = os.fsencode(corpus.path) + b"/run\xe9", corpus.path / "named.json"
        os.symlink(corpus.run_directory("base"), run)
        program.run_well(["eval", os.fsdecode(run), *evaluate("--only", "choices", "--output", results)[2:]])
        self.assertIn("run\ufffd/checkpoints", json.loads(results.read_text(encoding="utf-8"))["checkpoint"])


if __name__ == "__main__":
    unittest.main()
