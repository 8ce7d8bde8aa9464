#!/usr/bin/env python3
"""Make the sample text of data/sample from a file of documents.

    scripts/make_sample.py mix_01.txt.xz data/sample

Input: UTF-8 text, plain or .xz; the first line of a document is its title, a line "<|endoftext|>" ends it. Kept are
articles of an encyclopedia, told by their first sentence, which names the title and says what it "is" or "was"; news,
exercises, code and tables are left out, and so are very short, very long and coarse ones. The first accepted documents
become the sample: of each sixteen, one goes to validation.txt until that is full, the others to train.txt.
"""
import argparse
import lzma
import pathlib
import re

END_OF_TEXT = "<|endoftext|>\n"
TRAIN_BYTES, VALIDATION_BYTES = 3_000_000, 200_000
SHORTEST, LONGEST = 400, 8000
IS_DEFINITION = re.compile(r"\b(is|was|are|were)\b (an?|the|one|any|some|used|two|three|\w+ed)\b")
COARSE = re.compile(r"\b(porn\w*|rap(e|ed|ist)|suicide|sex\w*|fuck\w*|nigg\w*|genital\w*|penis|vagina|holocaust"
                    r"|lynch\w*)\b", re.IGNORECASE)
NOT_PROSE = re.compile(r"^\s*(def|import|class) |>>>|http|==|\{|\}|\\", re.MULTILINE)


def documents(path):
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        lines = []
        for line in file:
            if line != END_OF_TEXT:
                lines.append(line)
                continue
            yield "".join(lines)
            lines = []


def words(text):
    return set(re.findall(r"\w+", text.lower()))


def is_article(document):
    title, _, body = document.partition("\n\n")
    start = body[:250]
    return (SHORTEST <= len(document) <= LONGEST and words(re.sub(r"\(.*?\)", "", title)) <= words(start)
            and IS_DEFINITION.search(start) is not None and body.count("\n") * 60 <= len(body)
            and body.endswith((".\n", '."\n', '".\n'))
            and not COARSE.search(document) and not NOT_PROSE.search(document))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()

    parts = {"train.txt": [], "validation.txt": []}
    sizes = dict.fromkeys(parts, 0)
    for number, document in enumerate(filter(is_article, documents(options.input))):
        held_out = number % 16 == 0 and sizes["validation.txt"] < VALIDATION_BYTES
        part = "validation.txt" if held_out else "train.txt"
        parts[part].append(document + END_OF_TEXT)
        sizes[part] += len(parts[part][-1].encode())
        if sizes["train.txt"] >= TRAIN_BYTES and sizes["validation.txt"] >= VALIDATION_BYTES:
            break
    for name, texts in parts.items():
        (options.output / name).write_text("".join(texts), encoding="utf-8")
        print(f"{options.output / name}: {sizes[name]} bytes, {len(texts)} documents")


if __name__ == "__main__":
    main()
