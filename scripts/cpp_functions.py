"""Finds the functions of a C++ or CUDA file by counting braces. No compiler, no preprocessor: good enough for sizes."""
import re
from dataclasses import dataclass

BLANKED = re.compile(
    r"""//(?:\\\n|[^\n])*|/\*.*?\*/|R"([^(\s"]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'"""
    r"""|^[ \t]*\#(?:\\\n|[^\n])*""",
    re.DOTALL | re.MULTILINE,
)
SPECIFIERS = re.compile(r"\b(?:__launch_bounds__|__attribute__|alignas|decltype|requires|noexcept|explicit)\s*$")


@dataclass
class Function:
    name: str
    first_line: int  # of its head, counted from one
    brace_line: int  # of the brace that opens its body
    last_line: int
    parameters: list  # as written
    is_kernel: bool


def blank(text):
    """`text` with comments, strings and preprocessor lines replaced by spaces; the line breaks stay."""
    return BLANKED.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def closing(text, start):
    """Position of the bracket that closes the one at `start`."""
    depth = 0
    for position in range(start, len(text)):
        if text[position] in "({[":
            depth += 1
        elif text[position] in ")}]":
            depth -= 1
            if depth == 0:
                return position
    return len(text) - 1


def skip_angles(text, start):
    """Position after the `>` that closes the `<` at `start`; start + 1 where it is no bracket."""
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "<":
            depth += 1
        elif text[position] == ">" and text[position - 1] != "-":
            depth -= 1
            if depth == 0:
                return position + 1
        elif text[position] in "{;":
            break
    return start + 1


def top_level(head):
    """(position, character) of what stands in no bracket of `head`, angle brackets counted; `(` and `=` among them."""
    position = 0
    while position < len(head):
        yield position, head[position]
        if head[position] in "({[":
            position = closing(head, position)
        elif head[position] == "<":
            position = skip_angles(head, position) - 1
        position += 1


def split_parameters(text):
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] in "({[":
            position = closing(text, position)
        elif text[position] == "<":
            position = skip_angles(text, position) - 1
        elif text[position] == ",":
            parts.append(text[start:position])
            start = position + 1
        position += 1
    parts.append(text[start:])
    return [" ".join(part.split()) for part in parts if part.strip()]


def parse_head(head):
    """(name, parameters, whether the next brace is the initialiser of a member) of a function's head; None of another
    one's."""
    # Letters stand for the signs in an operator's name: same length, no brackets.
    head = re.sub(r"\boperator\s*(\(\s*\)|[^\s\w(]+)", lambda m: "operator" + "_" * (len(m[0]) - 8), head)
    arguments = None
    in_initialisers = False
    for position, char in top_level(head):
        if char == "=" and arguments is None:
            return None
        if char == "(" and arguments is None and not SPECIFIERS.search(head[:position]):
            arguments = (position, closing(head, position))
        if char == ":" and arguments and ":" not in (head[position - 1], head[position + 1 : position + 2]):
            in_initialisers = True
        if char == "=" and arguments and position > arguments[1] and not in_initialisers:
            return None
    name = re.search(r"([\w:~]+)\s*$", head[: arguments[0]]) if arguments else None
    if not name:
        return None
    next_is_member = in_initialisers and re.search(r"[\w>]\s*$", head) is not None
    return name[1], split_parameters(head[arguments[0] + 1 : arguments[1]]), next_is_member


def is_container(head):
    head = re.sub(r"^\s*template\s*<", "<", head)
    if head.lstrip().startswith("<"):
        head = head.lstrip()[skip_angles(head.lstrip(), 0) :]
    return re.match(r"\s*(inline\s+)?(namespace\b|extern\b\s*$|(typedef\s+)?(struct|class|union)\b)", head) is not None


def functions(text):
    """Every function defined in `text`, lambdas and local classes as part of the one they stand in."""
    code = blank(text)
    found = []
    position = start = 0
    while position < len(code):
        char = code[position]
        if char in "([":
            position = closing(code, position)
        elif char in ";}":
            start = position + 1
        elif char == "{":
            head = re.sub(r"\b(?:public|private|protected)\s*:(?!:)", lambda m: " " * len(m[0]), code[start:position])
            parsed = None if is_container(head) else parse_head(head)
            if is_container(head):
                start = position + 1
            else:
                end = closing(code, position)
                if parsed and not parsed[2]:
                    first = start + len(head) - len(head.lstrip())
                    found.append(
                        Function(
                            name=parsed[0],
                            first_line=code.count("\n", 0, first) + 1,
                            brace_line=code.count("\n", 0, position) + 1,
                            last_line=code.count("\n", 0, end) + 1,
                            parameters=parsed[1],
                            is_kernel="__global__" in head,
                        )
                    )
                    start = end + 1
                position = end
        position += 1
    return found
