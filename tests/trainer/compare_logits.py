"""Compares the logits of exports in transformers with those that Engram Trainer computed.

    compare_logits.py DIR...    DIR.reference holds tokens and their logits; exit code 1 where any differs by 1e-4
"""
import sys

import torch
import transformers
from safetensors.torch import load_file

BOUND = 1e-4


def compare(directory):
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=True, dtype=torch.float32)
    reference = load_file(directory + ".reference")
    tokens = reference["tokens"].long()
    with torch.no_grad():
        logits = model(tokens[None]).logits[0]
        # The same text after padding, as in a batch of texts of several lengths.
        padded = torch.nn.functional.pad(tokens[None], (3, 0))
        mask = torch.nn.functional.pad(torch.ones_like(tokens[None]), (3, 0))
        padded_logits = model(padded, attention_mask=mask).logits[0, 3:]
    difference = (logits - reference["logits"]).abs().max().item()
    padding = (padded_logits - logits).abs().max().item()
    name, largest = directory.rsplit("/", 1)[-1], logits.abs().max().item()
    print(f"{name}: largest logit {largest:.3g}, difference {difference:.2g}, after padding {padding:.2g}")
    return max(difference, padding) < BOUND


if __name__ == "__main__":
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    results = [compare(directory) for directory in sys.argv[1:]]
    sys.exit(0 if all(results) else 1)
