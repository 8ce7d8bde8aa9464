"""What the tests of `engram estimate` share: runs of several shapes, and what was estimated for them."""
import re

import program

MOE = ("model.moe.num_experts=16", "model.moe.top_k=2", "model.moe.expert_hidden=256")
NO_MOE = ("model.moe.num_experts=0", "model.moe.num_shared_experts=0")
ENGRAM = ("model.engram.layers=[1, 2]", "model.engram.heads=4", "model.engram.memory_dim=128",
          "model.engram.rows_per_head=[40000]")  # fmt: skip
NO_ENGRAM = ("model.engram.layers=[]",)
BOTH = MOE + ENGRAM
SHAPES = {"dense": NO_MOE + NO_ENGRAM, "moe": MOE + NO_ENGRAM, "engram": NO_MOE + ENGRAM, "both": BOTH,
          "shared": BOTH + ("parallel.expert=2",), "waiting": BOTH + ("checkpoint.asynchronous=false",)}  # fmt: skip
SETTINGS = ("model.hidden=256", "model.num_layers=4", "model.ffn_hidden=1024", "model.attention.num_heads=4",
            "model.attention.head_dim=64", "data.seq_len=128", "train.global_batch=4", "train.micro_batch=1",
            "train.eval_samples=4", "train.eval_every=1", "checkpoint.every=1", "checkpoint.keep=1",
            "train.steps=3")  # fmt: skip


def mebibytes(text, line):
    return float(re.search(rf"^  {line} +([\d.]+) MiB$", text, re.MULTILINE)[1])


def compare(corpus, shape, ranks, *settings):
    """((estimated, measured) memory of rank 0, (estimated, measured) checkpoint) in MiB, of a run that saved."""
    name = f"{shape}_{ranks}"
    arguments = corpus.train(name, *SETTINGS, *SHAPES[shape], *settings)
    program.run_well(arguments, 0 if ranks == 1 else ranks)
    text = program.run_well(["estimate", *arguments[1:], "--ranks", ranks])
    peak = corpus.metrics(name)[-1]["mem"]
    checkpoint = next((corpus.run_directory(name) / "checkpoints").iterdir())
    stored = sum(path.stat().st_size for path in checkpoint.iterdir())
    assert int(re.search(r"^  files +(\d+)$", text, re.MULTILINE)[1]) == len(list(checkpoint.iterdir())), text
    return (mebibytes(text, "total"), peak / 2**20), (mebibytes(text, "of all ranks"), stored / 2**20)
