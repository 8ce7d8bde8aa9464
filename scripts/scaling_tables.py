"""Tables in Markdown from the results of scripts/scaling.sh: python3 scripts/scaling_tables.py results.jsonl"""
import collections
import json
import statistics
import sys


def table(heading, columns, rows):
    if not rows:
        return
    print(f"\n{heading}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


class Steps:
    """Lines of `bench step` that share a name and a number of devices, one for each run."""

    def __init__(self, lines):
        self.first = lines[0]
        self.seconds = statistics.median(line["median"] for line in lines)
        self.flops = self.first["flops_per_token"]
        self.memory = max(line["memory_bytes"] for line in lines) / 2**30
        self.losses = lines[-1]["losses"]
        self.rate = self.first["tokens_per_step"] / self.seconds
        self.share = self.flops * self.rate / self.first["devices"] / 989e12

    def cells(self):
        return [f"{self.rate / 1e3:.1f}k", f"{100 * self.share:.1f} %", f"{1e3 * self.seconds:.1f}",
                f"{self.memory:.1f}"]


VERSIONS = ("driver", "cuda", "nccl", "commit")
CELLS = ["tok/s", "of 989 TFLOP/s", "step, ms", "GiB of a GPU"]


def plain(steps, prefix):
    return [[name.removeprefix(prefix), devices, *run.cells()] for (name, devices), run in sorted(steps.items())
            if name.startswith(prefix)]


def scaling(steps, prefix):
    """Beside one GPU, whose step is cut by as much as a GPU of several has less to do."""
    rows = plain(steps, prefix)
    for row in rows:
        run, one = steps[prefix + row[0], row[1]], steps.get((prefix + row[0], 1))
        if one:
            efficiency = run.rate / one.rate / row[1]
            row += [f"{100 * efficiency:.1f} %", f"{1e3 * run.seconds * (1 - efficiency):.1f}"]
    return rows


def beyond_flops(steps, models):
    """What a step with tables takes longer than its FLOPs take at the rate of the step without."""
    for (name, devices), run in sorted(steps.items()):
        without = steps.get(("weak_b", devices))
        if name != "weak_b_tables" or without is None:
            continue
        flops = run.flops / without.flops
        model = models.get((name, devices))
        yield [devices, f"{1e3 * without.seconds:.2f}", f"{1e3 * run.seconds:.2f}", f"{100 * (flops - 1):.2f} %",
               f"{100 * (run.seconds / without.seconds - flops):.2f} %", f"{model['exposed']} %" if model else "-"]


def exchange(lines, models):
    for line in lines:
        stage = line["name"]
        model = models.get((f"exchange_{line['tokens']}", line["devices"]), {})
        modelled = model.get({"fetch": "fetch", "gradient return": "return"}.get(stage), "-")
        rate, limit = line["bytes"] / line["median"] / 1e9, line["limit_bytes_per_second"] / 1e9
        yield [line["devices"], line["tokens"], stage, f"{line['bytes'] / 1e6:.2f}", f"{1e3 * line['median']:.3f}",
               modelled, f"{rate:.1f}", f"{limit:.1f}", f"{100 * rate / limit:.0f} %"]


def main():
    groups = collections.defaultdict(list)
    kinds = collections.defaultdict(list)
    with open(sys.argv[1], encoding="utf-8") as results:
        for line in map(json.loads, results):
            kinds[line["kind"]].append(line)
            groups[line["kind"], line["name"], line["devices"]].append(line)
    measured = kinds["step"] + kinds["exchange"]
    if not measured:
        sys.exit(f"{sys.argv[1]}: no measurement")
    steps = {key[1:]: Steps(lines) for key, lines in groups.items() if key[0] == "step"}
    models = {key[1:]: lines[-1] for key, lines in groups.items() if key[0] == "model"}
    first = measured[0]
    print(", ".join([first["device"], *(f"{key} {first[key]}" for key in VERSIONS if key in first)]))
    over_one = ["configuration", "GPUs", *CELLS, "over GPUs times one", "ms that are not work of one GPU"]
    table("Weak scaling: as many tokens on each GPU", over_one, scaling(steps, "weak_"))
    table("Steps without tables, and with tables on each GPU",
          ["GPUs", "step without, ms", "step with, ms", "FLOPs", "beyond its FLOPs", "exchange, modelled"],
          list(beyond_flops(steps, models)))
    table("Strong scaling: as many tokens on all GPUs", over_one, scaling(steps, "strong_"))
    table("Exchange of rows",
          ["GPUs", "tokens", "stage", "MB to others", "ms", "modelled, ms", "GB/s", "all-to-all, GB/s", "share"],
          list(exchange(kinds["exchange"], models)))
    table("Experts shared by GPUs", ["configuration, GPUs that share", "GPUs", *CELLS],
          plain(steps, "experts_"))
    table("The published model", ["configuration", "GPUs", *CELLS], plain(steps, "published_"))
    table("Losses", ["run", "GPUs", "steps", "first", "last"],
          [[name, devices, len(run.losses), f"{run.losses[0]:.4f}", f"{run.losses[-1]:.4f}"]
           for (name, devices), run in sorted(steps.items())])


if __name__ == "__main__":
    main()
