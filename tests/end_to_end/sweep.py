"""A small sweep for the end-to-end tests: its file, its journal, what its trials left behind."""
import csv
import json
import pathlib

import program

SWEEP = """\
run: {{name: {name}, dir: {directory}/runs}}
sweep:
  ratios: [0.5, 0.8, 1]
  seeds: [0, 1]
  tokens: [7680]
  width_step: 1
  evaluations: 3
  ranks: {ranks}
model:
  vocab_size: 8192
  hidden: 16
  num_layers: 2
  num_dense_layers: 0
  attention: {{num_heads: 2, num_kv_heads: 1, head_dim: 8}}
  moe: {{num_experts: 12, top_k: 2, num_shared_experts: 1, expert_hidden: 16, shared_hidden: 48}}
  engram: {{layers: [0], heads: 2, memory_dim: 16, rows_per_head: [50]}}
data:
  train: {directory}/train.h5
  validation: {directory}/validation.h5
  tokenizer: {tokenizer}
  seq_len: 16
optimizer: {{dense: {{lr: 1e-2}}}}
train: {{steps: 1, global_batch: 8, micro_batch: 2, eval_samples: 8}}
checkpoint: {{every: 10}}
"""
NUM_TRIALS = 6
NUM_STEPS = 60


class Sweep:
    """A sweep of that name over the corpus."""

    def __init__(self, corpus, name, ranks=1):
        self.file = corpus.path / f"{name}.yaml"
        self.file.write_text(
            SWEEP.format(name=name, directory=corpus.path, tokenizer=program.TOKENIZER, ranks=ranks), encoding="utf-8"
        )
        self.directory = corpus.path / "runs" / name

    def command(self, verb, *words):
        return ["sweep", verb, self.file, *words]

    def trial(self, number):
        return self.directory / "trials" / f"trial-{number:04d}"

    def journal(self):
        """Records of the journal; a torn last line is left out."""
        path = self.directory / "journal.jsonl"
        if not path.exists():
            return []
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def states(self):
        """{number: newest state record or None} of every trial."""
        found = {}
        for record in self.journal():
            if record["record"] == "trial":
                found[record["trial"]] = None
            elif record["record"] == "state":
                found[record["trial"]] = record
        return found

    def count(self, state):
        return sum(1 for record in self.states().values() if record and record["state"] == state)

    def steps(self, number):
        lines = (self.trial(number) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["step"] for line in lines]

    def results(self):
        """Columns of results.csv that no clock decides, trial by trial."""
        with open(self.directory / "report" / "results.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        left_out = ("seconds", "tok_s", "starts", "sweep")
        return [{name: row[name] for name in row if name not in left_out} for row in rows]

    def losses(self, number):
        """Every step's loss, as text: equal bits give equal text."""
        lines = (self.trial(number) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [repr(json.loads(line)["loss"]) for line in lines]


def process_of(record):
    """The launcher's process id of a running trial, None where another process has that id by now."""
    try:
        stat = pathlib.Path(f"/proc/{record['pid']}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    start = int(stat.rpartition(")")[2].split()[19])
    return record["pid"] if start == record["start_ticks"] else None
