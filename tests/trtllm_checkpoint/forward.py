"""What TensorRT-LLM computes from the ranks of a checkpoint: a decoder in numpy, in f32, rank by rank.

Each rank of a stage computes its part of a layer, and the parts are added as in an all-reduce.
"""

import numpy as np

from files import numbers


LAYER_NORMS = ("Cohere", "GPT", "Nemotron")


def rms_or_layer_norm(x, tensors, name, epsilon, centred):
    weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
    if centred:
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)
    return x * weight if bias is None else x * weight + bias


def linear(x, tensors, name):
    out = x @ tensors[f"{name}.weight"].T
    bias = tensors.get(f"{name}.bias")
    return out if bias is None else out + bias


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def frequencies(config, base):
    dim = config["rotary_embedding_dim"]
    frequency = 1 / base ** (np.arange(0, dim, 2) / dim)
    if config["position_embedding_type"] == "long_rope":
        return frequency / config["longrope_scaling_short_factors"]
    scaling = config.get("rotary_scaling")
    if scaling is None:
        return frequency
    if scaling["type"] == "linear":
        return frequency / scaling["factor"]
    assert scaling["type"] == "llama3"
    turns = scaling["original_max_position_embeddings"] * frequency / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return frequency * (kept + (1 - kept) / scaling["factor"])


def rotate(x, angles, config):
    """Rotates `[tokens, heads, dim]`; dimensions beyond the number of angles stay as they are."""
    half, factor = angles.shape[1], 1
    if config["position_embedding_type"] == "long_rope":
        original = config["original_max_position_embeddings"]
        factor = np.sqrt(1 + np.log(config["max_position_embeddings"] / original) / np.log(original))
    cos, sin = factor * np.cos(angles)[:, None], factor * np.sin(angles)[:, None]
    rotated, rest = x[..., : 2 * half], x[..., 2 * half :]
    if config["position_embedding_type"] == "rope_gptj":
        first, second = rotated[..., ::2], rotated[..., 1::2]
        both = np.stack([first * cos - second * sin, second * cos + first * sin], -1)
        return np.concatenate([both.reshape(rotated.shape), rest], -1)
    first, second = rotated[..., :half], rotated[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], -1)


class Decoder:
    """The ranks of a built checkpoint; `dequantize` turns quantized tensors into matrices. `windows` maps layers to the
    keys that a query sees in them, its own included; the server tells the library at run time."""

    def __init__(self, built, dequantize=None, windows=None):
        self.config = built.config
        self.windows = windows or {}
        read = dequantize or (lambda rank: {name: numbers(*tensor) for name, tensor in rank.items()})
        ranks = [read(rank) for rank in built.ranks]
        width = self.config["mapping"]["tp_size"]
        self.centred = self.config["architecture"].startswith(LAYER_NORMS)
        self.stages = [ranks[begin : begin + width] for begin in range(0, len(ranks), width)]

    def logits(self, ids):
        """The logits over the vocabulary after the last token."""
        config = self.config
        gemma = config["architecture"].startswith("Gemma")
        first = self.stages[0]
        name = "transformer.vocab_embedding.weight"
        if config["use_parallel_embedding"]:
            embedding = np.concatenate([rank[name] for rank in first])
        else:
            embedding = first[0][name]
        x = embedding[ids] * (np.sqrt(config["hidden_size"]) if gemma else config.get("embedding_multiplier", 1))
        if config["position_embedding_type"] == "learned_absolute":
            x = x + first[0]["transformer.position_embedding.weight"][: len(ids)]
        layer = 0
        for stage in self.stages:
            count = len({key.split(".")[2] for key in stage[0] if ".layers." in key})
            for local in range(count):
                x = self.layer(x, stage, f"transformer.layers.{local}", layer)
                layer += 1
        assert layer == config["num_hidden_layers"]
        last = self.stages[-1]
        x = rms_or_layer_norm(x[-1], last[0], "transformer.ln_f", config["norm_epsilon"], self.centred)
        logits = np.concatenate([linear(x, rank, "lm_head") for rank in last]) * config.get("output_multiplier_scale", 1)
        cap = config.get("final_logit_softcapping")
        return cap * np.tanh(logits / cap) if cap else logits

    def layer(self, x, ranks, prefix, number):
        epsilon, post_norms = self.config["norm_epsilon"], f"{prefix}.pre_feedforward_layernorm.weight" in ranks[0]

        def norm(x, name):
            return rms_or_layer_norm(x, ranks[0], f"{prefix}.{name}", epsilon, self.centred)

        def reduced(parts, name):
            bias = ranks[0].get(f"{prefix}.{name}.bias")
            return sum(parts) if bias is None else sum(parts) + bias

        normed = norm(x, "input_layernorm")
        parts = [self.attention(normed, rank, f"{prefix}.attention", number) for rank in ranks]
        attention = reduced(parts, "attention.dense")
        factor = self.config.get("residual_multiplier", 1)
        parallel = {"CohereForCausalLM": None, "GPTNeoXForCausalLM": "post_attention_layernorm"}
        if self.config["architecture"] in parallel:
            name = parallel[self.config["architecture"]]
            normed = norm(x, name) if name else normed
            return x + attention + reduced([self.mlp(normed, rank, f"{prefix}.mlp") for rank in ranks], "mlp.proj")
        if post_norms:
            x = x + norm(attention, "post_layernorm")
            normed = norm(x, "pre_feedforward_layernorm")
        else:
            x = x + factor * attention
            normed = norm(x, "post_layernorm")
        mlp = reduced([self.mlp(normed, rank, f"{prefix}.mlp") for rank in ranks], "mlp.proj")
        return x + (norm(mlp, "post_feedforward_layernorm") if post_norms else factor * mlp)

    def attention(self, x, rank, prefix, number):
        config = self.config
        dim, ranks = config["head_size"], config["mapping"]["tp_size"]
        heads = config["num_attention_heads"] // ranks
        kv = -(-config["num_key_value_heads"] // ranks)
        qkv = linear(x, rank, f"{prefix}.qkv").reshape(len(x), heads + 2 * kv, dim)
        queries, keys, values = np.split(qkv, [heads, heads + kv], axis=1)
        if f"{prefix}.q_layernorm.weight" in rank:
            epsilon = config["norm_epsilon"]
            queries = rms_or_layer_norm(queries, rank, f"{prefix}.q_layernorm", epsilon, self.centred)
            keys = rms_or_layer_norm(keys, rank, f"{prefix}.k_layernorm", epsilon, self.centred)
        assert config["rotary_embedding_dim"] == int(dim * config.get("rotary_pct", 1)) or "learned" in config["position_embedding_type"]
        base, pattern = config.get("rotary_emb_base", config["rotary_base"]), config.get("_sliding_window_pattern")
        if pattern and (number + 1) % pattern:
            base = config["rope_local_base_freq"]
        angles = np.arange(len(x))[:, None] * frequencies(config, base)
        queries, keys = rotate(queries, angles, config), rotate(keys, angles, config)
        keys, values = (np.repeat(part, heads // kv, axis=1) for part in (keys, values))
        scores = np.einsum("qhd,khd->hqk", queries, keys) / np.sqrt(config.get("query_pre_attn_scalar", dim))
        scores = scores * config.get("attention_multiplier", 1)
        cap = config.get("attn_logit_softcapping")
        if cap:
            scores = cap * np.tanh(scores / cap)
        visible = np.tri(len(x), dtype=bool) & ~np.tri(len(x), k=-self.windows.get(number, len(x)), dtype=bool)
        scores = np.where(visible, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        context = np.einsum("hqk,khd->qhd", weights, values).reshape(len(x), heads * dim)
        return context @ rank[f"{prefix}.dense.weight"].T

    def mlp(self, x, rank, prefix):
        moe = self.config.get("moe")
        return self.experts(x, rank, prefix, moe) if moe else self.network(x, rank, prefix)

    def experts(self, x, rank, prefix, moe):
        """The mixture, and the expert that every token has."""
        kept, count = moe["top_k"], moe["num_experts"]
        router = x @ rank[f"{prefix}.router.weight"].T
        assert router.shape[1] == count
        shares = np.exp(router - router.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        chosen = np.argsort(-shares, axis=-1)[:, :kept]
        weights = np.take_along_axis(shares, chosen, -1)
        if moe["normalization_mode"] == 1:
            weights = weights / weights.sum(-1, keepdims=True)
        sums = np.zeros_like(x)
        for token, (experts, of_token) in enumerate(zip(chosen, weights)):
            for expert, weight in zip(experts, of_token):
                projected, gate = np.split(rank[f"{prefix}.fc.weight"][expert] @ x[token], 2)
                sums[token] += weight * (rank[f"{prefix}.proj.weight"][expert] @ (silu(gate) * projected))
        if f"{prefix}.shared_expert_gate.weight" in rank:
            gate = 1 / (1 + np.exp(-linear(x, rank, f"{prefix}.shared_expert_gate")))
            sums += gate * self.network(x, rank, f"{prefix}.shared_expert")
        return sums

    def network(self, x, rank, prefix):
        inner = linear(x, rank, f"{prefix}.fc")
        match self.config["hidden_act"]:
            case "gelu" | "gelu_pytorch_tanh" if f"{prefix}.gate.weight" not in rank:
                # TensorRT-LLM has the approximation under both names.
                inner = gelu_tanh(inner)
            case "silu":
                inner = silu(inner) * linear(x, rank, f"{prefix}.gate")
            case "gelu_pytorch_tanh":
                inner = gelu_tanh(inner) * linear(x, rank, f"{prefix}.gate")
            case "swiglu":
                projected, gate = np.split(inner, 2, axis=-1)
                inner = silu(gate) * projected
            case "squared-relu":
                inner = np.maximum(inner, 0) ** 2
            case other:
                raise AssertionError(other)
        return inner @ rank[f"{prefix}.proj.weight"].T
