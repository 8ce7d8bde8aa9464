"""Our YAML configurations, with the defaults that matter here, and the counting rules of model/accounting.cpp."""
import pathlib
import types

DEFAULTS = {
    "run": {"name": "run", "seed": 0},
    "model": {"num_dense_layers": 1, "ffn_hidden": 0, "tie_embeddings": False, "norm_eps": 1e-6, "init_std": 0.02},
    "model.attention": {"rope_theta": 10000.0, "qk_norm": False},
    "model.moe": {"num_experts": 0, "top_k": 2, "num_shared_experts": 0, "expert_hidden": 0, "shared_hidden": 0,
                  "route_scale": 1.0, "bias_update_rate": 0.001},
    "model.engram": {"layers": [], "orders": [2, 3], "heads": 8, "memory_dim": 0, "rows_per_head": [],
                     "boundary": "document", "gate": "signed_sqrt", "gate_sign": "sign", "conv": False,
                     "conv_reset": True, "eps": 1e-6, "conv_eps": 1e-5, "table_init_std": 0.02, "pad_token": 0},
    "data": {"seq_len": 256},
    "optimizer.dense": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1},
    "optimizer.table": {"kind": "adam_lazy", "lr_mult": 5.0, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8},
    "optimizer.clip": {"norm": 1.0, "scope": "all"},
    "optimizer.schedule": {"kind": "cosine", "warmup_steps": 0, "min_ratio": 0.1},
    "train": {"steps": 0, "global_batch": 0, "micro_batch": 1},
}
WITHOUT_DEFAULT = {
    "model": {"vocab_size", "hidden", "num_layers"},
    "model.attention": {"num_heads", "num_kv_heads", "head_dim"},
}


def merge(section, values):
    """A namespace of the defaults of a section, overridden by `values`; sections below become namespaces too."""
    result = types.SimpleNamespace(**DEFAULTS.get(section, {}))
    below = {key[len(section) + 1:].split(".")[0] for key in DEFAULTS if key.startswith(section + ".")}
    for key in below if section else set(values) | {key.split(".")[0] for key in DEFAULTS}:
        name = f"{section}.{key}" if section else key
        if name in DEFAULTS or any(other.startswith(name + ".") for other in DEFAULTS):
            setattr(result, key, merge(name, values.get(key, {})))
    for key, value in values.items():
        if not isinstance(value, dict):
            setattr(result, key, value)
    return result


def override(values, text):
    """Applies one "path=value", as --set does."""
    import yaml

    path, _, value = text.partition("=")
    *sections, key = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[key] = numbers(yaml.safe_load(value))


def numbers(value):
    """YAML 1.1 reads 1e-3 as text."""
    if isinstance(value, dict):
        return {key: numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [numbers(inner) for inner in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def load(path, overrides=()):
    import yaml

    values = numbers(yaml.safe_load(pathlib.Path(path).read_text()))
    for text in overrides:
        override(values, text)
    config = merge("", values)
    check(config, unknown_keys(values))
    return config


def paths(values, prefix=""):
    """Of every value that is no section: its key with those of its sections in front."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def unknown_keys(values):
    """Of models and optimizers. What the other sections say besides changes nothing that is compared."""
    sections = [*DEFAULTS.items(), *WITHOUT_DEFAULT.items()]
    known = {f"{section}.{key}" for section, keys in sections for key in keys}
    return [path for path in paths(values) if path.startswith(("model.", "optimizer.")) and path not in known]


def check(config, unknown=()):
    """Refuses what this program does not do, instead of measuring something else."""
    engram = config.model.engram
    wrong = [f"{name}: unknown key" for name in unknown]
    if config.optimizer.schedule.kind != "constant":
        wrong.append("optimizer.schedule.kind: only constant")
    if engram.layers and config.optimizer.table.kind != "adam_dense":
        wrong.append("optimizer.table.kind: only adam_dense, as nn.Embedding has it")
    if engram.layers and (engram.gate, engram.gate_sign, engram.boundary) != ("signed_sqrt", "sign", "document"):
        wrong.append("model.engram: only gate signed_sqrt, gate_sign sign, boundary document")
    if config.optimizer.clip.scope != "all":
        wrong.append("optimizer.clip.scope: only all")
    if wrong:
        raise SystemExit("the peer cannot train this configuration:\n  " + "\n  ".join(wrong))


def is_moe_layer(model, layer):
    return model.moe.num_experts > 0 and layer >= model.num_dense_layers


def shared_width(moe):
    """SwiGLU width of all shared experts together."""
    return moe.shared_hidden or moe.num_shared_experts * moe.expert_hidden


def learning_rate_ratio(schedule, update):
    """Of applied update 1, 2, ...; see trainer/schedule.h."""
    return min(1.0, update / schedule.warmup_steps) if schedule.warmup_steps > 0 else 1.0


def training_flops_per_token(model, seq_len):
    """2 per multiply-add, backward twice forward, half of the attention square; no recompute, no optimizer."""
    a, moe, engram, d = model.attention, model.moe, model.engram, model.hidden
    products = model.vocab_size * d
    for layer in range(model.num_layers):
        products += 2 * d * a.head_dim * (a.num_heads + a.num_kv_heads)
        if is_moe_layer(model, layer):
            products += 3 * d * (moe.expert_hidden * moe.top_k + shared_width(moe)) + moe.num_experts * d
        else:
            products += 3 * d * model.ffn_hidden
    products += len(engram.layers) * 2 * d * engram.memory_dim
    attention = 6 * model.num_layers * a.num_heads * 2 * a.head_dim * seq_len / 2
    gate = len(engram.layers) * (36 if engram.conv else 12) * d
    return 6 * products + attention + gate
