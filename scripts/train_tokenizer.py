#!/usr/bin/env python3
"""Train a byte-level BPE tokenizer.json of any vocabulary size.

The program reads any such file; this script is only needed to make another one. It wants the PyPI package
`tokenizers` (tested with 0.23.3):

    python3 -m venv .venv && .venv/bin/pip install tokenizers
    .venv/bin/python scripts/train_tokenizer.py --vocabulary-size 16384 --output data/tokenizers/english_16k \
        text/*.txt

Input is UTF-8 text, plain or .xz; a line "<|endoftext|>" separates documents and is not trained on. The same input
and options give the same file. Special tokens: id 0 <|endoftext|>, id 1 <|pad|>; the 256 bytes follow.
Pre-tokenization is Llama 3's: words with their leading space, digits in groups of up to three.
"""
import argparse
import hashlib
import lzma
import os
import pathlib

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

END_OF_TEXT, PAD = "<|endoftext|>", "<|pad|>"
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def documents(paths, max_bytes, digest):
    """Documents of the files in order, up to max_bytes of text in all; feeds what it yields to `digest`."""
    left = max_bytes
    for path in paths:
        opener = lzma.open if path.suffix == ".xz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            lines = []
            for line in file:
                left -= len(line.encode())
                if left < 0:
                    break
                if line.rstrip("\r\n") != END_OF_TEXT:
                    lines.append(line)
                    continue
                digest.update("".join(lines).encode())
                yield "".join(lines)
                lines = []
            if lines:
                digest.update("".join(lines).encode())
                yield "".join(lines)
        if left < 0:
            return


def train(paths, vocabulary_size, max_bytes, digest):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in (END_OF_TEXT, PAD)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=32,
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents(paths, max_bytes, digest), trainer)
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=pathlib.Path)
    parser.add_argument("--vocabulary-size", type=int, required=True, help="ids in all, special tokens included")
    parser.add_argument("--max-bytes", type=int, default=1 << 62, help="train on the first so many bytes")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder that gets tokenizer.json")
    options = parser.parse_args()

    digest = hashlib.sha256()
    tokenizer = train(options.inputs, options.vocabulary_size, options.max_bytes, digest)
    size = tokenizer.get_vocab_size()
    if size != options.vocabulary_size:
        raise SystemExit(f"the text only supports {size} of {options.vocabulary_size} tokens; give more text")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "tokenizer.json"
    tokenizer.save(str(path), pretty=False)
    print(f"{path}: {size} tokens, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}; "
          f"text sha256 {digest.hexdigest()}")


if __name__ == "__main__":
    main()
