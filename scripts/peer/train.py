#!/usr/bin/env python3
"""Trains one of our configurations with PyTorch and measures it as `engram bench step` does.

    train.py CONFIG [--set KEY=VALUE]... [--dump DIR] [--steps N] [--warmup N] [--json FILE]
                    [--validation DIR --validate-every STEPS]
    torchrun --nproc-per-node 2 train.py CONFIG ...

Same model, batch, optimizer and precision as ours: bfloat16 activations and products, float32 weights and moments.
--dump takes initial weights and samples from `engram bench dump`; otherwise both are random.
"""
import argparse
import contextlib
import os
import time

import torch

import measure
from configuration import learning_rate_ratio, load, training_flops_per_token
from data import Dump, Loader, RandomData, load_weights
from model import LanguageModel


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
    parser.add_argument("--dump", metavar="DIR")
    parser.add_argument("--steps", type=int, default=20, help="measured steps")
    parser.add_argument("--warmup", type=int, default=10, help="steps before them")
    parser.add_argument("--compile", choices=("model", "blocks", "no"), default="model", help="what is compiled as one")
    parser.add_argument("--mode", default="default", help="of torch.compile: default, reduce-overhead (CUDA graphs), "
                                                          "max-autotune-no-cudagraphs")
    parser.add_argument("--weights", choices=("float32", "bfloat16"), default="float32",
                        help="of the model; bfloat16 keeps float32 masters in the optimizer")
    parser.add_argument("--validation", metavar="DIR", help="dump of held-out samples; with --validate-every")
    parser.add_argument("--validate-every", type=int, default=0, metavar="STEPS", help="0: never; one card")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.validate_every > 0 and (not args.validation or int(os.environ.get("WORLD_SIZE", 1)) > 1):
        parser.error("--validate-every wants --validation, and one card")
    return args


class Optimizer:
    """Fused AdamW; tables with their own rate and without decay, by dense Adam. With bfloat16 weights it updates
    float32 masters, and writes the weights from them; tables stay float32."""

    def __init__(self, model, config, with_masters):
        self.config = config
        self.weights = list(model.parameters())
        tables = {id(p) for p in model.tables()}
        self.masters = [self.master(p) if with_masters and id(p) not in tables else p for p in self.weights]
        owned = list(zip(self.weights, self.masters))
        dense = self.group(config.optimizer.dense, [m for p, m in owned if id(p) not in tables])
        table = self.group(config.optimizer.table, [m for p, m in owned if id(p) in tables])
        dense["weight_decay"] = config.optimizer.dense.weight_decay
        self.adam = torch.optim.AdamW([dense, table] if tables else [dense], lr=config.optimizer.dense.lr, fused=True)
        self.rates = [config.optimizer.dense.lr, config.optimizer.dense.lr * config.optimizer.table.lr_mult]
        self.updates = 0

    @staticmethod
    def master(weight):
        copy = weight.detach().clone().requires_grad_()
        weight.data = weight.data.to(torch.bfloat16)
        return copy

    @staticmethod
    def group(options, parameters):
        return {"params": parameters, "betas": (options.beta1, options.beta2), "eps": options.eps, "weight_decay": 0.0}

    def step(self):
        self.updates += 1
        ratio = learning_rate_ratio(self.config.optimizer.schedule, self.updates)
        for group, rate in zip(self.adam.param_groups, self.rates):
            group["lr"] = rate * ratio
        copies = [(m, w) for m, w in zip(self.masters, self.weights) if m is not w]
        for master, weight in copies:
            master.grad = weight.grad.float()
        if self.config.optimizer.clip.norm > 0:
            torch.nn.utils.clip_grad_norm_(self.masters, self.config.optimizer.clip.norm, foreach=True)
        self.adam.step()
        if copies:
            torch._foreach_copy_([w.data for _, w in copies], [m.data for m, _ in copies])
        for parameter in self.weights + self.masters:
            parameter.grad = None


def build(config, args, data, device):
    model = LanguageModel(config.model, config.data.seq_len, data.multipliers, data.compressed_ids).to(device)
    model.reset(config.run.seed)
    if args.dump:
        load_weights(model, data)
    optimizer = Optimizer(model, config, args.weights == "bfloat16")
    if args.compile == "blocks":
        for block in model.blocks:
            block.compile(mode=args.mode)
        if model.addresses is not None:
            model.addresses.compile(mode=args.mode)
        model.loss = torch.compile(model.loss, mode=args.mode)
    return model, optimizer


def parallel(model, args, local_rank, world_size):
    """What is called in every step: the model, for several cards in DDP, compiled as a whole where asked for."""
    if world_size > 1:
        model = torch.nn.parallel.DistributedDataParallel(
            model, device_ids=[local_rank], broadcast_buffers=False, gradient_as_bucket_view=True)
    return torch.compile(model, mode=args.mode) if args.compile == "model" else model


def train_step(model, called, optimizer, batch, world_size):
    """One optimizer step; returns the loss, still on the device."""
    total = 0
    for i, (tokens, starts) in enumerate(batch):
        last = i == len(batch) - 1
        with contextlib.nullcontext() if last or world_size == 1 else called.no_sync():
            torch.compiler.cudagraph_mark_step_begin()
            loss = called(tokens, starts) / len(batch)
            loss.backward()
        total = total + loss.detach().clone()
    optimizer.step()
    for mixture in model.mixtures():
        mixture.update_bias(world_size)
    return total


class Validation:
    """The loss over another dump's samples, as many as fill micro-batches, every so many steps."""

    def __init__(self, args, config, device):
        self.every = args.validate_every
        self.losses = []  # by step
        self.seconds = 0.0
        if args.validation:
            data = Dump(args.validation)
            count = data.manifest["samples"] // config.train.micro_batch * config.train.micro_batch
            self.parts = [part.to(device).split(config.train.micro_batch) for part in data.samples(0, count)]

    @torch.no_grad()
    def after(self, step, model, called):
        if self.every == 0 or step % self.every != 0:
            return
        torch.cuda.synchronize()
        begin = time.perf_counter()
        losses = [called(tokens.long(), starts).clone() for tokens, starts in zip(*self.parts)]
        self.losses.append((step, torch.stack(losses).mean().item()))
        for mixture in model.mixtures():
            mixture.load.zero_()
        self.seconds += time.perf_counter() - begin


def mark():
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def measure_steps(args, model, called, optimizer, loader, validation, world_size):
    """Times without validations, and the loss of every step."""
    losses, marks, begin = [], [], 0.0
    for i in range(args.warmup + args.steps):
        if i == args.warmup:
            torch.cuda.synchronize()
            begin, validation.seconds = time.perf_counter(), 0.0
        marks.append(mark())
        losses.append(train_step(model, called, optimizer, loader.next(), world_size))
        marks.append(mark())
        validation.after(i + 1, model, called)
    torch.cuda.synchronize()
    whole = (time.perf_counter() - begin - validation.seconds) / args.steps
    seconds = [a.elapsed_time(b) / 1e3 for a, b in zip(marks[::2], marks[1::2])]
    return {**measure.spread(seconds[args.warmup:]), "whole": whole}, torch.stack(losses)


def record_of(args, config, world_size, times, losses):
    tokens = config.train.global_batch * config.data.seq_len
    flops = training_flops_per_token(config.model, config.data.seq_len)
    free, card = torch.cuda.mem_get_info()
    record = {**measure.machine(world_size), "name": config.run.name, "config": args.config,
              "data": args.dump or "zipf", "compile": f"{args.compile}, {args.mode}", "weights": args.weights,
              "tokens_per_step": tokens, "flops_per_token": flops, "warmup": args.warmup, "steps": args.steps,
              "unit": "seconds", **times, "memory_bytes": card - free,
              "memory_allocated_bytes": torch.cuda.max_memory_allocated(), "losses": losses.tolist()}
    torch.cuda.empty_cache()
    record.update(measure.machine_rates())
    rate = tokens / times["median"]
    record["tokens_per_second"] = rate
    record["flops_per_second_per_device"] = rate * flops / world_size
    record["mfu"] = record["flops_per_second_per_device"] / measure.DATA_SHEET_FLOPS
    record["share_of_matmul"] = record["flops_per_second_per_device"] / record["matmul_flops_per_second"]
    return record


def main():
    args = arguments()
    config = load(args.config, args.sets)
    world_size, local_rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    torch.cuda.set_device(local_rank)
    torch.set_float32_matmul_precision("high")
    if world_size > 1:
        torch.distributed.init_process_group("nccl", device_id=torch.device("cuda", local_rank))
    data = Dump(args.dump) if args.dump else RandomData(config)
    model, optimizer = build(config, args, data, "cuda")
    called = parallel(model, args, local_rank, world_size)
    loader = Loader(data, config, local_rank, world_size, "cuda")
    validation = Validation(args, config, "cuda")
    times, losses = measure_steps(args, model, called, optimizer, loader, validation, world_size)
    if world_size > 1:
        torch.distributed.all_reduce(losses, torch.distributed.ReduceOp.AVG)
    if local_rank == 0:
        record = {**record_of(args, config, world_size, times, losses), "validation": validation.losses}
        measure.print_record(record)
        if args.json:
            measure.append(args.json, record)
    if world_size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
