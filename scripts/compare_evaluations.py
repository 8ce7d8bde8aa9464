#!/usr/bin/env python3
"""Paired differences of two evaluations of the same tasks.

  scripts/compare_evaluations.py A.jsonl B.jsonl     files of `engram eval --tasks ... --items`

Prints, for each task and measure, A, B and A - B with a 95 % interval: percentiles of 2,000 resamples of the items,
each drawn with both of its results. Where the interval excludes 0 the line ends with *.
"""
import argparse
import json
import math
import random
import sys

RESAMPLES = 2000


def least(costs):
    return min(range(len(costs)), key=costs.__getitem__)


def is_right(item):
    return least(item["nats"]) == item["answer"]


def is_right_by_bytes(item):
    return least([nats / size for nats, size in zip(item["nats"], item["bytes"])]) == item["answer"]


def nats_per_token(item):
    return item["nats"][0], item["tokens"][0]


def within(rank):
    return lambda item: (item["worst_rank"][0] <= rank, 1)


# Each measure of a kind: its name, and what an item adds above and below the line of a ratio.
MEASURES = {
    "loss": {"nats_per_token": nats_per_token},
    "last_word": {"accuracy": within(1), "nats_per_word": lambda item: (item["nats"][0], 1)},
    "choice": {
        "accuracy": lambda item: (is_right(item), 1),
        "accuracy_norm": lambda item: (is_right_by_bytes(item), 1),
    },
    "cloze": {"p_at_1": within(1), "p_at_10": within(10), "nats_per_token": nats_per_token},
}


def read(path):
    """{task: its items}"""
    tasks = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            item = json.loads(line)
            tasks.setdefault(item["task"], []).append(item)
    return tasks


def check_same_items(task, a, b):
    same = [(item["tokens"], item["bytes"], item["answer"]) for item in a]
    if same != [(item["tokens"], item["bytes"], item["answer"]) for item in b]:
        sys.exit(f"{task}: the two files hold different items; wanted the same tasks, samples and tokenizer")


def ratio(pairs):
    return sum(above for above, _ in pairs) / sum(below for _, below in pairs)


def interval(a, b):
    """Of ratio(a) - ratio(b), resampled together."""
    draw = random.Random(0)
    differences = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(range(len(a)), k=len(a))
        differences.append(ratio([a[i] for i in chosen]) - ratio([b[i] for i in chosen]))
    differences.sort()
    return differences[math.floor(0.025 * RESAMPLES)], differences[math.ceil(0.975 * RESAMPLES) - 1]


def main():
    parser = argparse.ArgumentParser(description="Paired differences of two evaluations of the same tasks.")
    parser.add_argument("a", metavar="A.jsonl")
    parser.add_argument("b", metavar="B.jsonl")
    arguments = parser.parse_args()
    first, second = read(arguments.a), read(arguments.b)
    row = "{:<20} {:>7} {:<15} {:>9} {:>9} {:>9}  {}"
    print(row.format("task", "items", "measure", "A", "B", "A - B", "95 % interval"))
    for task, items in first.items():
        check_same_items(task, items, second.get(task, []))
        for name, parts in MEASURES[items[0]["kind"]].items():
            a, b = ([parts(item) for item in of] for of in (items, second[task]))
            low, high = interval(a, b)
            text = f"{low:.4f} to {high:.4f}{' *' if low > 0 or high < 0 else ''}"
            values = (f"{ratio(a):.4f}", f"{ratio(b):.4f}", f"{ratio(a) - ratio(b):+.4f}")
            print(row.format(task, len(items), name, *values, text))


if __name__ == "__main__":
    main()
