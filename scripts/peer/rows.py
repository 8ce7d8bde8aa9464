#!/usr/bin/env python3
"""The row path as a PyTorch user writes it, measured as `engram bench table` and `engram bench exchange` do.

    rows.py table [--rows N] [--width N] [--rows-per-token N] [--tokens N] [--zipf X | --ids FILE] [--json FILE]
    torchrun --nproc-per-node 2 rows.py exchange [the same but for --ids]

table: nn.Embedding in float32, trained by SparseAdam from sparse gradients, and by fused Adam from dense ones.
exchange: rows of a table that is divided over the cards, asked for and sent by all_to_all_single, as they are requested
and each distinct one once. Same shapes and the same distribution of rows as ours, or the very rows that
`engram bench table CONFIG --ids FILE` wrote; random values.
"""
import argparse
import itertools
import math
import os

import numpy
import torch
import torch.distributed as dist
from torch import nn

import measure

GOLDEN_ODD = 0x9E3779B97F4A7C15 - (1 << 64)  # as int64
POSITIVE = (1 << 63) - 1
COPIED_BYTES = 1 << 31
BATCHES = 2


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "exchange"))
    parser.add_argument("--rows", type=int, help="of the table; as many as fill 20 GiB in float32")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rows-per-token", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=65536, help="of one card")
    parser.add_argument("--zipf", type=float, default=1.0, help="exponent; 0 is uniform")
    parser.add_argument("--ids", metavar="FILE", help="rows of both batches, instead of --zipf")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    args.label = f"zipf {args.zipf:g}"
    if args.ids:
        take_ids(parser, args)
    args.rows = args.rows or (20 << 30) // (4 * args.width)
    return args


def take_ids(parser, args):
    if args.what == "exchange":
        parser.error("--ids has the rows of one rank; wanted rows.py table")
    ids = torch.from_numpy(numpy.fromfile(args.ids, numpy.int64))
    args.label, args.ids = args.ids, ids.view(BATCHES, -1).cuda()
    args.rows, args.tokens = int(ids.max()) + 1, args.ids.size(1) // args.rows_per_token


def requests(args, seed):
    """Rows that the tokens of a step ask for: those of --ids, or by the rule of trainer/bench_rows.h."""
    if args.ids is not None:
        return args.ids[seed]
    generator = torch.Generator(device="cuda").manual_seed(seed)
    end = args.rows // args.rows_per_token
    u = torch.rand(args.tokens, args.rows_per_token, device="cuda", dtype=torch.float64, generator=generator)
    power = 1 - args.zipf
    x = (u * math.log(end + 1)).exp() if power == 0 else (1 + u * ((end + 1) ** power - 1)) ** (1 / power)
    rank = (x.long() - 1).clamp(0, end - 1)
    mixed = rank * GOLDEN_ODD
    mixed = (mixed ^ mixed >> 32 & 0xFFFFFFFF) & POSITIVE  # int64 shifts its sign in
    return (torch.arange(args.rows_per_token, device="cuda") * end + mixed % end).flatten()


class Report:
    """Prints and records stages: their times, and their rates beside a limit of the same run."""

    def __init__(self, args, kind, fields):
        world_size = dist.get_world_size() if dist.is_initialized() else 1
        self.json, self.limits = args.json, {}
        self.fields = {**measure.machine(world_size), "kind": kind, "ids": args.label,
                       "rows_per_table": [args.rows], "width": args.width, "tokens": args.tokens,
                       "rows_per_token": args.rows_per_token, **fields}
        self.prints = not dist.is_initialized() or dist.get_rank() == 0
        if self.prints:
            print(f"\n{args.rows} rows of {args.width}, {args.tokens} tokens x {args.rows_per_token} rows by "
                  f"{args.label}: {fields}\n{'median ms':>10} {'p10':>10} {'p90':>10} {'rate':>11} {'limit':>11} "
                  f"{'share':>7}  stage")

    def stage(self, name, num_bytes, limit, call):
        times = measure.spread(measure.times_per_call(call, launches=5))
        rate, best = num_bytes / times["median"], limit(num_bytes)
        if not self.prints:
            return
        milliseconds = " ".join(f"{times[name] * 1e3:10.4f}" for name in ("median", "p10", "p90"))
        print(f"{milliseconds} {rate / 1e9:7.0f}GB/s {best / 1e9:7.0f}GB/s {100 * rate / best:6.1f}%  {name}",
              flush=True)
        if self.json:
            measure.append(self.json, {**self.fields, "name": name, "unit": "seconds", **times, "bytes": num_bytes,
                                       "limit_bytes_per_second": best})


def copy_rate(num_bytes):
    source = torch.randn(int(min(num_bytes, COPIED_BYTES)) // 8, device="cuda")
    target = torch.empty_like(source)
    return 8 * source.numel() / measure.seconds_per_call(lambda: target.copy_(source))


def table(args):
    ids = [requests(args, seed) for seed in range(BATCHES)]
    turns = itertools.cycle(ids)
    row = 4 * args.width
    n, u = ids[0].numel(), sum(batch.unique().numel() for batch in ids) // BATCHES
    report = Report(args, "table", {"unique": u, "values": "float32"})
    grads = torch.randn(n, args.width, device="cuda")
    embedding = nn.Embedding(args.rows, args.width, sparse=True, device="cuda")
    with torch.no_grad():
        report.stage("unique with inverse", 16 * n + 8 * u, copy_rate, lambda: next(turns).unique(return_inverse=True))
        report.stage("gather of the requests", n * (8 + row) + u * row, copy_rate, lambda: embedding(next(turns)))

    def step(optimizer):
        optimizer.zero_grad(set_to_none=True)
        embedding(next(turns)).backward(grads)
        optimizer.step()

    # Rows out and their gradients in; of each distinct row, weight, two moments and (ours) a count of updates in place.
    path = 2 * n * row + u * (row + 6 * row + 8)
    optimizer = torch.optim.SparseAdam(embedding.parameters(), betas=(0.9, 0.95))
    report.stage("whole path, sparse gradient and SparseAdam", path, copy_rate, lambda: step(optimizer))
    embedding.sparse, embedding.weight.grad, optimizer = False, None, None
    optimizer = torch.optim.Adam(embedding.parameters(), betas=(0.9, 0.95), fused=True)
    report.stage("whole path, dense gradient and fused Adam", path, copy_rate, lambda: step(optimizer))


def all_to_all_rate(num_bytes):
    size = dist.get_world_size()
    count = torch.tensor([int(num_bytes) // (4 * (size - 1))], device="cuda")
    dist.all_reduce(count, dist.ReduceOp.MAX)
    sent = torch.randn(size * int(count), device="cuda")
    received = torch.empty_like(sent)
    return 4 * (size - 1) * int(count) / measure.seconds_per_call(lambda: dist.all_to_all_single(received, sent))


class Shards:
    """Rows r of the table with r % size == rank, in bfloat16."""

    def __init__(self, args):
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.weight = torch.randn(-(-args.rows // self.size), args.width, device="cuda", dtype=torch.bfloat16)

    def fetch(self, ids):
        """The rows of ids, in their order."""
        order = torch.argsort(ids % self.size, stable=True)
        counts = torch.bincount(ids % self.size, minlength=self.size)
        asked = torch.empty_like(counts)
        dist.all_to_all_single(asked, counts)
        send, receive = counts.tolist(), asked.tolist()
        slots = torch.empty(sum(receive), device="cuda", dtype=torch.int64)
        dist.all_to_all_single(slots, ids[order] // self.size, receive, send)
        rows = torch.empty(ids.numel(), self.weight.size(1), device="cuda", dtype=self.weight.dtype)
        dist.all_to_all_single(rows, self.weight[slots], send, receive)
        result = torch.empty_like(rows)
        result[order] = rows
        return result

    def fetch_unique(self, ids):
        unique, inverse = ids.unique(return_inverse=True)
        return self.fetch(unique)[inverse]


def exchange(args):
    local = int(os.environ["LOCAL_RANK"])
    torch.cuda.set_device(local)
    dist.init_process_group("nccl", device_id=torch.device("cuda", local))
    shards = Shards(args)
    ids = requests(args, dist.get_rank())
    unique = ids.unique()
    row = 2 * args.width
    remote = int((unique % shards.size != shards.rank).sum()) * row
    remote_requests = int((ids % shards.size != shards.rank).sum()) * row
    report = Report(args, "exchange", {"unique": unique.numel(), "values": "bfloat16"})
    report.stage("plan and fetch, every request", remote_requests, all_to_all_rate, lambda: shards.fetch(ids))
    report.stage("plan and fetch, unique first", remote, all_to_all_rate, lambda: shards.fetch_unique(ids))
    dist.destroy_process_group()


def main():
    args = arguments()
    if args.what == "table":
        table(args)
    else:
        exchange(args)


if __name__ == "__main__":
    main()
