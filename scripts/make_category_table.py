#!/usr/bin/env python3
"""Rebuild data/unicode_categories.inc: characters of which `tokenizers` knows more than PCRE2 10.42 does.

    .venv/bin/python scripts/make_category_table.py            # Python 3.11; writes data/unicode_categories.inc
    .venv/bin/python scripts/make_category_table.py --check    # says whether the file is what would be written

The patterns of the package (0.23.3) have the general categories of Unicode 16.0; PCRE2 10.42 has those of 14.0, as
Python 3.11. What was unassigned in between is listed with its category.
"""
import pathlib
import sys
import unicodedata

from tokenizers import Regex, pre_tokenizers

TARGET = pathlib.Path(__file__).resolve().parent.parent / "data" / "unicode_categories.inc"
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
UNASSIGNED = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) == "Cn"]


def ranges(category):
    """First and last of each run of characters that the package alone has in a category."""
    text = "".join(UNASSIGNED)
    found = pre_tokenizers.Split(Regex(rf"\p{{{category}}}"), "removed", invert=True).pre_tokenize_str(text)
    runs = []
    for character in (ord(c) for piece, _ in found for c in piece):
        if runs and runs[-1][1] == character - 1:
            runs[-1][1] = character
        else:
            runs.append([character, character])
    return runs


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"this Python has Unicode {unicodedata.unidata_version}, wanted 14.0.0, that of Python 3.11")
    lines = [f'{{"{category}", 0x{first:x}, 0x{last:x}}},\n'
             for category in CATEGORIES for first, last in ranges(category)]
    text = "// Made by scripts/make_category_table.py; used by split_pattern.cpp.\n" + "".join(lines)
    if "--check" in sys.argv[1:]:
        same = TARGET.read_text() == text
        print(f"{TARGET} is {'up to date' if same else 'NOT what this version of the package gives'}")
        sys.exit(0 if same else 1)
    TARGET.write_text(text)
    print(f"{TARGET}: {len(lines)} ranges")


if __name__ == "__main__":
    main()
