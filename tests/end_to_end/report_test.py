"""`engram report` writes one page that needs no other file and shows what the metrics and events say."""
import html.parser
import json
import math
import re
import unittest

import program

MOST_BYTES = 2_000_000
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(html.parser.HTMLParser):
    """Tables, texts and curves of a page; notes what would be loaded from elsewhere and tags that do not match."""

    def __init__(self, path):
        super().__init__()
        self.size = path.stat().st_size
        self.open, self.wrong, self.outside = [], [], []
        self.rows, self.titles, self.curves = [], [], {}
        self.in_cell = False
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        loading = ("src", "href", "xlink:href", "srcset", "data", "action")
        self.outside += [(tag, name) for name in loading if name in values]
        if tag in ("link", "iframe", "object", "embed", "base", "img") or values.get("http-equiv"):
            self.outside.append((tag, ""))
        self.check_style(values.get("style", ""))
        if tag == "tr":
            self.rows.append([])
        self.in_cell = tag in ("td", "th")
        if self.in_cell:
            self.rows[-1].append("")
        if tag == "figcaption":
            self.titles.append("")
        if tag == "polyline":
            points = [tuple(map(float, pair.split(","))) for pair in values["points"].split()]
            self.curves.setdefault(self.titles[-1], {})[values["data-name"]] = points
        if tag == "svg" and "data-range" in values:
            self.curves.setdefault(self.titles[-1], {})["range"] = list(map(float, values["data-range"].split()))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))
        self.in_cell = False

    def handle_data(self, data):
        self.check_style(data if self.open[-1:] == ["style"] else "")
        if self.in_cell:
            self.rows[-1][-1] += data
        if self.open[-1:] == ["figcaption"]:
            self.titles[-1] += data.strip()

    def check_style(self, style):
        self.outside += re.findall(r"url\(|@import", style)

    def row(self, first):
        return next(row for row in self.rows if row and row[0] == first)


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.name = 'a <b>&"c"'  # a name is text, not HTML
        for steps in (6, 9):  # the second one resumes
            cls.train(cls.name, f"train.steps={steps}", "train.eval_every=3")
        cls.train("plain", "train.steps=6", "model.engram.layers=[]", "train.eval_every=3")

    @staticmethod
    def train(name, *settings):
        program.run_well(corpus.train(json.dumps(name), "optimizer.schedule.kind=constant", *settings))

    def page(self, *directories, num_charts):
        path = corpus.path / "page.html"
        output = program.run_well(["report", *directories, "--output", path])
        self.assertEqual(output, f"wrote {path}\n")
        page = Page(path)
        self.assertEqual(page.outside, [])
        self.assertEqual(page.wrong, [])
        self.assertEqual(page.open, [])
        self.assertLessEqual(page.size, MOST_BYTES)
        self.assertEqual(len(page.curves), num_charts, list(page.curves))
        return page

    def values(self, page, title, name):
        """A curve's values as its picture has them."""
        left, right, bottom, top = page.curves[title]["range"]
        points = page.curves[title][name]
        return [(left + x / 560 * (right - left), top - y / 220 * (top - bottom)) for x, y in points]

    def check_curve(self, page, title, name, want):
        got = self.values(page, title, name)
        self.assertEqual(len(got), len(want), title)
        _, right, bottom, top = page.curves[title]["range"]
        for (x, y), (step, value) in zip(got, want):
            self.assertAlmostEqual(x, step, delta=right / 1000)
            self.assertAlmostEqual(y, value, delta=(top - bottom) / 1000)

    def test_one_run(self):
        page = self.page(corpus.run_directory(self.name), num_charts=18)
        losses = [(row["step"], row["loss"]) for row in corpus.metrics(self.name)]
        self.check_curve(page, "Training loss", "", losses)
        evaluated = [(event["step"], event["loss"]) for event in corpus.events(self.name, "eval")]
        self.check_curve(page, "Validation loss", "", evaluated)
        self.assertEqual(page.row(self.name)[1], "9, finished")
        self.assertEqual(page.row("model.hidden"), ["model.hidden", "16"])
        self.assertIn(["6", "resume"], [row[:2] for row in page.rows])
        told = {row[1] for row in page.rows if len(row) == 4}
        self.assertTrue({"resume", "rows"} <= told and "ngrams" not in told, told)
        environment = page.rows[-1]
        self.assertEqual(environment[1], corpus.events(self.name, "resume")[0]["commit"])
        self.assertRegex(environment[1], "[0-9a-f]{7}|unknown")

    def test_two_runs(self):
        page = self.page(corpus.run_directory(self.name), corpus.run_directory("plain"), num_charts=19)
        self.assertEqual(page.row("model.engram.layers"), ["model.engram.layers", "[0, 1]", "[]"])
        self.assertNotIn("model.hidden", [row[0] for row in page.rows if row])
        losses = [[event["loss"] for event in corpus.events(name, "eval")] for name in (self.name, "plain")]
        want = [(3 * i + 3, b - a) for i, (a, b) in enumerate(zip(*losses))]
        self.check_curve(page, f"Validation loss minus that of {self.name}", "plain", want)
        self.assertNotIn("plain", page.curves["Gate"])

    def test_many_long_runs(self):
        directories = []
        lines = [json.dumps({"step": i, "tokens": 128 * i, "loss": 9 - math.sin(i), "new.column": i % 7, "lr": 1e-3,
                             "norm": None, "tok_s": 1000 + i % 13}) for i in range(1, 5001)]  # fmt: skip
        events = [json.dumps({"step": i, "event": "skip", "time": "now", "norm": None}) for i in range(1, 5001)]
        for number in range(12):
            directories.append(corpus.path / f"long_{number}")
            directories[-1].mkdir()
            (directories[-1] / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step":5001,"lo', encoding="utf-8")
            (directories[-1] / "events.jsonl").write_text("\n".join(events), encoding="utf-8")
        page = self.page(*directories, num_charts=4)
        loss = self.values(page, "Training loss", "long_11")
        self.assertLess(len(loss), 5000)
        self.assertAlmostEqual(loss[-1][0], 5000, delta=5)
        self.assertIn("new.column", page.curves)

    def foreign(self, metrics, events):
        """The directory of a run that another program wrote."""
        directory = corpus.path / "foreign"
        directory.mkdir(exist_ok=True)
        (directory / "metrics.jsonl").write_text("".join(line + "\n" for line in metrics), encoding="utf-8")
        (directory / "events.jsonl").write_text("".join(line + "\n" for line in events), encoding="utf-8")
        return directory

    def test_a_column_that_is_absent_is_not_drawn(self):
        step = '{"step": 1, "event": "eval", "loss": 3, "nested": [1]}'
        directory = self.foreign(['{"step": 1, "loss": 2.0}', '{"step": 2, "loss": 1.5}'], [step])
        page = self.page(directory, num_charts=2)
        self.check_curve(page, "Training loss", "", [(1, 2.0), (2, 1.5)])
        self.check_curve(page, "Validation loss", "", [(1, 3.0)])
        self.assertEqual(page.row("foreign")[1:5], ["2", "-", "1.5000", "3.0000"])
        beside = self.page(corpus.run_directory("plain"), directory, num_charts=10)
        self.check_curve(beside, "Training loss", "foreign", [(1, 2.0), (2, 1.5)])

    def test_an_event_that_is_none_is_refused(self):
        for line, problem in (('{"step": 1, "event": 5}', "event: got number, wanted a text"),
                              ('{"step": 1, "time": [5]}', "time: got array, wanted a text"),
                              ('{"step": 18446744073709551615}', "step: got 18446744073709551615, wanted an")):
            directory = self.foreign(['{"step": 1, "loss": 2.0}'], ['{"step": 0, "event": "start"}', line])
            code, output = program.run(["report", directory])
            self.assertEqual(code, 65, output)
            self.assertIn(f"events.jsonl:2: {problem}", output)

    def test_what_is_no_run_is_refused(self):
        code, output = program.run(["report", corpus.path])
        self.assertEqual(code, 65)
        self.assertIn("has no step; wanted the directory of a run", output)


if __name__ == "__main__":
    unittest.main()
