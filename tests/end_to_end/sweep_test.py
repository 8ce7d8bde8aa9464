"""Sweeps on the command line: plan, run, add, status, refusals, and one trial or its manager killed."""
import contextlib
import fcntl
import html.parser
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import program
import sweep


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class References(html.parser.HTMLParser):
    """What a page takes from elsewhere, and tags that are not closed."""

    VOID = {"meta", "br", "hr", "img", "link"}

    def __init__(self):
        super().__init__()
        self.outside, self.open = [], []

    def handle_starttag(self, tag, attrs):
        if tag in ("link", "script", "iframe"):
            self.outside.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data") and not value.startswith("#"):
                self.outside.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass


def can_draw():
    """One of the interpreters that the report tries has matplotlib."""
    pythons = filter(shutil.which, ("python3", "/usr/bin/python3"))
    commands = [[python, "-c", "import matplotlib"] for python in pythons]
    return any(subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0 for command in commands)


class OneSweep(unittest.TestCase):
    def test_from_plan_to_status(self):
        small = sweep.Sweep(corpus, "whole")
        plan = program.run_well(small.command("plan"))
        self.assertIn("3 points x 2 seeds = 6 trials", plan)
        self.assertFalse(small.directory.exists(), "a plan must write nothing")
        code, output = program.run(small.command("add"))
        self.assertEqual(code, 65, output)
        output = program.run_well(small.command("run", "--skip", "4"))
        self.assertIn("5 done, 0 failed, 1 skipped, 0 left of 6 trials", output)
        status = program.run_well(["sweep", "status", small.directory])
        self.assertIn("0 queued, 0 running, 5 done, 0 failed, 1 skipped", status)
        for number in (0, 1, 2, 3, 5):
            self.assertEqual(small.steps(number), list(range(1, sweep.NUM_STEPS + 1)))
            self.assertFalse((small.trial(number) / "checkpoints").exists(), "weights are kept on request alone")
        self.assertIn("0 left of 6", program.run_well(small.command("run")))
        self.refuse_changes(small)
        output = program.run_well(small.command("run", "--retry", "--set", "sweep.ratios=[0.5, 0.8, 1]"))
        self.assertIn("6 done", output)
        self.check_report(small)
        self.check_ratio_one(small)

    def check_ratio_one(self, small):
        """Losses of ratio 1 are those of a run whose configuration has no memory, bit for bit."""
        text = re.sub(r"sweep:\n(  .*\n)+|  engram:.*\n", "", small.file.read_text(encoding="utf-8"))
        plain = corpus.path / "plain.yaml"
        plain.write_text(text, encoding="utf-8")
        program.run_well(["train", plain, "--set", "run.name=plain", "--set", f"train.steps={sweep.NUM_STEPS}"])
        metrics = (corpus.path / "runs" / "plain" / "metrics.jsonl").read_text(encoding="utf-8")
        self.assertEqual([repr(json.loads(line)["loss"]) for line in metrics.splitlines()], small.losses(2))

    def check_figures(self, small, output, names):
        """Output of `sweep report`, and the figures that it drew where it can."""
        figures = small.directory / "report" / "figures"
        if not can_draw():
            self.assertIn("no figures: ", output)
            self.assertFalse(figures.exists() and any(figures.iterdir()))
            return
        self.assertEqual(sorted(path.name for path in figures.iterdir()),
                         sorted(f"{name}.{kind}" for name in names for kind in ("png", "svg")))
        page = (small.directory / "report" / "report.html").read_text(encoding="utf-8")
        self.assertEqual(page.count("<figure><svg"), len(names))

    def check_report(self, small):
        output = program.run_well(["sweep", "report", small.directory])
        self.check_figures(small, output, ["01_allocation", "01_equal_time", "99_published"])
        rows = small.results()
        self.assertEqual([int(row["trial"]) for row in rows], list(range(sweep.NUM_TRIALS)))
        self.assertEqual({row["state"] for row in rows}, {"done"})
        analysis = json.loads((small.directory / "report" / "analysis.json").read_text(encoding="utf-8"))
        (budget,) = analysis["budgets"]
        self.assertEqual([point["x"] for point in budget["curve"]], [0.5, 0.8, 1])
        self.assertTrue(all(len(point["loss"]["values"]) == 2 for point in budget["curve"]))
        page = small.directory / "report" / "report.html"
        self.assertLess(page.stat().st_size, 2_000_000)
        parser = References()
        parser.feed(page.read_text(encoding="utf-8"))
        self.assertEqual(parser.outside, [])
        self.assertEqual(parser.open, [])

    def refuse_changes(self, small):
        code, output = program.run(small.command("run", "--set", "optimizer.dense.lr=0.5"))
        self.assertEqual(code, 64, output)
        self.assertIn("not in the file: trial 0 (ratio 0.5, seed 0)", output)
        code, output = program.run(small.command("run", "--set", "sweep.seeds=[0, 1, 2]"))
        self.assertEqual(code, 64, output)
        self.assertIn("`engram sweep add` appends what is new", output)
        code, output = program.run(small.command("add", "--set", "sweep.seeds=[1, 2]"))
        self.assertEqual(code, 64, output)
        self.assertIn("no longer has trial 0", output)

    def test_added_trials_get_the_next_numbers(self):
        small = sweep.Sweep(corpus, "grows")
        program.run_well(small.command("run", "--trial", "2", "--set", "sweep.seeds=[0]"))
        before = small.journal()
        output = program.run_well(small.command("add"))
        self.assertIn("3 trials added; 6 in all", output)
        self.assertIn("0 trials added; 6 in all", program.run_well(small.command("add")))
        self.assertEqual(small.journal()[: len(before)], before)
        self.assertEqual(list(small.states()), list(range(sweep.NUM_TRIALS)))
        self.assertEqual(small.count("done"), 1)
        status = program.run_well(["sweep", "status", small.directory])
        self.assertRegex(status, r"5 queued, 0 running, 1 done.*; about [0-9]\S* left with 1 at once")

    def test_a_memory_sweep_has_a_line_for_each_arm(self):
        small = sweep.Sweep(corpus, "memory")
        sets = ("kind=memory", "ratios=[]", "table_rows=[50, 200]", "seeds=[0]", "controls=[over_encoding]")
        program.run_well(small.command("run", *(word for each in sets for word in ("--set", f"sweep.{each}"))))
        output = program.run_well(["sweep", "report", small.directory])
        self.check_figures(small, output, ["01_controls", "01_memory"])
        analysis = json.loads((small.directory / "report" / "analysis.json").read_text(encoding="utf-8"))
        (budget,) = analysis["budgets"]
        self.assertEqual([line["control"] for line in budget["log_linear"]], ["", "over_encoding"])

    def test_weights_are_kept_on_request(self):
        small = sweep.Sweep(corpus, "weights")
        program.run_well(small.command("run", "--trial", "2", "--set", "sweep.keep_weights=true"))
        program.run_well(["generate", small.trial(2), "--prompt", "a", "--tokens", "2"])

    def test_a_trial_that_fails_leaves_the_others(self):
        small = sweep.Sweep(corpus, "fails")
        blocked = small.trial(1) / "metrics.jsonl"  # a directory where its file should be
        blocked.mkdir(parents=True)
        code, output = program.run(small.command("run"))
        self.assertEqual(code, 65, output)
        self.assertIn("5 done, 1 failed", output)
        self.assertIn("metrics.jsonl: is not a file", output)
        self.assertEqual(small.states()[1]["starts"], 1, "65 would come again")
        blocked.rmdir()
        self.assertIn("6 done, 0 failed", program.run_well(small.command("run", "--retry")))

    def test_a_failure_that_may_pass_is_tried_again(self):
        small = sweep.Sweep(corpus, "again", ranks=2)
        nowhere = dict(program.ENVIRONMENT, PATH=str(corpus.path))  # no mpirun there
        code, output = program.run(small.command("run", "--trial", "1"), environment=nowhere)
        self.assertEqual(code, 65, output)
        self.assertIn("ended with code 127", output)
        self.assertEqual(small.states()[1]["starts"], 3)

    def test_a_slurm_array_names_the_trials_that_are_left(self):
        small = sweep.Sweep(corpus, "slurm")
        program.run_well(small.command("run", "--trial", "0"))
        program.run_well(small.command("run", "--slurm", "--jobs", "2"))
        script = (small.directory / "array.sbatch").read_text(encoding="utf-8")
        self.assertIn("#SBATCH --array=1,2,3,4,5%2\n", script)
        self.assertIn("--trial \"$SLURM_ARRAY_TASK_ID\"", script)


class Gone(unittest.TestCase):
    """Sweeps whose directories are gone: a results.csv of an earlier report stands for them."""

    SETS = ("ratios=[]", "controls=[no_conv, wide_shared]", "control_ratio=0.8")

    def report(self, *sources):
        """results.csv, moved away from a report that then is removed; its page and analysis."""
        output = corpus.path / "gone_report"
        program.run_well(["sweep", "report", *sources, "--output", output])
        table = corpus.path / f"results_{len(list(corpus.path.glob('results_*')))}.csv"
        (output / "results.csv").rename(table)
        page = (output / "report.html").read_text(encoding="utf-8")
        analysis = json.loads((output / "analysis.json").read_text(encoding="utf-8"))
        shutil.rmtree(output)
        return table, page, {budget["sweep"]: budget for budget in analysis["budgets"]}

    def run_controls(self, controls, *numbers):
        """In a directory that is new."""
        shutil.rmtree(controls.directory, ignore_errors=True)
        words = [word for each in self.SETS for word in ("--set", f"sweep.{each}")]
        program.run_well(controls.command("run", *words, *(w for n in numbers for w in ("--trial", str(n)))))

    def test_new_trials_are_reported_beside_them(self):
        curve, controls = sweep.Sweep(corpus, "gone"), sweep.Sweep(corpus, "gone_controls")
        program.run_well(curve.command("run"))
        first, page, known = self.report(curve.directory)
        self.assertNotIn("no validation curves", page)
        shutil.rmtree(curve.directory)
        self.run_controls(controls, 0, 1)
        second, page, half = self.report(controls.directory, first)
        self.assertIn("which has no validation curves: 6 trials of gone.", page)
        self.assertIn("<p>2 trials are not done.</p>", page)
        self.assertEqual([len(c["to_unchanged"]["pairs"]) for c in half["gone_controls"]["controls"]], [1, 1])
        for name in ("all", "shape"):
            self.assertEqual(half["gone"][name], known["gone"][name])
        self.run_controls(controls, 2, 3)
        third, page, whole = self.report(controls.directory, second)
        self.assertNotIn("are not done", page)
        self.assertEqual(whole["gone_controls"]["reference"], "gone")
        for at, unchanged in enumerate((1, 2)):  # no_conv at ratio 0.8, wide_shared at ratio 1
            control = whole["gone_controls"]["controls"][at]
            losses = zip(control["loss"]["values"], known["gone"]["curve"][unchanged]["loss"]["values"])
            self.assertEqual(sorted(control["to_unchanged"]["pairs"]), sorted(a - b for a, b in losses))
        lines = third.read_text(encoding="utf-8").splitlines()
        self.assertEqual([line for line in lines if not line.endswith(",gone_controls")],
                         first.read_text(encoding="utf-8").splitlines())
        self.check_refusals(controls, third)

    def check_refusals(self, controls, table):
        code, output = program.run(["sweep", "report", table])
        self.assertEqual(code, 64, output)
        self.assertIn("is not a directory; wanted that of a sweep, or --output", output)
        code, output = program.run(["sweep", "report", controls.directory, table])
        self.assertEqual(code, 65, output)
        self.assertIn("wanted it done in one of them", output)
        timed = ("--set", "sweep.kind=time", "--set", f"sweep.rates={table}")
        program.run_well(controls.command("plan", *timed))
        with open(table, "a", encoding="utf-8") as file:
            file.write("1,2,3\n")
        code, output = program.run(["sweep", "report", controls.directory, table])
        self.assertEqual(code, 65, output)
        self.assertIn(f"{table}:12: got 3 columns, wanted 25", output)
        code, output = program.run(controls.command("plan", *timed))
        self.assertEqual(code, 64, output)


class Killed(unittest.TestCase):
    def wait_for(self, condition):
        end = time.monotonic() + program.TIME_LIMIT
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def running(self, small):
        return [record for record in small.states().values() if record and record["state"] == "running"]

    def has_begun(self, small):
        """A trial runs as a program of its own: it outlives its manager."""
        return any((small.trial(record["trial"]) / "run.lock").exists() for record in self.running(small))

    def trial_without_manager(self, small):
        """The record of a trial that runs on after its manager was killed."""
        manager = program.start(small.command("run", "--jobs", "1"), 0)
        self.wait_for(lambda: self.has_begun(small))
        manager.kill()
        manager.communicate()
        return self.running(small)[0]

    def test_a_new_manager_waits_for_trials_of_a_dead_one(self):
        small = sweep.Sweep(corpus, "adopted")
        orphan = self.trial_without_manager(small)
        program.run_well(small.command("run"))
        self.assertEqual(small.count("done"), sweep.NUM_TRIALS)
        self.assertEqual(small.states()[orphan["trial"]]["starts"], 1, "it must not be started twice")

    def test_an_innocent_process_with_the_same_number_is_left_alone(self):
        small = sweep.Sweep(corpus, "innocent")
        victim = self.trial_without_manager(small)
        os.kill(victim["pid"], signal.SIGKILL)
        journal = small.directory / "journal.jsonl"
        text = journal.read_text(encoding="utf-8")
        journal.write_text(text.replace(f'"pid":{victim["pid"]},', f'"pid":{os.getpid()},'), encoding="utf-8")
        program.run_well(small.command("run"))  # it would wait for us for ever, or kill us
        self.assertEqual(small.count("done"), sweep.NUM_TRIALS)

    def test_trials_that_somebody_holds_are_waited_for(self):
        """A dead manager's child may hold a trial's lock for a moment; one queued and one running trial are held."""
        small = sweep.Sweep(corpus, "held")
        running = self.trial_without_manager(small)
        os.kill(running["pid"], signal.SIGKILL)
        others = [number for number in range(sweep.NUM_TRIALS) if number != running["trial"]]
        with contextlib.ExitStack() as held:
            for number in (running["trial"], others[-1]):
                small.trial(number).mkdir(parents=True, exist_ok=True)
                lock = held.enter_context(open(small.trial(number) / "manager.lock", "w", encoding="utf-8"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            manager = program.start(small.command("run"), 0)
            self.wait_for(lambda: small.count("done") == sweep.NUM_TRIALS - 2)
            time.sleep(0.5)
            self.assertIsNone(manager.poll(), "it must wait for the held trials")
        output = manager.communicate(timeout=program.TIME_LIMIT)[0].decode()
        self.assertEqual(manager.returncode, 0, output)
        self.assertEqual(small.count("done"), sweep.NUM_TRIALS)

    def test_two_managers_do_not_share_a_sweep(self):
        small = sweep.Sweep(corpus, "shared")
        manager = program.start(small.command("run"), 0)
        self.wait_for(lambda: self.running(small))
        code, output = program.run(small.command("run"))
        self.assertEqual(code, 65, output)
        self.assertIn("another `engram sweep run` works on it", output)
        self.stop(small, manager, signal.SIGTERM, 75)
        self.assertIn("6 done", program.run_well(small.command("run")))

    def stop(self, small, manager, number, code):
        """Sends the signal; the manager must end with that code, and no trial be left running or blamed."""
        manager.send_signal(number)
        output = manager.communicate(timeout=program.TIME_LIMIT)[0].decode()
        self.assertEqual(manager.returncode, code, output)
        self.assertIn("stopping on request", output)
        self.assertEqual(self.running(small), [])
        self.assertEqual({record["fruitless"] for record in small.states().values() if record}, {0})

    def test_a_signal_says_whether_a_sweep_shall_be_started_again(self):
        small = sweep.Sweep(corpus, "stopped")
        for number, code in ((signal.SIGUSR2, 75), (signal.SIGINT, 0), (signal.SIGTERM, 75)):
            manager = program.start(small.command("run", "--jobs", "1"), 0)
            self.wait_for(lambda: self.running(small))  # whether it has reached its main() or not
            self.stop(small, manager, number, code)

    def test_ranks_of_a_stopped_trial_save(self):
        small = sweep.Sweep(corpus, "ranks", ranks=2)
        endless = ("--trial", "0", "--set", "sweep.tokens=[7680000]", "--set", "checkpoint.every=0")
        manager = program.start(small.command("run", *endless), 0)
        metrics = small.trial(0) / "metrics.jsonl"
        self.wait_for(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 2)
        self.stop(small, manager, signal.SIGINT, 0)
        self.assertEqual(small.states()[0]["reason"], "ended with code 75")
        self.assertEqual(len(list((small.trial(0) / "checkpoints").glob("step-*"))), 1)


if __name__ == "__main__":
    unittest.main()
