"""Initial weights and batches: what `engram bench dump` wrote, or random ones."""
import json
import pathlib

import numpy as np
import torch

DOCUMENT_TOKENS = 500


class Dump:
    """A folder of `engram bench dump`: samples in the order of our run, our initial weights, our hash constants."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text())
        shape = (self.manifest["samples"], self.manifest["row_length"])
        self.tokens = np.memmap(self.folder / "tokens.bin", np.int32, "r", shape=shape)
        self.starts = np.memmap(self.folder / "starts.bin", np.uint8, "r", shape=shape)
        self.compressed_ids = np.fromfile(self.folder / "compressed_ids.bin", np.int32)
        self.multipliers = self.manifest["multipliers"]

    def samples(self, first, count):
        return torch.from_numpy(self.tokens[first:first + count].copy()), torch.from_numpy(
            self.starts[first:first + count].copy())

    def weights(self):
        """Name and float32 values of every parameter."""
        for entry in self.manifest["weights"]:
            count = int(np.prod(entry["shape"]))
            values = np.fromfile(self.folder / "weights.bin", np.float32, count, offset=entry["offset"])
            yield entry["name"], torch.from_numpy(values).view(entry["shape"])


class RandomData:
    """Token id i with probability proportional to 1 / (i + 1), a document every 500 tokens; multipliers are odd."""

    def __init__(self, config):
        model = config.model
        history = model.engram.orders[-1] - 1 if model.engram.layers else 0
        self.vocab_size, self.row_length = model.vocab_size, history + config.data.seq_len + 1
        self.compressed_ids = np.arange(model.vocab_size, dtype=np.int32)
        limit = (2 ** 63 - 1) // model.vocab_size // 2
        random = np.random.default_rng(config.run.seed)
        self.multipliers = [[int(2 * random.integers(limit) + 1) for _ in range(history + 1)]
                            for _ in model.engram.layers]

    def samples(self, first, count):
        random = np.random.default_rng([1, first])
        uniform = random.random((count, self.row_length))
        tokens = (np.exp(uniform * np.log(self.vocab_size)) - 1).astype(np.int32)
        starts = np.zeros((count, self.row_length), np.uint8)
        starts[:, ::DOCUMENT_TOKENS] = 1
        return torch.from_numpy(tokens), torch.from_numpy(starts)

    def weights(self):
        return ()


def load_weights(model, data):
    """Gives the model the dump's values. Query, key and value of a layer may be one weight or three in a row."""
    parameters = dict(model.named_parameters())
    missing, parts = set(parameters), {}
    with torch.no_grad():
        for name, values in data.weights():
            head, _, part = name.removesuffix(".weight").rpartition(".")
            if part in ("query", "key", "value") and head.endswith("attention"):
                parts.setdefault(head + ".qkv.weight", {})[part] = values
                continue
            parameters[name].copy_(values.view(parameters[name].shape))  # gains of one stream have no axis for it
            missing.discard(name)
        for name, found in parts.items():
            parameters[name].copy_(torch.cat([found["query"], found["key"], found["value"]]))
            missing.discard(name)
    if missing:
        raise SystemExit(f"the dump has no values for {sorted(missing)[:5]}")


class Loader:
    """This rank's micro-batches of every step, on the device one step ahead of their use, through pinned memory."""

    def __init__(self, data, config, rank, world_size, device):
        self.data, self.device = data, device
        self.global_batch, self.micro_batch = config.train.global_batch, config.train.micro_batch
        self.local = self.global_batch // world_size
        self.rank, self.step, self.ready = rank, 0, None

    def make(self):
        first = self.step * self.global_batch + self.rank * self.local
        self.step += 1
        tokens, starts = self.data.samples(first, self.local)
        on_device = [part.pin_memory().to(self.device, non_blocking=True) for part in (tokens.long(), starts)]
        return list(zip(*(part.split(self.micro_batch) for part in on_device)))

    def next(self):
        batch = self.ready or self.make()
        self.ready = self.make()
        return batch
