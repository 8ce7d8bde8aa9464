#!/usr/bin/env python3
"""Checks the sizes of functions, files, lines, parameter lists and headers' include lists.

    check_sizes.py [ROOT]       prints each one that is too long as file:line: what; exit code 1 if there is one

What has to be longer says why: a comment line that starts with `// Long because` (`# Long because` in scripts)
  - directly above a function or in the first line of its body: for its length and its parameters
  - in the first comment of a file: for its length and its includes
Generated files (*.inc) are exempt.
"""
import ast
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cpp_functions  # noqa: E402

MAX_FUNCTION_LINES = 45
MAX_KERNEL_LINES = 120
MAX_FILE_LINES = 400
MAX_CUDA_FILE_LINES = 250
MAX_LINE = 120
MAX_INCLUDES = 8
MAX_PARAMETERS = 5
MAX_README_LINES = {True: 150, False: 60}  # at the root; in a folder

# Parameters that every op and module has, and the tensors an op works on: they are not counted.
UNCOUNTED_PARAMETER = re.compile(
    r"^(const )?(engram::)?(Stream|CpuQueue|CudaQueue|Context|Arena|Tensor|HeadSlice)&( \w+)?$")

FOLDERS = ("kernels", "parallel", "data", "model", "trainer", "tests", "scripts", "configs", "docs", ".ci")
CPP = {".h", ".cpp", ".cu", ".cuh"}
OTHER = {".py", ".sh", ".sbatch", ".cmake", ".yaml", ".txt"}
LONG = re.compile(r"^\s*(//|#) Long because \S")


def says_why(lines, function):
    """Whether the comment above a function or the first line of its body gives the reason for its length."""
    number = function.first_line - 2
    while number >= 0 and lines[number].lstrip().startswith("//"):
        if LONG.match(lines[number]):
            return True
        number -= 1
    body = lines[function.brace_line : function.brace_line + 1]
    return bool(body and LONG.match(body[0]))


def file_says_why(lines):
    """Whether the first comment of a file gives the reason for its length."""
    for number, line in enumerate(lines):
        if re.match(r"\s*(//|#(?!!|include|pragma))", line):
            while number < len(lines) and re.match(r"\s*(//|#)", lines[number]):
                if LONG.match(lines[number]):
                    return True
                number += 1
            return False
    return False


def check_functions(lines):
    """(line, message) of each C++ function that is too long or takes too much."""
    for function in cpp_functions.functions("\n".join(lines)):
        if says_why(lines, function):
            continue
        length = function.last_line - function.first_line + 1
        limit = MAX_KERNEL_LINES if function.is_kernel else MAX_FUNCTION_LINES
        if length > limit:
            yield function.first_line, f"{function.name} has {length} lines; at most {limit}"
        counted = [p for p in function.parameters if not UNCOUNTED_PARAMETER.match(p)]
        if len(counted) > MAX_PARAMETERS:
            yield function.first_line, f"{function.name} has {len(counted)} parameters; at most {MAX_PARAMETERS}"


def check_python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {length} lines; at most {MAX_FUNCTION_LINES}"


def check_file(path):
    """(line, message) of everything in `path` that is too long."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            yield number, f"the line has {len(line)} characters; at most {MAX_LINE}"
    if path.suffix == ".py":
        yield from check_python_functions(text)
    if path.suffix in CPP:
        yield from check_functions(lines)
    if file_says_why(lines):
        return
    limit = MAX_CUDA_FILE_LINES if path.suffix == ".cu" else MAX_FILE_LINES
    if len(lines) > limit:
        yield 1, f"the file has {len(lines)} lines; at most {limit}"
    includes = sum(1 for line in lines if re.match(r"\s*#\s*include\b", line))
    if path.suffix in {".h", ".cuh"} and includes > MAX_INCLUDES:
        yield 1, f"the header has {includes} includes; at most {MAX_INCLUDES}"


def check_readmes(root):
    for path in [root / "README.md", *(p for folder in FOLDERS for p in sorted((root / folder).rglob("README.md")))]:
        if path.is_file():
            length, limit = len(path.read_text(encoding="utf-8").splitlines()), MAX_README_LINES[path.parent == root]
            if length > limit:
                yield f"{path.relative_to(root)}:1: the page has {length} lines; at most {limit}"


def check(root):
    """Everything below `root` that is too long, as messages."""
    wrong = []
    paths = [p for folder in FOLDERS for p in sorted((root / folder).rglob("*")) if p.suffix in CPP | OTHER]
    for path in [*paths, root / "CMakeLists.txt"]:
        # Sample texts and golden files are data.
        if path.is_file() and not (path.suffix == ".txt" and path.name != "CMakeLists.txt"):
            wrong += [f"{path.relative_to(root)}:{line}: {message}" for line, message in check_file(path)]
    return wrong + list(check_readmes(root))


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    if not (root / "kernels").is_dir():
        sys.exit(f"check_sizes: {root.resolve()} has no folder kernels/; run it in the root of the repository")
    wrong = check(root)
    print("\n".join(wrong) if wrong else "sizes: nothing is too long")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
