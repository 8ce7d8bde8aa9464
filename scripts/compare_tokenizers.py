#!/usr/bin/env python3
"""Compare the token ids of `engram data tokenize` with those of Hugging Face's `tokenizers`, id by id, and time both.

    python3 -m venv .venv && .venv/bin/pip install tokenizers==0.23.3
    .venv/bin/python scripts/compare_tokenizers.py --tokenizer TOKENIZER.json book.txt more.txt.xz
    .venv/bin/python scripts/compare_tokenizers.py --tokenizer TOKENIZER.json --awkward    # made-up texts, no files

Lines <|endoftext|> separate the documents of a text file. Added tokens spelt out in a text are found, by both programs.
--awkward makes texts of every Unicode scalar value in several surroundings, random mixtures of scripts, marks, white
space, digits, contractions and added tokens, bytes that happen to be UTF-8, long runs, and words of a megabyte; its
mixtures are compared once more with the added tokens taken as text. Exit code 1 where any id differs; the first
differences are shown. Speeds count encoding alone; processor time says more than wall time on a busy machine.
"""
import argparse
import hashlib
import json
import lzma
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import unicodedata

SOURCES = pathlib.Path(__file__).resolve().parent.parent
SEPARATOR = "\n<|endoftext|>\n"
BATCH_BYTES = 2 << 20  # what the package encodes at once; its results are large
MEGABYTE = 10**6


def documents_of(path, limit):
    opened = lzma.open(path, "rb") if path.suffix == ".xz" else open(path, "rb")
    with opened as file:
        text = file.read(limit).decode("utf-8", "ignore")  # the limit may cut a character
    return [document for document in text.split(SEPARATOR) if document]


def scalar_values():
    """Every scalar value; those that may have a meaning between letters, digits, spaces, apostrophes, line breaks."""
    scalars = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for first in range(0, len(scalars), 512):
        block = map(chr, scalars[first:first + 512])
        yield "".join(f"a{c}b1{c}2 {c}{c}'{c}.{c}\n{c} " if ord(c) < 0x40000 or unicodedata.category(c) == "Cf"
                      else f"{c}1" for c in block)


def long_runs():
    rng = random.Random(1)
    for piece in ("a", "A", " ", "\n", "\r\n", "\t", "1", "!", "'", "\u00e9", "e\u0301", "\u0301", "\u4e2d", "\u3042",
                  "\u0660", "\u200d", "\U0001f600", "\u00a0", "ab ", "a\n ", "'s", "'S "):
        for count in (2, 3, 4, 7, 32, 1000, 20_000):
            yield piece * count
            yield "x" + piece * count + "y"
    yield "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(MEGABYTE))
    yield "".join(rng.choice("etaoin\u00e9\u00fc") for _ in range(MEGABYTE))


def mixtures(added, count):
    """Random texts from pools of characters that tokenizers treat unlike one another."""
    rng = random.Random(2)
    pools = [list("abcXYZ"), list("0123456789"), list(" \t\n\r"), ["\r\n", "\n\n", "  ", " \n"],
             list("!?.,;:'\"-_()[]{}<>|"),
             ["'s", "'T", "'re", "'VE", "'m", "'Ll", "'d", "'\u017f", "\u2019s"],
             list("\u00e9\u00c5\u00df\u0130\u0131\u01c4\ufb01\u1e9e"), list("\u03b1\u03a3\u03c2\u0416\u044f\u0531"),
             list("\u4e2d\u6587\u9fa5\u9fa6\u3040\u3042\u30ff\u3105\uac00\ud55c\u1112\u1161\u11ab"),
             list("\u0e01\u0e33\u0915\u093f\u094d\u0627\u0651\u05d0\u05b8\u1820"),
             list("\u0300\u0301\u0323\u0345\u20dd\u3099\u0488"),
             list("\u0661\u0967\uff11\u00b2\u00bd\u2163\u3007\U0001d7d8"),
             list("\u0085\u00a0\u1680\u180e\u2003\u2028\u202f\u205f\u3000\u200b\u200d\u2060\ufeff\x0b\x0c\x00\x1f\x7f"),
             ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f",
              "\U0001f44d\U0001f3fd"],
             added or ["<|"], [token[:-1] or "<" for token in added or ["<|"]]]
    for _ in range(count):
        chosen = rng.sample(pools, rng.randint(1, 6))
        yield "".join(rng.choice(rng.choice(chosen)) for _ in range(rng.randint(1, 60)))


def byte_soup(count):
    rng = random.Random(3)
    for _ in range(count):
        leads = rng.choice([range(256), range(0xC0, 0xF5), range(0x80)])
        soup = bytes(b for _ in range(80) for b in (rng.choice(leads), rng.randrange(0x80, 0xC0))[:rng.randint(1, 2)])
        text = soup.decode("utf-8", "ignore")
        if text:
            yield text


def added_spellings(tokenizer_json):
    return [token["content"] for token in tokenizer_json["added_tokens"]][:40]


def engram_ids(program, tokenizer, texts, options):
    """A line of ids per text, and seconds and processor seconds of encoding."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
        file.flush()
        done = subprocess.run([program, "data", "tokenize", file.name, "--tokenizer", tokenizer, *options],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    figures = re.search(r"encoded in ([\d.]+) s by \d+ threads \(([\d.]+) s", done.stderr)
    if done.returncode != 0 or not figures:
        sys.exit(f"{program}: exit code {done.returncode}: {done.stderr}")
    return done.stdout.splitlines(), float(figures[1]), float(figures[2])


def batches(texts):
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def package_ids(tokenizer, texts):
    lines, seconds, cpu = [], 0.0, 0.0
    for batch in batches(texts):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        seconds += time.perf_counter() - wall_start
        cpu += time.process_time() - cpu_start
        lines += [" ".join(map(str, encoding.ids)) for encoding in encodings]
    return lines, seconds, cpu


def show_difference(number, text, got, wanted):
    got, wanted = got.split(), wanted.split()
    at = next((i for i, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), min(len(got), len(wanted)))
    print(f"  text {number}, {len(text)} characters, starts {text[:60]!r}: differs at token {at}: "
          f"engram {got[at:at + 8]}, tokenizers {wanted[at:at + 8]}")


def compare(what, tokenizer, path, texts, options):
    """Number of texts that differ; prints what was compared and both speeds."""
    num_bytes = sum(len(text.encode()) for text in texts)
    arguments = ["--threads", str(options.threads)] + ([] if what == "as text" else ["--added-tokens"])
    got, seconds, cpu = engram_ids(options.engram, path, texts, arguments)
    wanted, package_seconds, package_cpu = package_ids(tokenizer, texts)
    if len(got) != len(texts):
        sys.exit(f"engram printed {len(got)} lines for {len(texts)} texts")
    different = [i for i in range(len(texts)) if got[i] != wanted[i]]
    print(f"{path}: {what}: {len(texts)} texts, {num_bytes / MEGABYTE:.1f} MB, "
          f"{sum(line.count(' ') + 1 for line in wanted)} tokens, {len(different)} texts differ; "
          f"on {options.threads} threads engram {num_bytes / MEGABYTE / max(seconds, 1e-3):.1f} MB/s ({cpu:.2f} s of "
          f"processor time), tokenizers {num_bytes / MEGABYTE / package_seconds:.1f} MB/s ({package_cpu:.2f} s)",
          flush=True)
    for i in different[:5]:
        show_difference(i, texts[i], got[i], wanted[i])
    return len(different)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", type=pathlib.Path, help=".txt or .txt.xz")
    parser.add_argument("--tokenizer", action="append", required=True, metavar="FILE", help="may be repeated")
    parser.add_argument("--awkward", action="store_true")
    parser.add_argument("--bytes", type=int, default=-1, help="of each text file, from its start; default: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--engram", default=str(SOURCES / "build" / "cpu" / "engram"))
    options = parser.parse_args()
    if not options.texts and not options.awkward:
        parser.error("no text: name files, or --awkward")
    return options


def main():
    options = parse_arguments()
    os.environ["RAYON_NUM_THREADS"] = str(options.threads)  # before the package starts its threads
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if options.threads > 1 else "false"
    try:
        import tokenizers
    except ImportError as error:
        sys.exit(f"{error}: install the package tokenizers, see the first lines of this script")
    documents = [document for path in options.texts for document in documents_of(path, options.bytes)]
    digest = hashlib.sha256(SEPARATOR.join(documents).encode()).hexdigest()
    print(f"tokenizers {tokenizers.__version__}; SHA-256 of the documents of {len(options.texts)} files: {digest}")

    num_different = 0
    for path in options.tokenizer:
        content = json.loads(pathlib.Path(path).read_text())
        whole = tokenizers.Tokenizer.from_str(json.dumps(content))
        if documents:
            num_different += compare("files", whole, path, documents, options)
        if options.awkward:
            mixed = list(mixtures(added_spellings(content), 20_000))
            awkward = [*scalar_values(), *long_runs(), *byte_soup(5_000), *mixed]
            num_different += compare("awkward texts", whole, path, awkward, options)
            content["added_tokens"] = []
            plain = tokenizers.Tokenizer.from_str(json.dumps(content))
            num_different += compare("as text", plain, path, mixed, options)
    sys.exit(1 if num_different else 0)


if __name__ == "__main__":
    main()
