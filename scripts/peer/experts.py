"""Dropless mixture of experts with a sigmoid router and a balancing bias (DeepSeek-V3), on grouped products."""
import torch
import torch.nn.functional as F
from torch import nn

from configuration import shared_width
from layers import SwiGlu, weight


class Sort(torch.autograd.Function):
    """x[token]: rows in the order of their experts. Backward sums a token's k copies by a gather, not by atomics."""

    @staticmethod
    def forward(ctx, x, token, slot):
        ctx.save_for_backward(slot)
        return x[token]

    @staticmethod
    def backward(ctx, d):
        (slot,) = ctx.saved_tensors
        return d[slot].sum(1), None, None


class Combine(torch.autograd.Function):
    """The sum of each token's k rows, which lie in the order of their experts."""

    @staticmethod
    def forward(ctx, rows, token, slot):
        ctx.save_for_backward(token)
        return rows[slot].sum(1)

    @staticmethod
    def backward(ctx, d):
        (token,) = ctx.saved_tensors
        return d[token], None, None


def grouped_matmul(x, w, ends):
    """x [rows, in] by each expert's w [experts, out, in]; expert e has the rows from ends[e - 1] to ends[e]."""
    return torch._grouped_mm(x, w.to(x.dtype).transpose(-2, -1), offs=ends)


class Experts(nn.Module):
    def __init__(self, config):
        super().__init__()
        moe, d = config.moe, config.hidden
        self.moe = moe
        residual_std = config.init_std / (2 * config.num_layers) ** 0.5
        self.router = weight((moe.num_experts, d), config.init_std)
        self.experts = nn.ModuleDict({
            "gate_up": weight((moe.num_experts, 2 * moe.expert_hidden, d), config.init_std),
            "down": weight((moe.num_experts, d, moe.expert_hidden), residual_std)})
        self.shared = SwiGlu(config, shared_width(moe)) if shared_width(moe) > 0 else None
        self.register_buffer("bias", torch.zeros(moe.num_experts), persistent=False)
        self.register_buffer("load", torch.zeros(moe.num_experts), persistent=False)

    def route(self, x):
        """Expert of each (token, choice) and its weight, both [tokens, k]."""
        scores = torch.sigmoid(F.linear(x, self.router.weight.to(x.dtype)).float())
        expert = torch.topk(scores.detach() + self.bias, self.moe.top_k).indices
        chosen = scores.gather(1, expert)
        return expert, self.moe.route_scale * chosen / (chosen.sum(1, keepdim=True) + 1e-20)

    def forward(self, x):
        k, num_tokens = self.moe.top_k, x.size(0)
        expert, weight_of = self.route(x)
        flat = expert.flatten()
        order = torch.sort(flat.to(torch.int16), stable=True).indices  # two passes of the radix sort instead of eight
        slot = torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=x.device))
        counts = torch.zeros(self.moe.num_experts, device=x.device).scatter_add_(
            0, flat, torch.ones(flat.numel(), device=x.device))
        ends = counts.cumsum(0).to(torch.int32)
        self.load.add_(counts)

        token, slot = order // k, slot.view(num_tokens, k)
        gate, up = grouped_matmul(Sort.apply(x, token, slot), self.experts["gate_up"].weight, ends).chunk(2, -1)
        h = F.silu(gate) * up * weight_of.flatten()[order].unsqueeze(1).to(x.dtype)
        y = Combine.apply(grouped_matmul(h, self.experts["down"].weight, ends), token, slot)
        return y if self.shared is None else y + self.shared(x)

    @torch.no_grad()
    def update_bias(self, num_ranks):
        """After an update: moves each expert's bias towards balance over the global batch."""
        if num_ranks > 1:
            torch.distributed.all_reduce(self.load)
        self.bias.add_(self.moe.bias_update_rate * torch.sign(self.load.mean() - self.load))
        self.load.zero_()
