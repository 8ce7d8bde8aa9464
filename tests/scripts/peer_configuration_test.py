"""scripts/peer/configuration.py: the PyTorch peer reads our configurations and counts FLOPs as we do."""
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "peer"))
import configuration  # noqa: E402

try:
    import yaml
except ImportError:
    yaml = None

FILES = sorted((ROOT / "configs" / "bench").glob("*.yaml"))
NOT_FOR_THE_PEER = {"engram_27b"}  # another schedule and table optimizer than it has
SMALL = """
model:
  vocab_size: 61
  hidden: 16
  num_layers: 2
  ffn_hidden: 24
  attention: {num_heads: 2, num_kv_heads: 1, head_dim: 8}
optimizer:
  schedule: {kind: constant}
"""


@unittest.skipIf(yaml is None, "PyYAML is not there")
class Configuration(unittest.TestCase):
    def test_flops_are_those_that_we_count(self):
        # trainer_tests compares the same numbers with ours (BenchConfig)
        wanted = json.loads((ROOT / "tests" / "golden" / "bench_flops.json").read_text(encoding="utf-8"))
        self.assertEqual(sorted(wanted), [path.stem for path in FILES])
        for path in FILES:
            with self.subTest(path.stem):
                values = configuration.numbers(yaml.safe_load(path.read_text(encoding="utf-8")))
                config = configuration.merge("", values)
                flops = configuration.training_flops_per_token(config.model, config.data.seq_len)
                self.assertAlmostEqual(flops / wanted[path.stem], 1, delta=1e-9)

    def test_takes_what_it_can_train(self):
        for path in FILES:
            with self.subTest(path.stem):
                if path.stem not in NOT_FOR_THE_PEER:
                    configuration.load(path)
                    continue
                with self.assertRaisesRegex(SystemExit, "schedule.kind: only constant"):
                    configuration.load(path)

    def load(self, *overrides):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "small.yaml"
            path.write_text(SMALL, encoding="utf-8")
            return configuration.load(path, overrides)

    def test_refuses_keys_that_it_does_not_know(self):
        for text, key in (("model.attention.kind=latent", "model.attention.kind"), ("model.hiden=3", "model.hiden"),
                          ("model.connections.streams=4", "model.connections.streams"),
                          ("optimizer.schedule.tail_steps=9", "optimizer.schedule.tail_steps")):  # fmt: skip
            with self.subTest(key), self.assertRaisesRegex(SystemExit, f"{key}: unknown key"):
                self.load(text)

    def test_overrides_as_we_do(self):
        config = self.load("optimizer.dense.lr=4e-4", "train.recompute=true", "model.moe.num_experts=4")
        self.assertEqual((config.optimizer.dense.lr, config.optimizer.dense.beta2), (4e-4, 0.95))
        self.assertEqual((config.model.moe.num_experts, config.model.moe.top_k), (4, 2))


if __name__ == "__main__":
    unittest.main()
