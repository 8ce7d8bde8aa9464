"""What every model here is made of. Activations are bfloat16, the residual too; norms and scores compute in float32."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

ATTENTION_BACKENDS = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


class Weight(nn.Module):
    """One parameter called "weight", so that names are ours: "blocks.0.attention.out.weight"."""

    def __init__(self, shape, deviation, mean=0.0):
        super().__init__()
        self.deviation, self.mean = deviation, mean
        self.weight = nn.Parameter(torch.empty(shape))

    def reset(self, generator):
        with torch.no_grad():
            self.weight.normal_(self.mean, self.deviation, generator=generator)


def weight(shape, deviation, mean=0.0):
    return Weight(shape, deviation, mean)


def linear(x, holder):
    return F.linear(x, holder.weight.to(x.dtype))


def rms_norm(x, gain, eps):
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * gain.float()).to(x.dtype)


class SwiGlu(nn.Module):
    def __init__(self, config, width):
        super().__init__()
        self.gate_up = weight((2 * width, config.hidden), config.init_std)
        self.down = weight((config.hidden, width), config.init_std / (2 * config.num_layers) ** 0.5)

    def forward(self, x):
        gate, up = linear(x, self.gate_up).chunk(2, -1)
        return linear(F.silu(gate) * up, self.down)


def rope_table(seq_len, head_dim, theta, device):
    """cos and sin [seq_len, 1, head_dim / 2] float32."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(seq_len, dtype=torch.float64)[:, None, None] * frequency
    return angle.cos().float().to(device), angle.sin().float().to(device)


def rotate(x, table):
    """Half-split pairing: channel c turns with channel c + head_dim / 2."""
    cos, sin = table
    first, second = x.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        a, d = config.attention, config.hidden
        self.a, self.eps = a, config.norm_eps
        self.qkv = weight(((a.num_heads + 2 * a.num_kv_heads) * a.head_dim, d), config.init_std)
        self.out = weight((d, a.num_heads * a.head_dim), config.init_std / (2 * config.num_layers) ** 0.5)
        if a.qk_norm:
            self.query_norm = weight((a.head_dim,), 0.0, 1.0)
            self.key_norm = weight((a.head_dim,), 0.0, 1.0)

    def forward(self, x, num_sequences, table):
        a = self.a
        heads = linear(x, self.qkv).view(num_sequences, -1, a.num_heads + 2 * a.num_kv_heads, a.head_dim)
        q, k, v = heads.split((a.num_heads, a.num_kv_heads, a.num_kv_heads), 2)
        if a.qk_norm:
            q, k = rms_norm(q, self.query_norm.weight, self.eps), rms_norm(k, self.key_norm.weight, self.eps)
        q, k = rotate(q, table), rotate(k, table)
        with sdpa_kernel(ATTENTION_BACKENDS, set_priority=True):
            y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                               is_causal=True, enable_gqa=a.num_heads != a.num_kv_heads)
        return linear(y.transpose(1, 2).reshape(x.size(0), -1), self.out)
