"""Training steps on a GPU, from what tests/end_to_end/cuda_trace.cpp wrote: python3 scripts/step_timeline.py FILE

  CUDA_INJECTION64_PATH=build/cuda/tests/libengram_cuda_trace.so ENGRAM_TRACE=trace \\
    mpirun -np 2 build/cuda/engram bench step configs/bench/b_engram.yaml --set train.graphs=false
  python3 scripts/step_timeline.py trace.0

Prints, per step of the second half of the run: how long the computing stream had nothing to do, where threads of the
host waited, and what ran on other streams, with the share of that time in which the computing stream worked too. Then
one step with everything that the other streams did, in the order of time.
"""
import bisect
import collections
import re
import statistics
import sys

STEP_KERNEL = "control_kernel"  # runs once a step, on the stream that computes
ON_DEVICE = ("kernel", "copy", "zero")
LONG_GAP = 20e-3  # ms

Line = collections.namedtuple("Line", "kind begin end where name")


def short(name):
    """The function in a mangled name."""
    position = re.match(r"_ZN?K?", name)
    if not position:
        return name
    rest, found = name[position.end():], []
    while size := re.match(r"\d+", rest):
        end = size.end() + int(size[0])
        found.append(rest[size.end():end])
        rest = rest[end:]
    return found[-1] if found else name


def read(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            kind, begin, end, where, name = line.rstrip("\n").split("\t")
            yield Line(kind, int(begin) / 1e6, int(end) / 1e6, int(where), short(name))  # milliseconds


def length(line):
    return line.end - line.begin


def union(spans):
    """Spans that do not overlap, in order."""
    result = []
    for begin, end in sorted(spans):
        if result and begin <= result[-1][1]:
            result[-1][1] = max(result[-1][1], end)
        else:
            result.append([begin, end])
    return result


class Busy:
    """When a stream worked."""

    def __init__(self, spans):
        self.spans = union(spans)
        self.begins = [begin for begin, _ in self.spans]

    def within(self, begin, end):
        first = max(bisect.bisect_right(self.begins, begin) - 1, 0)
        total = 0.0
        for span_begin, span_end in self.spans[first:]:
            if span_begin >= end:
                break
            total += max(0.0, min(end, span_end) - max(begin, span_begin))
        return total


class Steps:
    def __init__(self, lines):
        marks = [line for line in lines if line.kind == "kernel" and line.name == STEP_KERNEL]
        if len(marks) < 4:
            sys.exit(f"{len(marks)} steps; wanted at least 4")
        self.stream = marks[-1].where
        self.edges = [mark.end for mark in marks[len(marks) // 2:]]
        self.count = len(self.edges) - 1
        begin, end = self.edges[0], self.edges[-1]
        self.lines = [line for line in lines if begin <= line.begin < end]
        self.compute = Busy([(line.begin, line.end) for line in lines if self.computes(line)])

    def computes(self, line):
        return line.kind in ON_DEVICE and line.where == self.stream

    def elsewhere(self, line):
        return line.kind in ON_DEVICE and line.where != self.stream

    def hidden(self, line):
        return self.compute.within(line.begin, line.end)


def print_table(heading, lines, steps):
    print(f"\n{'calls':>8} {'ms':>9} {'hidden':>7}  {heading}, per step")
    groups = collections.defaultdict(list)
    for line in lines:
        groups[line.name, f"thread {line.where}" if line.kind == "call" else f"stream {line.where}"].append(line)
    for (name, where), group in sorted(groups.items(), key=lambda item: -sum(map(length, item[1]))):
        total = sum(map(length, group))
        hidden = 100 * sum(map(steps.hidden, group)) / max(total, 1e-9)
        print(f"{len(group) / steps.count:>8.1f} {total / steps.count:>9.3f} {hidden:>6.1f}%  {name}, {where}")


def print_step(steps):
    begin, end = steps.edges[-2], steps.edges[-1]
    print("\none step: ms from its begin, on other streams or where the computing stream had nothing to do")
    events = [(line.begin, line.end, f"stream {line.where:<4} {line.name}, "
               f"{100 * steps.hidden(line) / max(length(line), 1e-9):.0f} % hidden")
              for line in steps.lines if steps.elsewhere(line) and begin <= line.begin < end]
    spans = [span for span in steps.compute.spans if span[1] > begin and span[0] < end]
    events += [(one[1], other[0], "computing stream idle") for one, other in zip(spans, spans[1:])
               if other[0] - one[1] > LONG_GAP]
    for event_begin, event_end, text in sorted(events):
        print(f"{event_begin - begin:>9.3f} {event_end - begin:>9.3f}  {text}")


def main():
    steps = Steps(list(read(sys.argv[1])))
    begin, end, count = steps.edges[0], steps.edges[-1], steps.count
    lengths = [after - before for before, after in zip(steps.edges, steps.edges[1:])]
    idle = end - begin - steps.compute.within(begin, end)
    print(f"{count} steps of {statistics.median(lengths):.3f} ms; stream {steps.stream} computes, "
          f"{idle / count:.3f} ms of a step it has nothing to do ({100 * idle / (end - begin):.2f} %)")
    print_table("waits of the host", [line for line in steps.lines if line.kind == "wait"], steps)
    print_table("calls that take or free memory, or copy at once",
                [line for line in steps.lines if line.kind == "call"], steps)
    print_table("copies", [line for line in steps.lines if line.kind == "copy"], steps)
    print_table("on other streams", [line for line in steps.lines if steps.elsewhere(line)], steps)
    print_step(steps)


if __name__ == "__main__":
    main()
