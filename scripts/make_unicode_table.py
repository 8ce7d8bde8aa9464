#!/usr/bin/env python3
"""Rebuild data/unicode_table.inc from the normalizers of the PyPI package `tokenizers` (tested with 0.23.3).

    python3 -m venv .venv && .venv/bin/pip install tokenizers
    .venv/bin/python scripts/make_unicode_table.py            # writes data/unicode_table.inc
    .venv/bin/python scripts/make_unicode_table.py --check    # says whether the file is what would be written
    .venv/bin/python scripts/make_unicode_table.py --nfc-vectors tests/golden/nfc.tsv    # strings for the tests

That package is the definition of token compression and of the NFC normalizer (Unicode 9.0; lower case as in the Rust
compiler of the wheel), so its answers, one per Unicode scalar value, are the table. Combining classes are read off the
order in which NFD puts pairs of marks, compositions off NFC of each decomposition; before anything is written both are
checked against the package on every scalar value and on random strings. Hangul syllables are left to arithmetic.
"""
import argparse
import pathlib
import random
import sys
import unicodedata

from tokenizers import normalizers

TARGET = pathlib.Path(__file__).resolve().parent.parent / "data" / "unicode_table.inc"
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xAC00 + 11172)
NFC, NFD = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
KEY = normalizers.Sequence([normalizers.NFKC(), normalizers.NFD(), normalizers.StripAccents(),
                            normalizers.Lowercase()]).normalize_str


def mappings(normalize):
    return {c: s for c in SCALARS if c not in HANGUL and (s := normalize(chr(c))) != chr(c)}


def combining_classes(decomposed):
    """Class of each mark. Python's newer Unicode data only suggests one mark that the package knows for each class."""
    def sorts_before(c, mark):
        return c != mark and NFD("a" + chr(mark) + chr(c)) == "a" + chr(c) + chr(mark)

    highest = 0x345  # the one mark of class 240
    marks = [c for c in SCALARS if c not in decomposed and c not in HANGUL and sorts_before(c, highest)]
    examples = {240: highest} | {unicodedata.combining(chr(c)): c for c in reversed(marks)}
    return {highest: 240} | {c: max(k for k, m in examples.items() if not sorts_before(c, m)) for c in marks}


def compositions(decomposed):
    """(first, second) -> composite, for every composite that NFC produces."""
    return {(NFC(s[:-1]), s[-1]): c for c, s in decomposed.items() if NFC(chr(c)) == chr(c)}


def nfc(text, decomposed, classes, pairs):
    """What the program does with the tables, for the check."""
    text = "".join(decomposed.get(ord(c), c) if ord(c) not in HANGUL else NFD(c) for c in text)
    marks = []
    for c in text:
        marks.append(c)
        i = len(marks) - 1
        while i and 0 < classes.get(ord(c), 0) < classes.get(ord(marks[i - 1]), 0):
            marks[i - 1], marks[i] = marks[i], marks[i - 1]
            i -= 1
    result, starter, last = [], None, 0
    for c in marks:
        k = classes.get(ord(c), 0)
        if starter is not None and (last == 0 and starter == len(result) - 1 or last < k):
            composite = pairs.get((result[starter], c)) or hangul(result[starter], c)
            if composite:
                result[starter] = chr(composite)
                continue
        result.append(c)
        last = k
        if k == 0:
            starter = len(result) - 1
    return "".join(result)


def hangul(a, b):
    whole = NFC(a + b)
    return ord(whole) if len(whole) == 1 and ord(whole) in HANGUL else None


def awkward_texts(decomposed, classes, pairs, count, longest):
    """Random strings of characters that decompose, combine or are reordered."""
    rng = random.Random(1)
    pools = [list(decomposed), list(classes), [ord(b) for _, b in pairs], [ord(a) for a, _ in pairs],
             [*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A7, 0x11C3), 0xAC00, 0xAC01], [0x41, 0x61]]
    return ["".join(chr(rng.choice(rng.choice(pools))) for _ in range(rng.randint(2, longest))) for _ in range(count)]


def write_vectors(path, texts):
    def spell(text):
        return " ".join(f"{ord(c):X}" for c in text)
    path.write_text("".join(f"{spell(text)}\t{spell(NFC(text))}\n" for text in texts))


def verify(decomposed, classes, pairs):
    texts = [chr(c) for c in SCALARS] + awkward_texts(decomposed, classes, pairs, 300_000, 12)
    for text in texts:
        if nfc(text, decomposed, classes, pairs) != NFC(text):
            sys.exit(f"NFC by the tables differs on {text.encode('unicode_escape')}")


def array(kind, name, values):
    lines, line = [], " "
    for value in values:
        if len(line) + len(str(value)) + 2 > 120:
            lines.append(line)
            line = " "
        line += f" {value},"
    return f"constexpr {kind} {name}[] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def mapping_arrays(prefix, table):
    ends, targets = [], []
    for _, text in sorted(table.items()):
        targets += [ord(c) for c in text]
        ends.append(len(targets))
    return (array("uint32_t", f"k{prefix}From", sorted(table)) + array("uint16_t", f"k{prefix}End", ends)
            + array("uint32_t", f"k{prefix}To", targets))


def class_arrays(classes):
    ranges = []
    for c, k in sorted(classes.items()):
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == k:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, k])
    columns = [("uint32_t", "First"), ("uint32_t", "Last"), ("uint8_t", "Class")]
    return "".join(array(kind, f"kMark{name}", [r[i] for r in ranges]) for i, (kind, name) in enumerate(columns))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--nfc-vectors", type=pathlib.Path)
    options = parser.parse_args()

    decomposed = mappings(NFD)
    classes = combining_classes(decomposed)
    pairs = compositions(decomposed)
    verify(decomposed, classes, pairs)
    if options.nfc_vectors:
        return write_vectors(options.nfc_vectors, awkward_texts(decomposed, classes, pairs, 1000, 6))
    triples = sorted((ord(a), ord(b), c) for (a, b), c in pairs.items())
    text = ("// Made by scripts/make_unicode_table.py; the meaning of each array is in unicode_table.cpp.\n"
            + mapping_arrays("Key", mappings(KEY)) + mapping_arrays("Canonical", decomposed) + class_arrays(classes)
            + "".join(array("uint32_t", f"kPair{name}", [t[i] for t in triples])
                      for i, name in enumerate(["First", "Second", "Composite"])))
    if options.check:
        same = TARGET.read_text() == text
        print(f"{TARGET} is {'up to date' if same else 'NOT what this version of the package gives'}")
        sys.exit(0 if same else 1)
    TARGET.write_text(text)
    print(f"{TARGET}: {len(text)} bytes, {len(pairs)} compositions, {len(classes)} marks")


if __name__ == "__main__":
    main()
