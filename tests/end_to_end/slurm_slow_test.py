"""A training job and a sweep's array under a real Slurm with two nodes: preempted, requeued, cancelled, resumed."""
import time
import unittest

import program
import slurm_cluster
import sweep

TRAIN = program.SOURCES / "scripts" / "slurm" / "train.sbatch"
RANKS = 4
COLUMNS = ("step", "loss", "norm", "lr", "engram.unique")
ENDLESS = ("train.steps=1000000", "optimizer.schedule.kind=constant", "checkpoint.every=50", "train.global_batch=8",
           "train.micro_batch=1")  # fmt: skip


def setUpModule():
    global corpus, cluster
    if reason := slurm_cluster.why_not():
        raise unittest.SkipTest(reason)
    environment = dict(program.ENVIRONMENT, ENGRAM_PROGRAM=program.PROGRAM)
    cluster = slurm_cluster.Cluster(environment, cpus_per_node=RANKS // 2)
    try:
        unittest.enterModuleContext(cluster)
    except AssertionError as error:
        raise unittest.SkipTest(f"Slurm does not start here: {error}") from error
    corpus = program.Corpus()
    unittest.addModuleCleanup(corpus.remove)


def wait_for(condition, number):
    slurm_cluster.wait_for(condition, f"job {number}", lambda: f"{cluster.job(number)}\n{cluster.logs()}",
                           program.TIME_LIMIT)  # fmt: skip


def state_of(number):
    return cluster.job(number)["JobState"]


def start_again(number):
    """Slurm lets a job that was requeued wait for two minutes. A node refuses its new credential for as long as the
    clock shows the second in which the old one was revoked."""
    wait_for(lambda: state_of(number) == "PENDING", number)
    time.sleep(2)
    cluster.command("scontrol", "update", f"JobId={number}", "StartTime=now")


class Train(unittest.TestCase):
    def submit(self, name, *options):
        log = corpus.path / f"{name}.log"
        arguments = map(str, corpus.train(name, *ENDLESS)[1:])
        number = cluster.submit("--partition=low", "--nodes=2", f"--ntasks-per-node={RANKS // 2}", f"--output={log}",
                                f"--chdir={program.SOURCES}", *options, str(TRAIN), str(corpus.run_directory(name)),
                                *arguments)  # fmt: skip
        return number, log

    def wait_for_steps(self, name, number):
        """That the job makes twenty of them, now."""
        metrics = corpus.run_directory(name) / "metrics.jsonl"
        done = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
        wait_for(lambda: metrics.exists() and len(metrics.read_bytes().splitlines()) >= done + 20, number)

    def check_finished(self, name, number, log, starts):
        (corpus.run_directory(name) / "STOP").touch()
        wait_for(lambda: state_of(number) not in ("RUNNING", "COMPLETING"), number)
        text = log.read_text(encoding="utf-8")
        self.assertEqual(state_of(number), "COMPLETED", text + cluster.logs())
        self.assertIn(f"start {starts}, {RANKS} ranks on engram-n[1-2]", text)
        self.assertEqual(text.count("resuming from"), starts - 1, text + cluster.logs())
        self.assertEqual(text.count("on request, saved as"), starts, text)
        rows = corpus.csv_columns(name, *COLUMNS)
        program.run_well(corpus.train("unbroken", *ENDLESS, f"train.steps={len(rows)}"), RANKS)
        self.assertEqual(rows, corpus.csv_columns("unbroken", *COLUMNS))

    def test_preempted_requeued_resumed_finished(self):
        number, log = self.submit("preempted")
        self.wait_for_steps("preempted", number)
        urgent = cluster.submit("--partition=high", "--nodes=2", f"--ntasks-per-node={RANKS // 2}",
                                f"--output={corpus.path}/urgent.log", "--wrap=srun sleep 1")  # fmt: skip
        wait_for(lambda: state_of(urgent) == "COMPLETED", urgent)
        start_again(number)
        self.wait_for_steps("preempted", number)
        cluster.command("scancel", "--signal=USR2", "--batch", number)  # what Slurm sends ahead of the time limit
        start_again(number)
        self.wait_for_steps("preempted", number)
        self.check_finished("preempted", number, log, starts=3)

    def test_a_job_that_is_cancelled_does_not_come_back(self):
        number, log = self.submit("cancelled")
        self.wait_for_steps("cancelled", number)
        cluster.command("scancel", number)
        wait_for(lambda: state_of(number) not in ("RUNNING", "COMPLETING"), number)
        time.sleep(3)
        self.assertEqual(state_of(number), "CANCELLED", log.read_text(encoding="utf-8"))
        self.assertIn("on request, saved as", log.read_text(encoding="utf-8"))

    def test_tasks_that_are_no_ranks_are_refused(self):
        arguments = map(str, corpus.train("alone", *ENDLESS))
        output = cluster.command("srun", "--ntasks=2", "--mpi=none", program.PROGRAM, *arguments, check=False)
        self.assertIn("srun --mpi=pmix", output)
        self.assertFalse(corpus.run_directory("alone").exists())


class Array(unittest.TestCase):
    def test_a_sweep_is_an_array(self):
        small = sweep.Sweep(corpus, "array")
        words = map(str, small.command("run", "--slurm", "--submit", "--jobs", "4"))
        cluster.command(program.PROGRAM, *words)
        slurm_cluster.wait_for(lambda: small.count("done") == sweep.NUM_TRIALS, "trials", cluster.logs,
                               program.TIME_LIMIT)  # fmt: skip

    def test_a_task_comes_back_after_its_time_limit(self):
        small = sweep.Sweep(corpus, "limit", ranks=2)
        text = small.file.read_text(encoding="utf-8").replace("tokens: [7680]", "tokens: [76800]")
        text = text.replace("ratios: [0.5, 0.8, 1]", "ratios: [1]").replace("seeds: [0, 1]", "seeds: [0]")
        small.file.write_text(text, encoding="utf-8")
        program.run_well(small.command("run", "--slurm"))
        number = cluster.submit(str(small.directory / "array.sbatch")) + "_0"
        metrics = small.trial(0) / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and len(metrics.read_bytes().splitlines()) >= 20, number)
        cluster.command("scancel", "--signal=USR2", "--batch", number)
        start_again(number)
        wait_for(lambda: small.count("done") == 1, number)
        self.assertEqual((small.states()[0]["starts"], small.states()[0]["fruitless"]), (2, 0))


if __name__ == "__main__":
    unittest.main()
