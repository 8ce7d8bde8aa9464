"""Training, resuming, evaluating and generating through the command line, on 1, 2 and 4 MPI ranks."""
import math
import os
import pty
import re
import signal
import subprocess
import threading
import time
import unittest

import program

COLUMNS = ("step", "tokens", "loss", "norm", "lr", "experts.max_over_mean", "experts.dead", "engram.unique", "skipped")
STEPS = 300  # of the runs that are stopped: half a second at least, so that they are met before their end


def setUpModule():
    global corpus
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


class DataBuild(unittest.TestCase):
    def test_says_what_it_built_and_builds_the_same_bytes_again(self):
        words = r"store: .*train\.h5 \(\d+ documents, \d+ tokens, digest [0-9a-f]{32}\)"
        self.assertRegex(corpus.output["train"], words)
        store = corpus.path / "train.h5"
        first = store.read_bytes()
        store.unlink()
        program.run_well(corpus.build("train"))
        self.assertEqual(store.read_bytes(), first)


class NumberOfRanks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.output = {
            name: program.run_well(corpus.train(name), ranks)
            for name, ranks in (("one", 0), ("one_mpi", 1), ("two", 2), ("four", 4), ("four_again", 4))
        }

    def test_losses_agree(self):
        one = [row["loss"] for row in corpus.metrics("one")]
        self.assertEqual(len(one), 6)
        self.assertAlmostEqual(one[0], math.log(8192), delta=0.2)
        self.assertLess(one[-1], one[0])
        for name in ("one_mpi", "two", "four"):
            self.assertEqual([row["step"] for row in corpus.metrics(name)], [1, 2, 3, 4, 5, 6])
            for got, want in zip(corpus.metrics(name), one):
                self.assertAlmostEqual(got["loss"], want, delta=1e-3)

    def test_a_rerun_writes_the_same_bytes(self):
        self.assertEqual(corpus.csv_columns("four", *COLUMNS), corpus.csv_columns("four_again", *COLUMNS))
        self.assertEqual(corpus.csv_columns("one", *COLUMNS), corpus.csv_columns("one_mpi", *COLUMNS))

    def test_csv_and_jsonl_say_the_same(self):
        for row, cells in zip(corpus.metrics("four"), corpus.csv_columns("four", *COLUMNS), strict=True):
            self.assertEqual([float(cell) for cell in cells], [row[column] for column in COLUMNS])

    def test_rows_that_no_update_has_reached_are_told(self):
        shares = {corpus.events(name, "rows")[-1]["never_touched"] for name in ("one", "two", "four")}
        self.assertEqual(len(shares), 1, shares)
        self.assertTrue(0 < shares.pop() < 1)

    def test_collisions_are_told(self):
        told = [[{**event, "time": ""} for event in corpus.events(name, "ngrams")] for name in ("one", "two", "four")]
        self.assertEqual([event["step"] for event in told[0]], [6])
        self.assertEqual(told[1:], told[:1] * 2)

    def test_output_that_nobody_watches_is_plain(self):
        for output in self.output.values():
            self.assertNotRegex(output, "[\r\x1b]")
            self.assertRegex(output, r"\nstep +1/6 loss ")
            self.assertRegex(output, r"\nstep +6/6 loss ")
            self.assertEqual(len(re.findall(r"step 6: validation loss", output)), 1, "one rank prints")

    def test_evaluation_agrees(self):
        losses = []
        for checkpoint in (corpus.run_directory("two"), corpus.run_directory("two") / "checkpoints/step-00000006"):
            for ranks in (1, 2):
                output = program.run_well(["eval", checkpoint, "--samples", "8"], ranks)
                losses.append(re.search(r"loss ([\d.]+) nats per token, .* over 128 tokens", output)[1])
        self.assertEqual(len(set(losses)), 1, losses)
        self.assertAlmostEqual(float(losses[0]), corpus.events("two", "eval")[-1]["loss"], delta=1e-4)

    def test_generation_agrees(self):
        arguments = ["generate", corpus.run_directory("four"), "--prompt", "In the beginning", "--tokens", "20"]
        texts = [program.run_well(arguments, ranks) for ranks in (0, 1, 2)]
        self.assertTrue(texts[0].startswith("In the beginning"), texts[0])
        self.assertGreater(len(texts[0]), len("In the beginning") + 10)
        self.assertEqual(texts[1:], [texts[0]] * 2)
        self.assertNotEqual(program.run_well([*arguments, "--seed", "1"]), texts[0])

    def test_explanation_agrees_and_is_plain_where_nobody_watches(self):
        arguments = ["explain", "In the<|endoftext|>beginning", "--checkpoint", corpus.run_directory("four")]
        texts = [program.run_well(arguments, ranks) for ranks in (0, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotIn("\x1b", texts[0])
        self.assertIn("a new document", texts[0])
        gates = [float(gate) for gate in re.findall(r" ([01]\.\d{3}) ", texts[0])]
        self.assertEqual(len(gates), 2 * texts[0].count("  id "), "two layers have memory")
        self.assertTrue(all(0 < gate < 1 for gate in gates), gates)
        without = program.run_well(["explain", *arguments[1:2], "--config", corpus.config])
        self.assertEqual(without, re.sub(r"     (gate  |      )  layer \d  [01]\..*\n", "", texts[0]))

    def test_a_finished_run_has_nothing_left_to_do(self):
        before = corpus.csv_columns("four_again", *COLUMNS)
        output = program.run_well(corpus.train("four_again"), 2)
        self.assertIn("resuming from", output)
        self.assertEqual(corpus.csv_columns("four_again", *COLUMNS), before)

    def test_a_run_of_metrics_alone_saves_nothing(self):
        output = program.run_well(corpus.train("metrics_alone", "checkpoint.at_end=false"), 2)
        self.assertNotIn("engram generate", output)
        self.assertEqual(list((corpus.run_directory("metrics_alone") / "checkpoints").glob("*")), [])
        self.assertEqual(corpus.csv_columns("metrics_alone", *COLUMNS), corpus.csv_columns("two", *COLUMNS))


class Ngrams(unittest.TestCase):
    @staticmethod
    def train(name, *settings):
        program.run_well(corpus.train(name, "train.steps=3", "train.eval_every=1", *settings))
        return corpus.events(name, "ngrams")

    def test_an_event_says_what_data_ngrams_says(self):
        first = self.train("collisions")[0]
        self.assertEqual((first["tokens"], first["orders"], first["layers"]), (128, [2, 3], [0, 1]))
        text = program.run_well(["data", "ngrams", corpus.config, "--tokens", "128"])
        distinct = re.findall(r"order \d: (\d+) distinct", text)
        self.assertEqual(first["distinct"], list(map(int, distinct)))
        heads = [line.split() for line in text.splitlines() if re.match(r"( +\d+){4} ", line)]
        self.assertEqual(len(heads), 8)
        for layer, order, head, *_, sharing, _, if_even, _ in heads:
            place = int(layer), int(order) - 2, int(head)
            for field, share in (("sharing", sharing), ("sharing_if_even", if_even)):
                value = first[field]
                for i in place:
                    value = value[i]
                self.assertAlmostEqual(100 * value, float(share), delta=0.005001)
                self.assertGreater(value, 0)

    def test_events_are_of_their_own_step(self):
        # Of so few n-grams over so many rows at most two have one, so that they tell how many rows the step asked for.
        for control in ("compression=true", "compression=false", "fusion=half"):
            settings = f"model.engram.{control}", "optimizer.table.kind=adam_dense", "model.engram.rows_per_head=[9000]"
            told = self.train(control, *settings)
            self.assertEqual(corpus.events(control, "rows"), [], "adam_dense counts nothing by row")
            self.assertEqual([event["step"] for event in told], [1, 2, 3])
            rows = [0, 0, 0]
            for i, event in enumerate(told):
                for layer in event["sharing"]:
                    for distinct, heads in zip(event["distinct"], layer, strict=True):
                        rows[i] += sum(distinct - round(distinct * share) // 2 for share in heads)
            self.assertEqual(rows, [row["engram.rows"] for row in corpus.metrics(control)])
            self.assertEqual(len(set(rows)), 3, rows)

    def test_none_are_told_of_a_model_without(self):
        self.assertEqual(self.train("no_memory", "model.engram.layers=[]"), [])
        for addressing in ("constant", "shuffled"):
            self.assertEqual(self.train(addressing, f"model.engram.addressing={addressing}"), [])
            self.assertEqual(len(corpus.events(addressing, "rows")), 3)


class Blend(unittest.TestCase):
    @staticmethod
    def train(name, weight, *settings):
        stores = (("train", 0.75), ("validation", weight))
        listed = ", ".join(f"{{store: {corpus.path}/{store}.h5, weight: {share}}}" for store, share in stores)
        return corpus.train(name, f"data.train=[{listed}]", "optimizer.schedule.kind=constant", *settings)

    def test_several_stores_serve_any_ranks_and_restarts(self):
        program.run_well(self.train("blend", 0.25), 2)
        program.run_well(self.train("blend_alone", 0.25))
        for alone, two in zip(corpus.metrics("blend_alone"), corpus.metrics("blend"), strict=True):
            self.assertAlmostEqual(alone["loss"], two["loss"], delta=1e-3)

        program.run_well(self.train("blend_resumed", 0.25, "train.steps=3"), 2)
        code, output = program.run(self.train("blend_resumed", 0.5), 2)
        self.assertEqual(code, 65, output)
        self.assertIn("training data digest", output)
        program.run_well(self.train("blend_resumed", 0.25), 2)
        self.assertEqual(corpus.csv_columns("blend_resumed", *COLUMNS), corpus.csv_columns("blend", *COLUMNS))


def watched(arguments, ranks):
    """What a person sees who runs the command in a terminal."""
    master, slave = pty.openpty()
    shown = bytearray()

    def read():
        try:
            while piece := os.read(master, 4096):
                shown.extend(piece)
        except OSError:
            pass  # the last process with the terminal is gone

    reader = threading.Thread(target=read)
    reader.start()
    subprocess.run(
        program.command_line(arguments, ranks),
        env=program.ENVIRONMENT, stdin=slave, stdout=slave, stderr=slave, timeout=program.TIME_LIMIT, check=True,
    )  # fmt: skip
    os.close(slave)
    reader.join()
    os.close(master)
    return shown.decode("utf-8")


class Terminal(unittest.TestCase):
    def test_the_line_is_redrawn_where_somebody_watches(self):
        for name, ranks in (("watched", 0), ("watched_ranks", 2)):
            self.assertRegex(watched(corpus.train(name), ranks), r"\rstep +1/6 loss ")

    def test_explanations_are_coloured_where_somebody_watches(self):
        self.assertIn("\x1b[1m\"In\"\x1b[0m", watched(["explain", "In the", "--config", corpus.config], 0))


class Stopped(unittest.TestCase):
    SETTINGS = (f"train.steps={STEPS}", "checkpoint.every=20", "optimizer.schedule.warmup_steps=5")

    @classmethod
    def setUpClass(cls):
        program.run_well(corpus.train("unbroken", *cls.SETTINGS), 4)

    def stop_after(self, name, num_steps, stop):
        """Ends a run on 4 ranks by stop(process); returns exit code, output, and seconds from there to the end."""
        process = program.start(corpus.train(name, *self.SETTINGS), 4)
        program.wait_for_steps(corpus, name, num_steps, process)
        begin = time.monotonic()
        stop(process)
        output = process.communicate(timeout=program.TIME_LIMIT)[0].decode("utf-8")
        return process.returncode, output, time.monotonic() - begin

    def check_resumed(self, name):
        """The run goes on from a checkpoint and ends as the unbroken one, no step missing and none twice."""
        output = program.run_well(corpus.train(name, *self.SETTINGS), 4)
        self.assertRegex(output, r"resuming from .*/step-\d{8}\n")
        begin = corpus.events(name, "resume")[-1]["step"]
        self.assertGreater(begin, 0)
        self.assertLess(begin, STEPS)
        self.assertEqual([row["step"] for row in corpus.metrics(name)], list(range(1, STEPS + 1)))
        self.assertEqual(corpus.csv_columns(name, *COLUMNS), corpus.csv_columns("unbroken", *COLUMNS))
        want = [row["loss"] for row in corpus.metrics("unbroken")]
        self.assertEqual([row["loss"] for row in corpus.metrics(name)], want)
        kept = sorted(path.name for path in (corpus.run_directory(name) / "checkpoints").iterdir())
        self.assertEqual(kept, [f"step-{STEPS - 20:08d}", f"step-{STEPS:08d}"])

    def test_a_terminated_run_goes_on(self):
        def terminate(process):
            for pid in program.ranks_of(process).values():
                os.kill(pid, signal.SIGTERM)  # mpirun alone would let them run for another second
            process.terminate()

        code, output, _ = self.stop_after("terminated", 30, terminate)
        self.assertNotEqual(code, 0, output)
        self.check_resumed("terminated")

    def test_a_killed_rank_ends_all_and_is_named(self):
        def kill_rank_two(process):
            self.pids = program.ranks_of(process)
            self.assertEqual(sorted(self.pids), [0, 1, 2, 3])
            os.kill(self.pids[2], signal.SIGKILL)

        code, output, seconds = self.stop_after("killed", 30, kill_rank_two)
        self.assertNotEqual(code, 0, output)
        self.assertLess(seconds, 10)
        self.assertRegex(output, r"rank 2 .*killed|rank 2 .*signal 9")
        self.assertEqual([rank for rank, pid in self.pids.items() if not program.ended(pid, 10 - seconds)], [])
        self.check_resumed("killed")


class NumericStop(unittest.TestCase):
    def test_a_run_without_finite_gradients_saves_and_gives_up(self):
        # Decay that turns each weight into -9 times itself leaves the range of float32 within fifty steps.
        settings = ("optimizer.dense.lr=10", "optimizer.dense.weight_decay=1", "optimizer.schedule.kind=constant",
                    "train.max_skips=4", "train.steps=1000", "checkpoint.every=100")  # fmt: skip
        code, output = program.run(corpus.train("hopeless", *settings), 2)
        self.assertEqual(code, 93, output)
        self.assertIn("gave up: 4 steps in a row (train.max_skips) changed nothing, for a spike or a loss or", output)
        skipped = [row["skipped"] for row in corpus.metrics("hopeless")]
        self.assertEqual((skipped[-4:], skipped[0]), ([1, 1, 1, 1], 0))
        checkpoints = [path.name for path in (corpus.run_directory("hopeless") / "checkpoints").iterdir()]
        self.assertEqual(checkpoints, [f"step-{len(skipped):08d}"])


if __name__ == "__main__":
    unittest.main()
