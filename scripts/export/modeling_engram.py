"""A language model that `engram checkpoint export` wrote, in PyTorch for transformers:

    AutoModelForCausalLM.from_pretrained(DIR, trust_remote_code=True)

Equal in float32 to what `engram eval` computes but for rounding. Nothing is cached: generating a token runs the whole
text. In packed text a document starts after each end-of-text token; n-grams and the convolution stop there, if the
configuration says so, attention does not.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .configuration_engram import EngramConfig

CONV_TAPS = 4
LEAST_SCORE = 1e-6  # the signed square root is flat below


class Text(NamedTuple):
    """What the blocks know of the tokens, [batch, length] unless told; window and starts without Engram are None."""

    present: torch.Tensor  # False for padding
    positions: torch.Tensor
    mask: torch.Tensor  # [batch, 1, length, length], what attention sees
    starts: torch.Tensor  # where n-grams begin to look back anew
    window: torch.Tensor  # [batch, length, max_order], compressed ids of the token and of those before it


def wide(x):
    """x in the precision of sums."""
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(x, gain, eps):
    y = wide(x)
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps) * wide(gain)).to(x.dtype)


def shift(x, distance, fill):
    """x [batch, length, ...] moved to later positions; the first ones hold `fill`."""
    if distance == 0:
        return x
    distance = min(distance, x.shape[1])
    return torch.cat([torch.full_like(x[:, :distance], fill), x[:, : x.shape[1] - distance]], dim=1)


class RmsNorm(nn.Module):
    def __init__(self, shape, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.eps = eps

    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, channel c paired with c + head_dim / 2."""

    def __init__(self, model):
        super().__init__()
        self.shape = model["attention"]
        heads, kv_heads, dim = (self.shape[key] for key in ("num_heads", "num_kv_heads", "head_dim"))
        self.qkv = nn.Linear(model["hidden"], (heads + 2 * kv_heads) * dim, bias=False)
        self.out = nn.Linear(heads * dim, model["hidden"], bias=False)
        if self.shape["qk_norm"]:
            self.query_norm = RmsNorm(dim, model["norm_eps"])
            self.key_norm = RmsNorm(dim, model["norm_eps"])

    def rotate(self, x, positions):
        half = self.shape["head_dim"] // 2
        exponents = torch.arange(half, dtype=torch.float64, device=x.device) / half
        angles = positions.double()[..., None, None] * self.shape["rope_theta"] ** -exponents
        cos, sin = angles.cos().to(wide(x).dtype), angles.sin().to(wide(x).dtype)
        a, b = wide(x).split(half, dim=-1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)

    def forward(self, x, text):
        heads, kv_heads, dim = (self.shape[key] for key in ("num_heads", "num_kv_heads", "head_dim"))
        qkv = self.qkv(x).view(*x.shape[:2], -1, dim)
        q, k, v = qkv.split([heads, kv_heads, kv_heads], dim=2)
        if self.shape["qk_norm"]:
            q, k = self.query_norm(q), self.key_norm(k)
        q, k = self.rotate(q, text.positions), self.rotate(k, text.positions)
        k, v = (y.repeat_interleave(heads // kv_heads, dim=2) for y in (k, v))
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=text.mask)
        return self.out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.gate_up = nn.Linear(hidden, 2 * width, bias=False)
        self.down = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Weight(nn.Module):
    """A weight with a name; [num_experts, out, in] for experts."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))


class Experts(nn.Module):
    def __init__(self, count, hidden, width):
        super().__init__()
        self.gate_up = Weight(count, 2 * width, hidden)
        self.down = Weight(count, hidden, width)

    def forward(self, x, expert):
        gate, up = F.linear(x, self.gate_up.weight[expert]).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, self.down.weight[expert])


class Router(Weight):
    """Sigmoid affinity; the balancing bias acts on the choice alone."""

    def __init__(self, count, hidden):
        super().__init__(count, hidden)
        self.register_buffer("bias", torch.zeros(count))

    def forward(self, x, top_k, scale):
        affinity = torch.sigmoid(F.linear(wide(x), wide(self.weight)))
        chosen = (affinity + self.bias).topk(top_k, dim=-1).indices
        weight = affinity.gather(-1, chosen)
        return chosen, scale * weight / (weight.sum(-1, keepdim=True) + 1e-20)


class Moe(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.shape = moe = model["moe"]
        hidden = model["hidden"]
        self.router = Router(moe["num_experts"], hidden)
        self.experts = Experts(moe["num_experts"], hidden, moe["expert_hidden"])
        shared_width = moe["shared_hidden"] or moe["num_shared_experts"] * moe["expert_hidden"]
        self.shared = FeedForward(hidden, shared_width) if moe["num_shared_experts"] > 0 else None

    def forward(self, x):
        tokens = x.flatten(0, 1)
        chosen, weight = self.router(tokens, self.shape["top_k"], self.shape["route_scale"])
        y = torch.zeros_like(tokens) if self.shared is None else self.shared(tokens)
        for expert in chosen.unique().tolist():
            token, choice = (chosen == expert).nonzero(as_tuple=True)
            routed = self.experts(tokens[token], expert) * weight[token, choice, None]
            y = y.index_add(0, token, routed.to(y.dtype))
        return y.view_as(x)


class Engram(nn.Module):
    """Table rows of each token's n-grams, as one key and one value; the key's agreement with h gates the value."""

    def __init__(self, model, num_rows):
        super().__init__()
        self.shape = engram = model["engram"]
        hidden, columns = model["hidden"], len(engram["orders"]) * engram["heads"]
        self.embed = nn.Embedding(num_rows, engram["memory_dim"] // columns)
        self.wkv = nn.Linear(engram["memory_dim"], 2 * hidden, bias=False)
        self.q_weight = nn.Parameter(torch.ones(1, hidden))
        self.k_weight = nn.Parameter(torch.ones(1, hidden))
        if engram["conv"]:
            self.conv_norm = RmsNorm((1, hidden), engram["conv_eps"])
            self.conv = Weight(hidden, CONV_TAPS)
        self.register_buffer("multipliers", torch.zeros(max(engram["orders"]), dtype=torch.int64))
        self.register_buffer("primes", torch.ones(columns, dtype=torch.int64))
        self.register_buffer("offsets", torch.zeros(columns, dtype=torch.int64))

    def rows(self, window):
        """Row of every column [batch, length, columns], from compressed ids [batch, length, max_order]."""
        heads, columns = self.shape["heads"], []
        mix = window[..., 0] * self.multipliers[0]
        for slot in range(1, window.shape[-1]):
            mix = mix ^ (window[..., slot] * self.multipliers[slot])
            columns.append(mix[..., None] % self.primes[(slot - 1) * heads : slot * heads])
        return torch.cat(columns, dim=-1) + self.offsets

    def gate(self, h, key):
        eps = self.shape["eps"]
        q, k = rms_norm(wide(h), self.q_weight, eps), rms_norm(wide(key), self.k_weight, eps)
        score = (q * k).sum(-1, keepdim=True) / math.sqrt(h.shape[-1])
        if self.shape["gate"] == "signed_sqrt":
            root = score.abs().clamp(min=LEAST_SCORE).sqrt()
            copies_sign = self.shape["gate_sign"] == "copysign"
            score = torch.copysign(root, score) if copies_sign else score.sign() * root
        return torch.sigmoid(score)

    def convolve(self, y, starts):
        z = self.conv_norm(y)
        segment = starts.cumsum(dim=1)
        total = torch.zeros_like(z)
        for tap in range(CONV_TAPS):
            distance = (CONV_TAPS - 1 - tap) * max(self.shape["orders"])
            seen = shift(z, distance, 0)
            if self.shape["conv_reset"]:
                seen = seen * (shift(segment, distance, -1) == segment)[..., None]
            total = total + seen * self.conv.weight[:, tap]
        return y + F.silu(total)

    def forward(self, h, text):
        e = self.embed(self.rows(text.window)).flatten(2)
        key, value = self.wkv(e).chunk(2, dim=-1)
        y = (self.gate(h, key) * wide(value)).to(h.dtype) * text.present[..., None]
        return self.convolve(y, text.starts) if self.shape["conv"] else y


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        model = config.model
        layers = model["engram"]["layers"]
        self.engram = Engram(model, config.engram_num_embeddings[layers.index(layer)]) if layer in layers else None
        self.attention_norm = RmsNorm(model["hidden"], model["norm_eps"])
        self.attention = Attention(model)
        self.feed_forward_norm = RmsNorm(model["hidden"], model["norm_eps"])
        if model["moe"]["num_experts"] > 0 and layer >= model["num_dense_layers"]:
            self.moe = Moe(model)
        else:
            self.feed_forward = FeedForward(model["hidden"], model["ffn_hidden"])

    def forward(self, h, text):
        if self.engram is not None:
            h = h + self.engram(h, text)
        h = h + self.attention(self.attention_norm(h), text)
        x = self.feed_forward_norm(h)
        return h + (self.moe(x) if hasattr(self, "moe") else self.feed_forward(x))


class EngramForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = EngramConfig
    main_input_name = "input_ids"
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = ["router.bias"]

    def __init__(self, config):
        super().__init__(config)
        model = config.model
        self.embedding = nn.Embedding(model["vocab_size"], model["hidden"])
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(model["num_layers"]))
        self.final_norm = RmsNorm(model["hidden"], model["norm_eps"])
        if not model["tie_embeddings"]:
            self.head = nn.Linear(model["hidden"], model["vocab_size"], bias=False)
        if model["engram"]["layers"]:
            self.register_buffer("compressed_ids", torch.zeros(model["vocab_size"], dtype=torch.int32))
        self.post_init()

    def get_input_embeddings(self):
        return self.embedding

    def starts(self, input_ids, present):
        """True for the first token of the text and, by the configuration, of each document."""
        starts = present & ~shift(present, 1, False)
        if self.config.model["engram"]["boundary"] == "document" and self.config.eos_token_id is not None:
            starts = starts | shift(input_ids == self.config.eos_token_id, 1, True)
        return starts

    def windows(self, input_ids, starts):
        """As in Text; the pad's id where nothing is seen."""
        engram = self.config.model["engram"]
        ids, pad = self.compressed_ids[input_ids].long(), self.compressed_ids[engram["pad_token"]].long()
        blocked, slots = torch.zeros_like(starts), [ids]
        for slot in range(1, max(engram["orders"])):
            blocked = blocked | shift(starts, slot - 1, True)
            slots.append(torch.where(blocked, pad, shift(ids, slot, 0)))
        return torch.stack(slots, dim=-1)

    def text(self, input_ids, attention_mask):
        present = torch.ones_like(input_ids).bool() if attention_mask is None else attention_mask.bool()
        length = input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=input_ids.device)  # padding must see something
        starts = window = None
        if self.config.model["engram"]["layers"]:
            starts = self.starts(input_ids, present)
            window = self.windows(input_ids, starts)
        return Text(
            present=present,
            positions=(present.cumsum(dim=1) - 1).clamp(min=0),
            mask=(causal & present[:, None, None, :]) | itself,
            starts=starts,
            window=window,
        )

    def forward(self, input_ids, attention_mask=None, labels=None, **_):
        text = self.text(input_ids, attention_mask)
        h = self.embedding(input_ids)
        for block in self.layers:
            h = block(h, text)
        tied = self.config.model["tie_embeddings"]
        logits = F.linear(self.final_norm(h), self.embedding.weight if tied else self.head.weight)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(wide(logits[:, :-1]).flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
        return {"input_ids": input_ids, "attention_mask": attention_mask}
