"""Engram (arXiv:2601.07372) as model/engram.cpp and kernels/{ngram_hash,engram_gate,short_conv} have it."""
import torch
import torch.nn.functional as F
from torch import nn

from layers import linear, rms_norm, weight

TAPS = 4


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, int(number ** 0.5) + 1))


def primes_per_layer(engram):
    """Rows of every column, layer by layer: the next primes from the base size that no column has yet."""
    seen, layers = set(), []
    for _ in engram.layers:
        layers.append([])
        for order in range(len(engram.orders)):
            base = engram.rows_per_head[order if len(engram.rows_per_head) > 1 else 0]
            number = base - 1
            for _ in range(engram.heads):
                number += 1
                while number in seen or not is_prime(number):
                    number += 1
                seen.add(number)
                layers[-1].append(number)
    return layers


def last_start(starts):
    """Position of the last segment start at or before each; 0, the first given one, where there is none."""
    position = torch.arange(starts.size(1), device=starts.device)
    return torch.cummax(torch.where(starts.bool(), position, 0), 1).values


class Addresses(nn.Module):
    """Rows of the n-grams that end at each token: int64 [tokens, columns] for each layer, on the device."""

    def __init__(self, config, multipliers, compressed_ids):
        super().__init__()
        engram = config.engram
        self.heads, self.history = engram.heads, engram.orders[-1] - 1
        self.pad = int(compressed_ids[engram.pad_token])
        self.primes = primes_per_layer(engram)
        self.register_buffer("multiplier", torch.tensor(multipliers), persistent=False)
        self.register_buffer("modulus", torch.tensor(self.primes), persistent=False)
        self.register_buffer("first", torch.tensor([[sum(p[:i]) for i in range(len(p))] for p in self.primes]),
                             persistent=False)
        self.register_buffer("ids", torch.as_tensor(compressed_ids, dtype=torch.int64), persistent=False)

    def forward(self, tokens, starts):
        """tokens, starts [sequences, history + seq_len]."""
        compressed, visible_from = self.ids[tokens], last_start(starts)
        position = torch.arange(tokens.size(1), device=tokens.device)
        slots = []
        for back in range(self.history + 1):
            shifted = F.pad(compressed, (back, 0))[:, : tokens.size(1)]
            slots.append(torch.where(position - back >= visible_from, shifted, self.pad)[:, self.history:])
        rows = []
        for layer in range(len(self.primes)):
            mix, columns = slots[0] * self.multiplier[layer, 0], []
            for order in range(1, self.history + 1):
                mix = mix ^ (slots[order] * self.multiplier[layer, order])
                columns += [mix] * self.heads
            rows.append((torch.stack(columns, -1) % self.modulus[layer] + self.first[layer]).flatten(0, 1))
        return rows


class Memory(nn.Module):
    def __init__(self, config, num_rows):
        super().__init__()
        engram, d = config.engram, config.hidden
        self.engram = engram
        width = engram.memory_dim // (len(engram.orders) * engram.heads)
        self.table = weight((num_rows, width), engram.table_init_std)
        self.kv = weight((2 * d, engram.memory_dim), config.init_std)
        self.query_norm = weight((d,), 0.0, 1.0)
        self.key_norm = weight((d,), 0.0, 1.0)
        if engram.conv:
            self.conv_norm = weight((d,), 0.0, 1.0)
            self.conv = weight((d, TAPS), 0.0)

    def forward(self, x, rows, starts):
        """x [tokens, d], rows [tokens, columns], starts [sequences, seq_len]; what is added to x."""
        e = F.embedding(rows, self.table.weight).flatten(1).to(x.dtype)
        key, value = linear(e, self.kv).chunk(2, -1)
        query = rms_norm(x.float(), self.query_norm.weight, self.engram.eps)
        score = (query * rms_norm(key.float(), self.key_norm.weight, self.engram.eps)).sum(-1, keepdim=True)
        score = score / x.size(-1) ** 0.5
        gate = torch.sigmoid(torch.sign(score) * torch.sqrt(score.abs().clamp_min(1e-6)))
        gated = (gate * value.float()).to(x.dtype)
        return self.convolve(gated, starts) if self.engram.conv else gated

    def convolve(self, gated, starts):
        """Depthwise causal convolution of the normed values, dilated by the largest order; SiLU; plus the values."""
        dilation, (num_sequences, seq_len) = self.engram.orders[-1], starts.shape
        normed = rms_norm(gated.float(), self.conv_norm.weight, self.engram.conv_eps)
        normed = normed.view(num_sequences, seq_len, -1)
        position = torch.arange(seq_len, device=starts.device)
        visible_from = last_start(starts) if self.engram.conv_reset else torch.zeros_like(starts, dtype=torch.int64)
        total = 0
        for tap in range(TAPS):
            back = (TAPS - 1 - tap) * dilation
            shifted = F.pad(normed, (0, 0, back, 0))[:, :seq_len]
            visible = (position - back >= visible_from).unsqueeze(-1)
            total = total + torch.where(visible, shifted, 0.0) * self.conv.weight[:, tap].float()
        return gated + F.silu(total).flatten(0, 1).to(gated.dtype)
