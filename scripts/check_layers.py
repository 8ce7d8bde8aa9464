#!/usr/bin/env python3
"""Checks who includes whom: the layers of README.md, and libraries that belong to one folder.

    check_layers.py [ROOT]      prints each wrong include as file:line: reason; exit code 1 if there is one
"""
import pathlib
import re
import sys

# folder -> folders whose headers it may include
MAY_INCLUDE = {
    "kernels": {"kernels"},
    "parallel": {"parallel", "kernels"},
    "data": {"data", "kernels"},
    "model": {"model", "parallel", "kernels"},
    "trainer": {"trainer", "model", "data", "parallel", "kernels"},
    "tests": {"tests", "trainer", "model", "data", "parallel", "kernels"},
}

# start of a <...> include -> the folder that may name it; tests may name all of them
ONLY_BELOW = {
    r"cuda|cublas|cudnn|cutlass|cute/|cub/|thrust/|cooperative_groups|cblas|openblas": "kernels",
    r"nccl|mpi\.h": "parallel",
    r"hdf5|H5|pcre2|openssl|zlib|lzma|zstd": "data",
    r"yaml-cpp|CLI/": "trainer",
    r"gtest|gmock": "tests",
}

SOURCE_SUFFIXES = {".h", ".cpp", ".cu", ".cuh", ".inc"}


def wrong_include(folder, line, root):
    """Why `line` of a file in `folder` is wrong; None where it is fine."""
    if quoted := re.match(r'\s*#\s*include\s*"([^"]*)"', line):
        path = quoted[1]
        target = path.split("/")[0]
        if "/" not in path or target not in MAY_INCLUDE:
            return f'"{path}" is not a path from the root of the repository'
        if target not in MAY_INCLUDE[folder]:
            return f"{folder}/ may not include {target}/; it may include {', '.join(sorted(MAY_INCLUDE[folder]))}"
        if not (root / path).is_file():
            return f'"{path}" does not exist'
    elif angled := re.match(r"\s*#\s*include\s*<([^>]*)>", line):
        for pattern, only in ONLY_BELOW.items():
            if re.match(pattern, angled[1]) and folder not in (only, "tests"):
                return f"<{angled[1]}> may be included below {only}/ only"
    return None


def check(root):
    """All wrong includes below `root`, as messages."""
    wrong = []
    for folder in MAY_INCLUDE:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCE_SUFFIXES:
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if reason := wrong_include(folder, line, root):
                    wrong.append(f"{path.relative_to(root)}:{number}: {reason}")
    return wrong


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    if not (root / "kernels").is_dir():
        sys.exit(f"check_layers: {root.resolve()} has no folder kernels/; run it in the root of the repository")
    wrong = check(root)
    print("\n".join(wrong) if wrong else "layers: every include is allowed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
