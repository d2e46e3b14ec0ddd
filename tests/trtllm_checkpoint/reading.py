"""The checkpoint layout of TensorRT-LLM 1.2.1, written from its sources and not from ours.

Derives what the file of each rank must hold from the Hugging Face checkpoint: whole arrays, reshaped and split.
"""

import numpy as np

from files import bf16

# The matrices whose input is the hidden state.
HEADS = {
    "InternLM2ForRewardModel": ["v_head.weight"],
    "LlamaForCausalLM": ["lm_head.weight"],
    "LlamaForRewardModelWithGating": ["regression_layer.weight", "gating.layers.0.weight"],
    "Qwen2ForProcessRewardModel": ["score.0.weight"],
    "Qwen2ForRewardModel": ["score.0.weight"],
}
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    # The same classes under the name for which reductions are fused.
    "mistral": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "nemotron": "NemotronForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "internlm2": "LlamaForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "granite": "GraniteForCausalLM",
    "glm": "ChatGLMForCausalLM",
    "cohere": "CohereForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
# What the names of a layer's tensors start with, the norm after the last layer, and the embedding.
OUTSIDE = {
    "gpt_neox": ("gpt_neox.layers", "gpt_neox.final_layer_norm", "gpt_neox.embed_in"),
    "gpt2": ("transformer.h", "transformer.ln_f", "transformer.wte"),
    "internlm2": ("model.layers", "model.norm", "model.tok_embeddings"),
}
COMMON = ("model.layers", "model.norm", "model.embed_tokens")
# Families whose norms have a bias.
NORM_BIASES = ("nemotron", "gpt_neox", "gpt2")
# Families whose first projections are one matrix, the gate last.
FUSED = ("phi3", "glm")
# The scores of these are the difference of two rows, times a factor.
ROWS = {"granite": lambda config: 1 / config["logits_scaling"], "cohere": lambda config: config["logit_scale"]}


class Sizes:
    """The sizes of a decoder."""

    def __init__(self, config):
        self.kind = config["model_type"]
        names = ["num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads"]
        if self.kind == "gpt2":
            names = ["n_layer", "n_embd", "n_head", "n_head"]
        self.layers, self.hidden, self.heads, self.kv = (config[name] for name in names)
        self.prefix = OUTSIDE.get(self.kind, COMMON)[0]
        self.dim = config.get("head_dim") or self.hidden // self.heads


def query_key_value(source, sizes, layer, kind):
    """Three arrays, each `[heads, head_dim, ...]`, or nothing if the checkpoint has none of this kind."""
    prefix = f"{sizes.prefix}.{layer}"
    counts = [sizes.heads, sizes.kv, sizes.kv]
    if sizes.kind == "internlm2":
        name = f"{prefix}.attention.wqkv.{kind}"
        if name not in source.tensors:
            return None
        # For each key-value head: its queries, its key, its value.
        group = sizes.heads // sizes.kv
        whole = source[name]
        whole = whole.reshape(sizes.kv, group + 2, sizes.dim, *whole.shape[1:])
        queries = whole[:, :group].reshape(sizes.heads, sizes.dim, *whole.shape[3:])
        return queries, whole[:, group], whole[:, group + 1]
    if sizes.kind == "gpt_neox":
        # Each head has its query, its key and its value.
        whole = source[f"{prefix}.attention.query_key_value.{kind}"]
        whole = whole.reshape(sizes.heads, 3, sizes.dim, *whole.shape[1:])
        return whole[:, 0], whole[:, 1], whole[:, 2]
    if sizes.kind in ("phi3", "gpt2"):
        name = f"{prefix}.{'attn.c_attn' if sizes.kind == 'gpt2' else 'self_attn.qkv_proj'}.{kind}"
        if name not in source.tensors:
            return None
        whole = source[name].T if sizes.kind == "gpt2" else source[name]
        parts = np.split(whole, np.cumsum([count * sizes.dim for count in counts])[:2])
    else:
        names = [f"{prefix}.self_attn.{part}_proj.{kind}" for part in "qkv"]
        if names[0] not in source.tensors:
            return None
        parts = [source[name] for name in names]
    return [part.reshape(count, sizes.dim, *part.shape[1:]) for part, count in zip(parts, counts)]


def divided_qkv(parts, sizes, ranks):
    """For each rank, its queries, keys and values, stacked."""
    queries, keys, values = parts
    if sizes.kv < ranks:
        keys, values = (np.repeat(part, ranks // sizes.kv, axis=0) for part in (keys, values))
    split = [np.split(part, ranks) for part in (queries, keys, values)]
    return [np.concatenate([part.reshape(-1, *part.shape[2:]) for part in of_rank]) for of_rank in zip(*split)]


def layer_names(kind):
    """The names of norms and projections in this family."""
    if kind == "internlm2":
        return "attention_norm", "ffn_norm", "attention.wo", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"
    if kind == "gpt_neox":
        norms = "input_layernorm", "post_attention_layernorm"
        return *norms, "attention.dense", None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"
    if kind == "gpt2":
        return "ln_1", "ln_2", "attn.c_proj", None, "mlp.c_fc", "mlp.c_proj"
    return (
        "input_layernorm",
        "post_attention_layernorm",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )


def expected_layer(source, sizes, layer, ranks):
    """One layer of each rank, by the tensor names of TensorRT-LLM."""
    prefix = f"{sizes.prefix}.{layer}"
    input_norm, post_norm, output, gate, up, down = layer_names(sizes.kind)
    tensors = [{} for _ in range(ranks)]

    def put(name, arrays):
        for rank, array in enumerate(arrays):
            tensors[rank][name] = array

    def of(name):
        array = source.tensors.get(f"{prefix}.{name}")
        # GPT-2 stores matrices as inputs by outputs.
        return array.T if sizes.kind == "gpt2" and array is not None else array

    norms = {"input_layernorm": input_norm}
    if sizes.kind != "cohere":
        norms["post_attention_layernorm" if sizes.kind == "gpt_neox" else "post_layernorm"] = post_norm
    if sizes.kind.startswith("gemma"):
        norms |= {name: name for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm")}
    if sizes.kind == "cohere":
        for part, count in (("q", sizes.heads), ("k", sizes.kv)):
            heads = np.repeat(of(f"self_attn.{part}_norm.weight"), max(1, ranks // count), axis=0)
            put(f"attention.{part}_layernorm.weight", np.split(heads, ranks))
    elif of("self_attn.q_norm.weight") is not None:
        norms |= {"attention.q_layernorm": "self_attn.q_norm", "attention.k_layernorm": "self_attn.k_norm"}
    one = 1 if sizes.kind.startswith(("gemma", "nemotron")) else 0
    for name, original in norms.items():
        put(f"{name}.weight", [of(f"{original}.weight") + one] * ranks)
        if sizes.kind in NORM_BIASES:
            put(f"{name}.bias", [of(f"{original}.bias")] * ranks)

    for kind in ("weight", "bias"):
        parts = query_key_value(source, sizes, layer, kind)
        if parts is not None:
            put(f"attention.qkv.{kind}", divided_qkv(parts, sizes, ranks))
        if sizes.kind in FUSED:
            both = of(f"mlp.gate_up_proj.{kind}")
            first, second = (None, None) if both is None else np.split(both, 2)
        elif sizes.kind in NORM_BIASES:
            first, second = of(f"{up}.{kind}"), None
        else:
            first, second = of(f"{gate}.{kind}"), of(f"{up}.{kind}")
        if sizes.kind in FUSED and first is not None:
            halves = zip(np.split(second, ranks), np.split(first, ranks))
            put(f"mlp.fc.{kind}", [np.concatenate(pair) for pair in halves])
        elif first is not None:
            put(f"mlp.fc.{kind}", np.split(first, ranks))
            if second is not None:
                put(f"mlp.gate.{kind}", np.split(second, ranks))
    if of(f"{down}.weight") is None:
        for name, arrays in expected_experts(of, sizes, ranks).items():
            put(name, arrays)
    for name, original in (("attention.dense", output), ("mlp.proj", down)):
        if of(f"{original}.weight") is None:
            continue
        put(f"{name}.weight", np.split(of(f"{original}.weight"), ranks, axis=1))
        if of(f"{original}.bias") is not None:
            put(f"{name}.bias", [of(f"{original}.bias")] * ranks)
    return tensors


def expected_experts(of, sizes, ranks):
    """The router, the experts stacked, and the expert that every token has, for each rank."""
    at, gate, up, down = ("block_sparse_moe", "w1", "w3", "w2")
    if sizes.kind != "mixtral":
        at, gate, up, down = ("mlp", "gate_proj", "up_proj", "down_proj")

    def stacked(name):
        matrices = []
        while of(f"{at}.experts.{len(matrices)}.{name}.weight") is not None:
            matrices.append(of(f"{at}.experts.{len(matrices)}.{name}.weight"))
        return np.stack(matrices)

    def halves(ups, gates, axis):
        pairs = zip(np.split(ups, ranks, axis), np.split(gates, ranks, axis))
        return [np.concatenate(pair, axis) for pair in pairs]

    tensors = {
        "mlp.router.weight": [of(f"{at}.gate.weight")] * ranks,
        "mlp.fc.weight": halves(stacked(up), stacked(gate), 1),
        "mlp.proj.weight": np.split(stacked(down), ranks, axis=2),
    }
    shared = {name: of(f"mlp.shared_expert.{name}_proj.weight") for name in ("gate", "up", "down")}
    if shared["gate"] is not None:
        tensors["mlp.shared_expert.fc.weight"] = halves(shared["up"], shared["gate"], 0)
        tensors["mlp.shared_expert.proj.weight"] = np.split(shared["down"], ranks, axis=1)
        tensors["mlp.shared_expert_gate.weight"] = [of("mlp.shared_expert_gate.weight")] * ranks
    return tensors


def vocabulary_head(source, config):
    """The head of the language model, which is the embedding if they are tied."""
    names = {"internlm2": ("output.weight", "model.tok_embeddings.weight")}
    head, embedding = names.get(config["model_type"], ("lm_head.weight", "model.embed_tokens.weight"))
    return source[embedding if config.get("tie_word_embeddings") else head]


def expected_head(source, config, ranks, generates, rows):
    """The vocabulary's head, or one that scores in its first rows, with as many rows as are given."""
    kind = config["model_type"]
    if generates:
        head = vocabulary_head(source, config)
    elif kind in ROWS:
        embedding = source["model.embed_tokens.weight"]
        head = (embedding[[420]] - embedding[[17]]) * ROWS[kind](config)
    else:
        names = HEADS.get(config["architectures"][0], ["score.weight"])
        head = np.concatenate([source[name][:1] if name == "lm_head.weight" else source[name] for name in names])
    whole = np.zeros((rows, head.shape[1]), np.float32)
    whole[: len(head)] = head
    return np.split(whole, ranks)


def expected(source, tensor_parallel, pipeline_parallel=1, generates=False, head_rows=None):
    """The tensors of each rank, rounded to bf16."""
    sizes, config = Sizes(source.config), source.config
    _, final_norm, embedding = OUTSIDE.get(sizes.kind, COMMON)
    embedding = source[f"{embedding}.weight"]
    # The runtime pads the vocabulary for all ranks, trtllm-build for those of a stage. Where that gives two widths,
    # the vocabulary itself is padded.
    world = tensor_parallel * pipeline_parallel
    padded = -(-len(embedding) // world) * world
    if -(-len(embedding) // tensor_parallel) * tensor_parallel != padded and not head_rows:
        embedding = np.pad(embedding, ((0, padded - len(embedding)), (0, 0)))
    embeddings = [embedding] * tensor_parallel
    if sizes.kind.startswith(("gemma", "cohere")):
        missing = -len(embedding) % tensor_parallel
        embeddings = np.split(np.pad(embedding, ((0, missing), (0, 0))), tensor_parallel)
    one = 1 if sizes.kind.startswith(("gemma", "nemotron")) else 0
    ranks = []
    for stage, layers in enumerate(np.array_split(np.arange(sizes.layers), pipeline_parallel)):
        of_stage = [{} for _ in range(tensor_parallel)]
        for local, layer in enumerate(layers):
            for rank, tensors in enumerate(expected_layer(source, sizes, layer, tensor_parallel)):
                of_stage[rank] |= {f"transformer.layers.{local}.{name}": array for name, array in tensors.items()}
        for rank, tensors in enumerate(of_stage):
            if stage == 0:
                tensors["transformer.vocab_embedding.weight"] = embeddings[rank]
                if sizes.kind == "gpt2":
                    tensors["transformer.position_embedding.weight"] = source["transformer.wpe.weight"]
            if stage == pipeline_parallel - 1:
                tensors["transformer.ln_f.weight"] = source[f"{final_norm}.weight"] + one
                if sizes.kind in NORM_BIASES:
                    tensors["transformer.ln_f.bias"] = source[f"{final_norm}.bias"]
                head = expected_head(source, config, tensor_parallel, generates, head_rows or padded)
                tensors["lm_head.weight"] = head[rank]
        ranks += of_stage
    kept = ("router.weight",)
    return [{name: array if name.endswith(kept) else bf16(array) for name, array in rank.items()} for rank in ranks]


def expected_rest(source):
    """What the server applies to the products of the head's first layers: biases and further layers."""
    match source.config["architectures"][0]:
        case "Qwen2ForRewardModel" | "Qwen2ForProcessRewardModel":
            return {
                "head.0_bias": source["score.0.bias"],
                "head.1": source["score.2.weight"],
                "head.1_bias": source["score.2.bias"],
            }
        case "LlamaForRewardModelWithGating":
            prefix = "gating.layers."
            layers = {name[len(prefix) :]: source[name] for name in source.tensors if name.startswith(prefix)}
            named = {name.replace(".weight", "").replace(".bias", "_bias"): layers[name] for name in layers}
            return {f"gating.{name}": array for name, array in named.items() if name != "0"}
    return {}
