#!/usr/bin/env python3
"""Draws the figures of a sweep's report, as PNG and SVG.

    plot_sweep.py REPORT_DIRECTORY     reads analysis.json there, writes figures/*.svg and figures/*.png

`engram sweep report` calls it. Needs matplotlib (Debian, Ubuntu: python3-matplotlib).
"""
import json
import math
import pathlib
import sys
import textwrap

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "engram", "font.size": 9, "axes.grid": True,
                        "grid.alpha": 0.3, "figure.figsize": (6.4, 4.0), "savefig.bbox": "tight"})


def draw_points(axes, points, key="loss", **style):
    """Every seed as a dot, means with the deviation over seeds as bars."""
    for point in points:
        values = point[key]["values"]
        axes.plot([point["x"]] * len(values), values, ".", color="0.65", markersize=4, zorder=1)
    points = [point for point in points if point[key]["values"]]
    bars = [point[key]["deviation"] or 0 for point in points]
    axes.errorbar([p["x"] for p in points], [p[key]["mean"] for p in points], yerr=bars, capsize=2, zorder=3, **style)


def draw_fit(axes, fit, low, label, **style):
    steps = [low + (1 - low) * i / 200 for i in range(201)]
    axes.plot(steps, [fit["a"] * x * x + fit["b"] * x + fit["c"] for x in steps], label=label, **style)


def minimum_text(fit):
    return f"minimum {fit['minimum']:.2f}" if fit["a"] > 0 else "no minimum"


def interval_text(interval):
    return f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else ""


def allocation_figure(budget):
    figure, axes = pyplot.subplots()
    draw_points(axes, budget["curve"], fmt="o", color="C0", markersize=4, label="mean, deviation over seeds")
    low = min(point["x"] for point in budget["curve"])
    if "all" in budget:
        fit = budget["all"]
        draw_fit(axes, fit, low, f"fit, {minimum_text(fit)}", color="C0", linewidth=1)
        interval = fit["minimum_by_seeds"]
        if fit["a"] > 0 and interval and None not in interval:
            axes.axvspan(*interval, color="C0", alpha=0.12, label="minimum, 95 % over seeds")
    if "without_pure" in budget:
        fit = budget["without_pure"]
        label = f"without ratio 1, {minimum_text(fit)}"
        draw_fit(axes, fit, low, label, color="C1", linestyle="--", linewidth=1)
    axes.set(xlabel="share of the sparse parameters in experts", ylabel="validation loss, nats per token",
             title=f"{budget['sweep']}, budget {budget['budget']:g}")
    axes.legend(fontsize=7)
    return figure


def controls_figure(budget):
    """Each control against the point of the curve that it changes."""
    points = [point for point in budget["controls"] if "to_unchanged" in point][::-1]
    figure, axes = pyplot.subplots(figsize=(6.4, 1.2 + 0.25 * len(points)))
    for row, point in enumerate(points):
        change = point["to_unchanged"]
        axes.plot(change["pairs"], [row] * len(change["pairs"]), ".", color="0.65", markersize=4, zorder=1)
        low, high = change["interval"] or [change["mean"]] * 2
        bars = [[max(0, change["mean"] - low)], [max(0, high - change["mean"])]]  # rounding may leave less
        axes.errorbar(change["mean"], row, xerr=bars, fmt="o", color="C0", markersize=4, capsize=2, zorder=3)
    axes.axvline(0, color="0.2", linewidth=0.6)
    axes.set_yticks(range(len(points)), [textwrap.fill(point["label"], 40) for point in points], fontsize=7)
    axes.set(xlabel="loss minus that of the unchanged point: seeds, mean, 95 % over seeds",
             title=f"{budget['sweep']}, budget {budget['budget']:g}")
    return figure


def time_figure(budget):
    """The same trials at the time when the pure MoE of their seed had finished."""
    figure, axes = pyplot.subplots()
    draw_points(axes, budget["curve"], fmt="o-", color="C0", markersize=4, label="equal tokens")
    draw_points(axes, budget["curve"], "equal_time", fmt="s--", color="C3", markersize=4, label="equal wall-clock time")
    axes.set(xlabel="share of the sparse parameters in experts", ylabel="validation loss, nats per token",
             title=f"{budget['sweep']}: equal tokens and equal time")
    axes.legend(fontsize=7)
    return figure


def memory_figure(budget, published):
    """The curve and each control over the tables' size, with their lines."""
    figure, axes = pyplot.subplots()
    for number, fit in enumerate(budget["log_linear"]):
        color, name = f"C{number}", textwrap.fill(fit["control"] or "the curve", 40)
        points = [p for p in budget["curve"] + budget["controls"] if p["control"] == fit["control"] and p["x"] > 0]
        draw_points(axes, points, fmt="o", color=color, markersize=4, label=f"{name}: mean, deviation over seeds")
        ends = [points[0]["x"], points[-1]["x"]]
        losses = [fit["intercept"] + fit["slope"] * math.log10(x) for x in ends]
        axes.plot(ends, losses, color=color, linewidth=1,
                  label=f"slope {fit['slope']:.4f} per decade{interval_text(fit['slope_by_seeds'])}")
        if not fit["control"]:
            slope = published["memory_fit"]["slope"]
            half = slope * math.log10(ends[1] / ends[0]) / 2
            axes.plot(ends, [sum(losses) / 2 - half, sum(losses) / 2 + half], color="0.4", linewidth=0.8,
                      linestyle="--", label=f"published slope, {slope:.4f}")
    if "pure" in budget:
        axes.axhline(budget["pure"]["mean"], color="0.4", linestyle=":", label="no tables")
    axes.set(xscale="log", xlabel="table parameters", ylabel="validation loss, nats per token",
             title=f"{budget['sweep']}, budget {budget['budget']:g}")
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    return figure


def comparison_figure(budgets, published):
    """Losses relative to ratio 1, beside the published ones."""
    figure, axes = pyplot.subplots()
    for budget in budgets:
        points = [(p["x"], p["to_pure"]["mean"], p["to_pure"]["interval"]) for p in budget["curve"] if "to_pure" in p]
        if not points:
            continue
        bars = [[y - (i[0] if i else y) for _, y, i in points], [(i[1] if i else y) - y for _, y, i in points]]
        axes.errorbar([p[0] for p in points], [p[1] for p in points], yerr=bars, fmt="o-", markersize=3, capsize=2,
                      label=f"{budget['sweep']}, {budget['budget']:g}")
    for name in ("2e20", "6e20"):
        points = published[name]
        axes.plot([p[0] for p in points], [p[1] - points[-1][1] for p in points], ":", marker="x", markersize=4,
                  color="0.4", label=f"published, {name} FLOPs")
    axes.axhline(0, color="0.2", linewidth=0.6)
    axes.set(xlabel="share of the sparse parameters in experts", ylabel="loss minus that at ratio 1",
             title="beside the published points (arXiv:2601.07372; one run each)")
    axes.legend(fontsize=7)
    return figure


def main():
    directory = pathlib.Path(sys.argv[1])
    analysis = json.loads((directory / "analysis.json").read_text(encoding="utf-8"))
    output = directory / "figures"
    output.mkdir(exist_ok=True)
    figures = {}
    curves = []
    for number, budget in enumerate(analysis["budgets"], 1):
        if budget.get("log_linear"):
            figures[f"{number:02d}_memory"] = memory_figure(budget, analysis["published"])
        elif budget["kind"] != "memory" and len(budget["curve"]) > 1:
            curves.append(budget)
            figures[f"{number:02d}_allocation"] = allocation_figure(budget)
            if any(point["equal_time"]["values"] for point in budget["curve"]):
                figures[f"{number:02d}_equal_time"] = time_figure(budget)
        if any("to_unchanged" in point for point in budget["controls"]):
            figures[f"{number:02d}_controls"] = controls_figure(budget)
    if curves:
        figures["99_published"] = comparison_figure(curves, analysis["published"])
    for name, figure in figures.items():
        figure.savefig(output / f"{name}.svg", metadata={"Date": None})
        figure.savefig(output / f"{name}.png", dpi=150)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
