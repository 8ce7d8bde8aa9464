"""The decoder of model/language_model.cpp, with our names for every parameter."""
import torch
import torch.nn.functional as F
from torch import nn

from configuration import is_moe_layer
from experts import Experts
from layers import Attention, SwiGlu, Weight, linear, rms_norm, rope_table, weight
from memory import Addresses, Memory


class Block(nn.Module):
    def __init__(self, config, layer, table_rows):
        super().__init__()
        self.eps = config.norm_eps
        self.engram = None
        if layer in config.engram.layers:
            self.engram = Memory(config, table_rows[config.engram.layers.index(layer)])
        self.attention_norm = weight((config.hidden,), 0.0, 1.0)
        self.attention = Attention(config)
        self.feed_forward_norm = weight((config.hidden,), 0.0, 1.0)
        if is_moe_layer(config, layer):
            self.moe = Experts(config)
        else:
            self.feed_forward = SwiGlu(config, config.ffn_hidden)

    def forward(self, x, rows, starts, table):
        if self.engram is not None:
            x = x + self.engram(x, rows, starts)
        x = x + self.attention(rms_norm(x, self.attention_norm.weight, self.eps), starts.size(0), table)
        last = self.moe if hasattr(self, "moe") else self.feed_forward
        return x + last(rms_norm(x, self.feed_forward_norm.weight, self.eps))


class LanguageModel(nn.Module):
    def __init__(self, config, seq_len, multipliers, compressed_ids):
        super().__init__()
        self.config = config
        self.history = 0
        self.addresses = None
        if config.engram.layers:
            self.addresses = Addresses(config, multipliers, compressed_ids)
            self.history = self.addresses.history
        table_rows = [sum(primes) for primes in self.addresses.primes] if self.addresses else []
        self.embedding = weight((config.vocab_size, config.hidden), config.init_std)
        self.blocks = nn.ModuleList(Block(config, layer, table_rows) for layer in range(config.num_layers))
        self.final_norm = weight((config.hidden,), 0.0, 1.0)
        self.head = self.embedding if config.tie_embeddings else weight(
            (config.vocab_size, config.hidden), config.init_std)
        cos, sin = rope_table(seq_len, config.attention.head_dim, config.attention.rope_theta, "cpu")
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def reset(self, seed):
        generator = torch.Generator(next(self.parameters()).device).manual_seed(seed)
        for module in self.modules():
            if isinstance(module, Weight):
                module.reset(generator)

    def forward(self, tokens, starts):
        """tokens, starts [sequences, history + seq_len + 1]; the mean loss of predicting the last seq_len."""
        first = self.history
        rows = self.addresses(tokens[:, :-1], starts[:, :-1]) if self.addresses else []
        inside = starts[:, first:-1]
        x = F.embedding(tokens[:, first:-1], self.embedding.weight).flatten(0, 1).to(torch.bfloat16)
        for layer, block in enumerate(self.blocks):
            mine = rows[self.config.engram.layers.index(layer)] if layer in self.config.engram.layers else None
            x = block(x, mine, inside, (self.cos, self.sin))
        return self.loss(x, tokens[:, first + 1:].flatten())

    def loss(self, x, targets):
        logits = linear(rms_norm(x, self.final_norm.weight, self.config.norm_eps), self.head)
        return F.cross_entropy(logits.float(), targets)

    def tables(self):
        return [block.engram.table.weight for block in self.blocks if block.engram is not None]

    def mixtures(self):
        return [block.moe for block in self.blocks if hasattr(block, "moe")]
