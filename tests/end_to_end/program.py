"""What the end-to-end tests share: the program, alone or under mpirun, and a small corpus with a small model.

ENGRAM_PROGRAM names the program; without it build/cpu/engram is tested. ENGRAM_IO_SHIM and ENGRAM_MPI_SHIM name the
libraries of io_shim.cpp and mpi_shim.cpp. With ENGRAM_DEVICE=cuda runs are trained on cards, which scripts/gpu_check.sh
asks for.
"""
import contextlib
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SOURCES = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("ENGRAM_PROGRAM", str(SOURCES / "build" / "cpu" / "engram"))
SHIM = os.environ.get("ENGRAM_IO_SHIM", str(pathlib.Path(PROGRAM).parent / "tests" / "libengram_io_shim.so"))
MPI_SHIM = os.environ.get("ENGRAM_MPI_SHIM", str(pathlib.Path(SHIM).parent / "libengram_mpi_shim.so"))
TOKENIZER = SOURCES / "data" / "tokenizers" / "english_8k" / "tokenizer.json"
TIME_LIMIT = 300  # seconds of one command, with sanitizers on a busy machine; a hang ends here

ENVIRONMENT = dict(
    os.environ,
    OMPI_ALLOW_RUN_AS_ROOT="1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    OMPI_MCA_btl_vader_single_copy_mechanism="none",  # containers forbid reading another process's memory
    OMPI_MCA_mpi_yield_when_idle="1",  # more ranks than cores: those that wait shall not take the time of the others
    OPENBLAS_NUM_THREADS="1",
    ASAN_OPTIONS="detect_leaks=0",  # MPI libraries keep what they allocate
)

CONFIG = """\
run: {{name: base, dir: {directory}/runs}}
model:
  vocab_size: 8192
  hidden: 16
  num_layers: 2
  ffn_hidden: 24
  attention: {{num_heads: 2, num_kv_heads: 1, head_dim: 8}}
  moe: {{num_experts: 4, top_k: 2, num_shared_experts: 1, expert_hidden: 8}}
  engram: {{layers: [0, 1], heads: 2, memory_dim: 16, rows_per_head: [500]}}
data:
  train: {directory}/train.h5
  validation: {directory}/validation.h5
  tokenizer: {tokenizer}
  seq_len: 16
optimizer: {{dense: {{lr: 1e-2}}}}
train: {{steps: 6, global_batch: 8, micro_batch: 2, eval_samples: 8}}
"""

DEVICE = os.environ.get("ENGRAM_DEVICE", "cpu")
# Widths that all CUDA forms take.
SETTINGS = {
    "cpu": (),
    "cuda": ("device=cuda", "model.hidden=64", "model.ffn_hidden=96", "model.attention.head_dim=32",
             "model.moe.expert_hidden=32", "model.engram.memory_dim=64"),
}[DEVICE]  # fmt: skip


def command_line(arguments, ranks=0):
    """ranks = 0: without mpirun."""
    launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(ranks)] if ranks else []
    return [*launcher, PROGRAM, *map(str, arguments)]


def shim_environment(**shim):
    """The environment of a program whose disk is that of io_shim.cpp, with its settings (first=3, errno=28)."""
    environment = dict(ENVIRONMENT, LD_PRELOAD=SHIM, ENGRAM_SHIM_PATH="/checkpoints")
    environment.update({f"ENGRAM_SHIM_{key.upper()}": str(value) for key, value in shim.items()})
    return environment


def run(arguments, ranks=0, environment=None):
    """Exit code, and standard output and errors as one text."""
    done = subprocess.run(
        command_line(arguments, ranks),
        env=environment or ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIME_LIMIT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", errors="replace")


def run_well(arguments, ranks=0):
    """The output of a command that must succeed."""
    code, output = run(arguments, ranks)
    if code != 0:
        raise AssertionError(f"{arguments} on {ranks} ranks ended with {code}:\n{output}")
    return output


def start(arguments, ranks, environment=None):
    """A process that is not waited for; its output goes to the pipe."""
    return subprocess.Popen(
        command_line(arguments, ranks),
        env=environment or ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


class Corpus:
    """A directory with stores of a few kilobytes of text and the configuration of a tiny model."""

    def __init__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="engram_end_to_end_")
        self.path = pathlib.Path(self._temporary.name)
        self.config = self.path / "tiny.yaml"
        self.config.write_text(CONFIG.format(directory=self.path, tokenizer=TOKENIZER), encoding="utf-8")
        self.output = {}
        for name, num_bytes in (("train", 40000), ("validation", 8000)):
            text = (SOURCES / "data" / "sample" / f"{name}.txt").read_bytes()[:num_bytes]
            (self.path / f"{name}.txt").write_bytes(text[: text.rindex(b"\n") + 1])
            self.output[name] = run_well(self.build(name))

    def remove(self):
        self._temporary.cleanup()

    def build(self, name):
        source, store = self.path / f"{name}.txt", self.path / f"{name}.h5"
        return ["data", "build", source, "--tokenizer", TOKENIZER, "--output", store]

    def train(self, name, *settings):
        """Arguments that train a run of that name."""
        sets = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
        return ["train", self.config, "--set", f"run.name={name}", *sets]

    def run_directory(self, name):
        return self.path / "runs" / name

    def metrics(self, name):
        """Rows of metrics.jsonl, whose lines are all whole."""
        lines = (self.run_directory(name) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def csv_columns(self, name, *columns):
        """The text of some columns of metrics.csv, row by row."""
        with open(self.run_directory(name) / "metrics.csv", newline="", encoding="utf-8") as file:
            return [tuple(row[column] for column in columns) for row in csv.DictReader(file)]

    def events(self, name, kind):
        lines = (self.run_directory(name) / "events.jsonl").read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def python_with(package):
    """An interpreter that has a package of tests/requirements.txt, of .venv or this one; skips where there is none."""
    for python in (SOURCES / ".venv" / "bin" / "python", pathlib.Path(sys.executable)):
        command = [python, "-c", f"import {package}"]
        if python.exists() and subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return python
    raise unittest.SkipTest(f"no package {package} in .venv or in this Python; "
                            "scripts/install_dependencies.sh --tests installs it")  # fmt: skip


def wait_until(condition, process):
    """Returns when condition() holds; the process must not end before."""
    end = time.monotonic() + TIME_LIMIT
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(f"ended, or came no further, before that:\n{process.communicate()[0].decode()}")
        time.sleep(0.005)


def wait_for_steps(corpus, name, num_steps, process):
    """Returns when the metrics of a run have that many lines."""
    path = corpus.run_directory(name) / "metrics.jsonl"
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= num_steps, process)


def ranks_of(launcher):
    """{rank: process id} of the ranks that a running mpirun started."""
    found = {}
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{launcher.pid}\n" not in status.read_text(encoding="utf-8"):
                continue
            for setting in (status.parent / "environ").read_bytes().split(b"\0"):
                name, _, value = setting.partition(b"=")
                if name == b"OMPI_COMM_WORLD_RANK":
                    found[int(value)] = int(status.parent.name)
        except OSError:
            continue  # it ended meanwhile
    return found


def kill(launcher):
    """Ends what start() began and has not ended yet, its ranks included."""
    for pid in [launcher.pid, *ranks_of(launcher).values()] if launcher.poll() is None else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    launcher.communicate()


def ended(pid, seconds):
    """Whether the process has ended, or does within that time; nobody need have asked for its exit code."""
    end = time.monotonic() + seconds
    while True:
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        except OSError:
            return True
        if "\nState:\tZ" in status:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit("this file holds what the tests beside it share")
