"""Rates of the machine in this run, and the line of results; the same keys as `engram bench step --json`."""
import json
import subprocess
import sys

import torch

DATA_SHEET_FLOPS = 989e12


def times_per_call(call, launches=20, groups=9):
    """Seconds of a call in each of some groups of launches, as trainer/bench_timing.cpp does it."""
    for _ in range(3):
        call()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(groups + 1)]
    marks[0].record()
    for mark in marks[1:]:
        for _ in range(launches):
            call()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) / launches / 1e3 for a, b in zip(marks, marks[1:])]


def seconds_per_call(call):
    return spread(times_per_call(call))["median"]


def machine_rates():
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    c = torch.empty_like(a)
    matmul = 2 * 8192 ** 3 / seconds_per_call(lambda: torch.mm(a, b, out=c))
    source = torch.randn(128 << 20, device="cuda")
    target = torch.empty_like(source)
    copy = 2 * source.numel() * 4 / seconds_per_call(lambda: target.copy_(source))
    return {"matmul": "8192 x 8192, bfloat16", "matmul_flops_per_second": matmul, "copy_bytes_per_second": copy}


def shell(command):
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    return result.stdout.strip()


def commit():
    """Of the checkout, or of the bundle that scripts/bundle.sh made."""
    return (shell(f"git -C {sys.path[0]} describe --always --dirty")
            or shell(f"sed 's/.*commit //' {sys.path[0]}/../../VERSION") or "unknown")


def machine(num_devices):
    version = torch.backends.cudnn.version() or 0
    return {"kind": "step", "program": "pytorch", "device": torch.cuda.get_device_name(), "devices": num_devices,
            "driver": shell("nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1"),
            "cuda": torch.version.cuda, "cudnn": f"{version // 10000}.{version // 100 % 100}.{version % 100}",
            "nccl": ".".join(map(str, torch.cuda.nccl.version())), "version": torch.__version__,
            "commit": commit(),
            "command": " ".join(["python3"] + sys.argv)}


def spread(values):
    ordered = sorted(values)
    return {name: ordered[round(share * (len(ordered) - 1))] for name, share in
            (("median", 0.5), ("p10", 0.1), ("p90", 0.9))}


def print_record(record):
    print(f"step   {record['median'] * 1e3:.2f} ms (median of {record['steps']} after {record['warmup']}; p10 "
          f"{record['p10'] * 1e3:.2f}, p90 {record['p90'] * 1e3:.2f}), {record['whole'] * 1e3:.2f} ms over the whole\n"
          f"rate   {record['tokens_per_second'] / 1e3:.1f}k tok/s, "
          f"{record['flops_per_second_per_device'] / 1e12:.1f} TFLOP/s a card, {100 * record['mfu']:.2f} % of 989, "
          f"{100 * record['share_of_matmul']:.2f} % of {record['matmul_flops_per_second'] / 1e12:.0f}\n"
          f"memory {record['memory_bytes'] / 2**30:.2f} GiB of the card, "
          f"{record['memory_allocated_bytes'] / 2**30:.2f} GiB allocated at most\n"
          f"loss   {record['losses'][0]:.4f} at the first step, {record['losses'][-1]:.4f} at the last", flush=True)


def append(path, record):
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
