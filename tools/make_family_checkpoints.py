#!/usr/bin/env python3
"""Make the small checkpoints of every family beyond Llama and Qwen2, with golden scores.

Goes with `make_test_checkpoints.py`, whose tokenizers, sizes of weights and file
formats it shares. Weights are rounded to bfloat16, as most published ones are, and
the scores are those of transformers; InternLM2, which transformers does not have, is
computed by a reference below. See tests/golden/README.md.
"""

import argparse
import json
import shutil
from pathlib import Path

import make_test_checkpoints as common
import numpy as np
import torch
import transformers
from make_test_checkpoints import HELPSTEER, HERE, LLAMA2_FORM, LLAMA3_FORM, QWEN2_FORM
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

# Shared by the families unless they say otherwise. Windows are shorter than most of the
# sequences, and no multiple of a block or a tile.
SIZES = {
    "vocab_size": 640,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "torch_dtype": "bfloat16",
}



def vocabulary_rows(x, linear):
    """One logit minus another, of a head that is the embedding."""
    logits = linear(x, "model.embed_tokens")
    return logits[[420]] - logits[[17]]


def value_head(architecture, hidden):
    """The head of a family that transformers has no classifier of: TRL's value head."""
    return {
        "architecture": architecture,
        "labels": ["reward"],
        "head": {"v_head.summary.weight": (1, hidden), "v_head.summary.bias": (1,)},
        "score": lambda x, linear: linear(x, "v_head.summary"),
    }


FAMILIES = {
    "mistral-tiny": {
        "seed": 31,
        "form": LLAMA2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "MistralForSequenceClassification",
        "config": {
            "model_type": "mistral",
            "vocab_size": 704,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "sliding_window": 45,
            "tie_word_embeddings": False,
        },
    },
    "qwen3-tiny": {
        "seed": 32,
        "form": QWEN2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Qwen3ForSequenceClassification",
        "config": {
            "model_type": "qwen3",
            "head_dim": 24,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "attention_bias": False,
            "use_sliding_window": False,
            "sliding_window": None,
            "max_window_layers": 3,
            "tie_word_embeddings": True,
        },
    },
    "gemma2-tiny": {
        "seed": 33,
        "form": LLAMA2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Gemma2ForSequenceClassification",
        "attention": "eager",
        "config": {
            "model_type": "gemma2",
            "vocab_size": 704,
            "num_hidden_layers": 4,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_act": "gelu_pytorch_tanh",
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "attention_bias": False,
            # Smaller than the real 50, so that it bends the scores of small heads too.
            "attn_logit_softcapping": 4.0,
            "final_logit_softcapping": 30.0,
            "query_pre_attn_scalar": 12,
            "sliding_window": 37,
            "tie_word_embeddings": True,
        },
    },
    "gemma3-tiny": {
        "seed": 34,
        "form": LLAMA2_FORM,
        "labels": HELPSTEER,
        "architecture": "Gemma3TextForSequenceClassification",
        "config": {
            "model_type": "gemma3_text",
            "vocab_size": 704,
            "intermediate_size": 80,
            "num_hidden_layers": 7,
            "num_key_value_heads": 1,
            "hidden_activation": "gelu_pytorch_tanh",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "attention_bias": False,
            "query_pre_attn_scalar": 24,
            "sliding_window": 29,
            "sliding_window_pattern": 6,
            "tie_word_embeddings": True,
        },
    },
    # Without a scaling, which TensorRT-LLM does not have.
    "gemma3-wide": {
        "seed": 88,
        "form": LLAMA2_FORM,
        "labels": HELPSTEER,
        "architecture": "Gemma3TextForSequenceClassification",
        "config": {
            "model_type": "gemma3_text",
            "vocab_size": 704,
            "intermediate_size": 80,
            "num_hidden_layers": 4,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "hidden_activation": "gelu_pytorch_tanh",
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
            "attention_bias": False,
            "query_pre_attn_scalar": 24,
            "sliding_window": 29,
            "sliding_window_pattern": 3,
            "tie_word_embeddings": True,
        },
    },
    "gemma3-vision": {
        "seed": 49,
        "form": LLAMA2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Gemma3ForSequenceClassification",
        "config": {
            "model_type": "gemma3_text",
            "vocab_size": 704,
            "num_hidden_layers": 4,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0},
            },
            "query_pre_attn_scalar": 24,
            "sliding_window": 31,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        },
        # What is around the text part.
        "wrapper": {
            "model_type": "gemma3",
            "image_token_index": 703,
            "boi_token_index": 701,
            "eoi_token_index": 702,
            "mm_tokens_per_image": 4,
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 8,
                "intermediate_size": 12,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
            },
        },
    },
    "ministral-tiny": {
        "seed": 50,
        "form": LLAMA2_FORM,
        "labels": ["LABEL_0"],
        # transformers reads a Mistral with `layer_types` as a Ministral.
        "architecture": "MistralForSequenceClassification",
        "config": {
            "model_type": "mistral",
            "vocab_size": 704,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "sliding_window": 33,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
            "tie_word_embeddings": False,
        },
    },
    "nemotron-tiny": {
        "seed": 35,
        "form": LLAMA3_FORM,
        "labels": HELPSTEER,
        "architecture": "NemotronForSequenceClassification",
        "config": {
            "model_type": "nemotron",
            "head_dim": 24,
            "hidden_act": "relu2",
            "norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
        },
    },
    "phi3-tiny": {
        "seed": 36,
        "form": LLAMA2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Phi3ForSequenceClassification",
        "config": {
            "model_type": "phi3",
            "vocab_size": 704,
            "num_key_value_heads": 4,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "original_max_position_embeddings": 1024,
            "sliding_window": 53,
            "tie_word_embeddings": False,
            "attention_bias": False,
        },
    },
    "phi3-longrope": {
        "seed": 51,
        "form": LLAMA2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Phi3ForSequenceClassification",
        "config": {
            "model_type": "phi3",
            "vocab_size": 704,
            "num_key_value_heads": 4,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.75,
            # Shorter than some of the sequences.
            "original_max_position_embeddings": 150,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
                "long_factor": [1.0, 1.4, 2.2, 3.5, 5.0, 6.5],
            },
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
    },
    "llama-dynamic": {
        "seed": 52,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "LlamaForSequenceClassification",
        # transformers keeps the frequencies of the longest text that it has seen.
        "fresh": True,
        "config": {
            "model_type": "llama",
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "dynamic", "factor": 4.0},
            # Shorter than some of the sequences.
            "max_position_embeddings": 150,
            "tie_word_embeddings": False,
        },
    },
    "gpt2-tiny": {
        "seed": 68,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "GPT2ForSequenceClassification",
        # Its sizes have names of their own.
        "own_sizes": True,
        "config": {
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "layer_norm_epsilon": 1e-5,
            "n_ctx": 420,
            "n_embd": 72,
            "n_head": 3,
            "n_inner": None,
            "n_layer": 3,
            "n_positions": 420,
            "torch_dtype": "bfloat16",
            "vocab_size": 640,
        },
    },
    "gpt2-wide": {
        "seed": 83,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "GPT2ForSequenceClassification",
        "own_sizes": True,
        "config": {
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "layer_norm_epsilon": 1e-5,
            "n_ctx": 420,
            "n_embd": 64,
            "n_head": 2,
            "n_inner": None,
            "n_layer": 3,
            "n_positions": 420,
            "torch_dtype": "bfloat16",
            "vocab_size": 640,
        },
    },
    "ministral3-tiny": {
        "seed": 84,
        "form": LLAMA2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Ministral3ForSequenceClassification",
        "config": {
            "model_type": "ministral3",
            "vocab_size": 704,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1000000.0,
                "factor": 16.0,
                "original_max_position_embeddings": 64,
                "max_position_embeddings": 1024,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.4,
            },
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
    },
    "mixtral-tiny": {
        "seed": 53,
        "form": LLAMA2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "MixtralForSequenceClassification",
        "config": {
            "model_type": "mixtral",
            "vocab_size": 704,
            "intermediate_size": 72,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "num_local_experts": 5,
            "num_experts_per_tok": 2,
            "tie_word_embeddings": False,
        },
    },
    "qwen3-moe-tiny": {
        "seed": 57,
        "form": QWEN2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Qwen3MoeForSequenceClassification",
        "config": {
            "model_type": "qwen3_moe",
            "num_hidden_layers": 4,
            "head_dim": 24,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "attention_bias": False,
            "use_sliding_window": False,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [1],
            "moe_intermediate_size": 40,
            "num_experts": 11,
            "num_experts_per_tok": 4,
            "norm_topk_prob": True,
            "tie_word_embeddings": False,
        },
    },
    "qwen2-moe-tiny": {
        "seed": 55,
        "form": QWEN2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Qwen2MoeForSequenceClassification",
        "config": {
            "model_type": "qwen2_moe",
            "num_hidden_layers": 4,
            "head_dim": None,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "use_sliding_window": False,
            "decoder_sparse_step": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 56,
            "num_experts": 6,
            "num_experts_per_tok": 4,
            "norm_topk_prob": False,
            "tie_word_embeddings": False,
        },
    },
    # Experts in every layer, as TensorRT-LLM needs them.
    "qwen3-moe-even": {
        "seed": 85,
        "form": QWEN2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Qwen3MoeForSequenceClassification",
        "config": {
            "model_type": "qwen3_moe",
            "head_dim": 32,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "attention_bias": False,
            "use_sliding_window": False,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "moe_intermediate_size": 40,
            "num_experts": 7,
            "num_experts_per_tok": 3,
            "norm_topk_prob": True,
            "tie_word_embeddings": False,
        },
    },
    "qwen2-moe-even": {
        "seed": 86,
        "form": QWEN2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Qwen2MoeForSequenceClassification",
        "config": {
            "model_type": "qwen2_moe",
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": None,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "use_sliding_window": False,
            "decoder_sparse_step": 1,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 56,
            "num_experts": 6,
            "num_experts_per_tok": 4,
            "norm_topk_prob": False,
            "tie_word_embeddings": False,
        },
    },
    "olmoe-tiny": {
        "seed": 56,
        "form": LLAMA3_FORM,
        # transformers has no classifier of this family.
        **value_head("OlmoeForCausalLM", 72),
        "config": {
            "model_type": "olmoe",
            "hidden_size": 72,
            "intermediate_size": 48,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "head_dim": None,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "clip_qkv": None,
            "num_experts": 7,
            "num_experts_per_tok": 3,
            "norm_topk_prob": False,
            "tie_word_embeddings": False,
        },
    },
    "olmo3-tiny": {
        "seed": 61,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Olmo3ForSequenceClassification",
        "config": {
            "model_type": "olmo3",
            "num_hidden_layers": 5,
            "head_dim": None,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 8.0,
                "original_max_position_embeddings": 128,
                "attention_factor": 1.2,
                "beta_fast": 32,
                "beta_slow": 1,
            },
            "sliding_window": 43,
            "attention_bias": False,
            "tie_word_embeddings": False,
        },
    },
    "glm-tiny": {
        "seed": 62,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "GlmForSequenceClassification",
        "config": {
            "model_type": "glm",
            "head_dim": 24,
            "hidden_act": "silu",
            "rms_norm_eps": 1.5625e-7,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "attention_bias": True,
            "tie_word_embeddings": False,
        },
    },
    "glm4-tiny": {
        "seed": 63,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Glm4ForSequenceClassification",
        "config": {
            "model_type": "glm4",
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "attention_bias": False,
            "tie_word_embeddings": False,
        },
    },
    "granite-tiny": {
        "seed": 64,
        "form": LLAMA3_FORM,
        "labels": ["yes_no"],
        # transformers has no classifier of this family.
        "architecture": "GraniteForCausalLM",
        "head": {},
        "score": lambda x, linear: vocabulary_rows(x, linear) / 8,
        "head_file": "rows: [420]\nminus: 17\nattributes: [yes_no]\n",
        "config": {
            "model_type": "granite",
            "head_dim": None,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.35,
            "residual_multiplier": 0.6,
            "logits_scaling": 8.0,
            "tie_word_embeddings": True,
        },
    },
    "cohere-tiny": {
        "seed": 65,
        "form": LLAMA3_FORM,
        "labels": ["yes_no"],
        # transformers has no classifier of this family.
        "architecture": "CohereForCausalLM",
        "head": {},
        "score": lambda x, linear: vocabulary_rows(x, linear) * 0.125,
        "head_file": "rows: [420]\nminus: 17\nattributes: [yes_no]\n",
        "config": {
            "model_type": "cohere",
            "hidden_size": 72,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": None,
            "hidden_act": "silu",
            "layer_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "logit_scale": 0.125,
            "use_qk_norm": False,
            "tie_word_embeddings": True,
        },
    },
    # Heads as wide as TensorRT-LLM needs them, all together as wide as the residual stream.
    "glm-wide": {
        "seed": 87,
        "form": QWEN2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "GlmForSequenceClassification",
        "config": {
            "model_type": "glm",
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "hidden_act": "silu",
            "rms_norm_eps": 1.5625e-07,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "attention_bias": True,
            "tie_word_embeddings": False,
        },
    },
    # Norms of queries and keys by head; heads as wide as TensorRT-LLM needs them.
    "cohere-norms": {
        "seed": 80,
        "form": LLAMA3_FORM,
        "labels": ["yes_no"],
        "architecture": "CohereForCausalLM",
        "head": {},
        "score": lambda x, linear: vocabulary_rows(x, linear) * 0.125,
        "head_file": "rows: [420]\nminus: 17\nattributes: [yes_no]\n",
        "config": {
            "model_type": "cohere",
            "hidden_size": 128,
            "head_dim": None,
            "hidden_act": "silu",
            "layer_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "logit_scale": 0.125,
            "use_qk_norm": True,
            "tie_word_embeddings": True,
        },
    },
    "cohere2-tiny": {
        "seed": 81,
        "form": LLAMA3_FORM,
        "labels": ["yes_no"],
        "architecture": "Cohere2ForCausalLM",
        "head": {},
        "score": lambda x, linear: vocabulary_rows(x, linear) * 0.25,
        "head_file": "rows: [420]\nminus: 17\nattributes: [yes_no]\n",
        "config": {
            "model_type": "cohere2",
            "hidden_size": 72,
            "num_hidden_layers": 4,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": None,
            "hidden_act": "silu",
            "layer_norm_eps": 1e-5,
            "rope_theta": 50000.0,
            "sliding_window": 29,
            "sliding_window_pattern": 3,
            "logit_scale": 0.25,
            "tie_word_embeddings": True,
        },
    },
    "neox-tiny": {
        "seed": 66,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "GPTNeoXForSequenceClassification",
        "config": {
            "model_type": "gpt_neox",
            "num_key_value_heads": 4,
            "head_dim": None,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "rotary_emb_base": 10000,
            "rotary_pct": 0.25,
            "use_parallel_residual": True,
            "attention_bias": True,
            "tie_word_embeddings": False,
        },
    },
    # What TensorRT-LLM takes for granted: heads of this width, and a wide feed-forward network.
    "neox-wide": {
        "seed": 82,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "GPTNeoXForSequenceClassification",
        "config": {
            "model_type": "gpt_neox",
            "intermediate_size": 256,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": None,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "rotary_emb_base": 10000,
            "rotary_pct": 0.25,
            "use_parallel_residual": True,
            "attention_bias": True,
            "tie_word_embeddings": False,
        },
    },
    "qwen2-window": {
        "seed": 37,
        "form": QWEN2_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Qwen2ForSequenceClassification",
        "config": {
            "model_type": "qwen2",
            "head_dim": None,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "use_sliding_window": True,
            "sliding_window": 41,
            "max_window_layers": 1,
            "tie_word_embeddings": False,
        },
    },
    "olmo2-tiny": {
        "seed": 39,
        "form": LLAMA3_FORM,
        "labels": ["LABEL_0"],
        "architecture": "Olmo2ForSequenceClassification",
        "config": {
            "model_type": "olmo2",
            "hidden_size": 96,
            "num_attention_heads": 6,
            "head_dim": None,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 500000.0,
            "rope_scaling": None,
            "attention_bias": False,
            # Published ones are not tied; this one serves as a language model, too.
            "tie_word_embeddings": True,
        },
    },
    "internlm2-tiny": {
        "seed": 38,
        "form": LLAMA2_FORM,
        "labels": ["reward"],
        "architecture": "InternLM2ForRewardModel",
        "config": {
            "model_type": "internlm2",
            "vocab_size": 704,
            "head_dim": None,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "rope_scaling": {"factor": 1.0, "type": "dynamic"},
            "bias": False,
            "reward_token_id": 699,
            "attn_implementation": "eager",
            "tie_word_embeddings": False,
            "auto_map": {"AutoModel": "modeling_internlm2.InternLM2ForRewardModel"},
        },
    },
}

NEMO_OUTPUTS = ["quality", "toxicity", "humor", "creativity"] + HELPSTEER
SMALL = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "head_dim": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
STEP_TOKEN = "<extra_0>"
QRM_OBJECTIVES = 5
BATCH_NORM = ("running_mean", "running_var", "weight", "bias")
ARMO_PATTERN = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
ARMO_OBJECTIVES = (
    [f"helpsteer-{name}" for name in HELPSTEER]
    + [f"ultrafeedback-{name}" for name in ("overall_score", "instruction_following")]
    + [f"ultrafeedback-{name}" for name in ("truthfulness", "honesty", "helpfulness")]
    + ["beavertails-is_safe", "prometheus-score", "argilla-overall_quality", "argilla-judge_lm"]
    + [f"code-{name}" for name in ("complexity", "style", "explanation")]
    + [f"code-{name}" for name in ("instruction-following", "readability")]
)


def step_tokenizer():
    """Qwen2 form with the token that ends a step."""
    tokenizer = common.qwen2_tokenizer()
    common.add_specials(tokenizer, [STEP_TOKEN])
    return tokenizer


STEP_FORM = {
    **QWEN2_FORM,
    "build": step_tokenizer,
    "specials": common.QWEN2_SPECIALS + [STEP_TOKEN],
}


def last_pattern(ids, pattern):
    """Where the last occurrence of a pattern begins."""
    places = range(len(ids) - len(pattern), -1, -1)
    return next(at for at in places if ids[at : at + len(pattern)] == pattern)


def step_scores(states, ids, linear, tokenizer):
    """The probability of the second class at every step token."""
    steps = torch.tensor(ids) == tokenizer.token_to_id(STEP_TOKEN)
    logits = linear(torch.relu(linear(states[steps], "score.0")), "score.2")
    return torch.softmax(logits, dim=-1)[:, 1]


def armo_scores(states, ids, linear, tokenizer):
    """ArmoRM: a regression at the last token, whose scores a network read at the end of the
    last prompt mixes."""
    pattern = tokenizer.encode(ARMO_PATTERN, add_special_tokens=False).ids
    rewards = linear(states[-1], "regression_layer")
    gate = states[last_pattern(ids, pattern)]
    for layer in range(3):
        gate = torch.relu(linear(gate, f"gating.layers.{layer}"))
    shares = torch.softmax(linear(gate, "gating.layers.3") / 0.5, dim=-1)
    shares = shares * linear.weights["gating.logit_scale"][0]
    mixed = torch.sum(shares * (rewards @ linear.weights["reward_transform_matrix"]))
    return torch.cat((rewards, mixed[None]))


def qrm_scores(states, ids, linear, tokenizer):
    """QRM: the mean of each objective's quantiles, mixed by a network with batch norms."""
    pattern = tokenizer.encode(ARMO_PATTERN, add_special_tokens=False).ids
    quantiles = linear(states[-1], "regression_layer").reshape(QRM_OBJECTIVES, -1)
    rewards = quantiles.mean(dim=1)
    gate = states[last_pattern(ids, pattern)][None]
    for module in (0, 3, 6):
        gate = torch.relu(linear(gate, f"gating.layers.{module}"))
        norm = [linear.weights[f"gating.layers.{module + 2}.{part}"] for part in BATCH_NORM]
        gate = torch.nn.functional.batch_norm(gate, norm[0], norm[1], norm[2], norm[3])
    shares = torch.softmax(linear(gate[0], "gating.layers.9") / 0.5, dim=-1)
    shares = shares * linear.weights["gating.logit_scale"][0]
    mixed = torch.sum(shares * (rewards @ linear.weights["reward_transform_matrix"]))
    return torch.cat((rewards, mixed[None]))


def network(x, linear, names, activation):
    """Linear layers with an activation between them."""
    for name in names[:-1]:
        x = activation(linear(x, name))
    return linear(x, names[-1])


def urm_scores(states, ids, linear, tokenizer):
    """URM: the means of five objectives, weighed by a network that is read at the same token."""
    del ids, tokenizer
    means = linear(states[-1], "score").view(-1, 2)[:, 0]
    weights = network(states[-1], linear, ["weights.fc.0", "weights.fc.2", "weights.fc.4"], torch.selu)
    return torch.cat((means, torch.sum(means * weights)[None]))


def ldl_scores(states, ids, linear, tokenizer):
    """LDL: distributions over ten classes, whose means from 0 to 1 a second network weighs."""
    del ids, tokenizer
    leaky = torch.nn.functional.leaky_relu
    layers = [f"regression_layer.network.{module}" for module in (0, 2, 4)]
    classes = torch.softmax(network(states[-1], linear, layers, leaky).view(-1, 10), dim=-1)
    weights = network(states[-1], linear, [f"gating_layer.network.{at}" for at in (0, 3, 6)], leaky)
    values = torch.linspace(0, 1, 10, dtype=classes.dtype)
    return torch.cat((classes @ values, torch.sum((weights @ classes) * values)[None]))


def with_steps(ids, rng, tokenizer):
    """Some of the ids, the last among them, made step tokens."""
    steps = set(rng.integers(0, len(ids), len(ids) // 9).tolist()) | {len(ids) - 1}
    step = tokenizer.token_to_id(STEP_TOKEN)
    return [step if place in steps else token for place, token in enumerate(ids)]


def with_answer(ids, rng, tokenizer):
    """The ids with the beginning of an answer at one or two places in them."""
    pattern = tokenizer.encode(ARMO_PATTERN, add_special_tokens=False).ids
    for place in rng.integers(0, len(ids), 1 + len(ids) % 2).tolist():
        ids = ids[:place] + pattern + ids[place:]
    return ids


# Heads of every kind, each on a small decoder: the tensors beside the decoder's, and the
# score from the last state (or from all of them) and a function that applies one of the
# head's layers.
HEADS = {
    "nemotron-reward-tiny": {
        "seed": 41,
        "architecture": "LlamaForCausalLM",
        "head": {"lm_head.weight": (640, 32)},
        "score": lambda x, linear: linear(x, "lm_head")[:1],
    },
    "lm-head-tiny": {
        "seed": 42,
        "architecture": "LlamaForCausalLM",
        "head": {"lm_head.weight": (640, 32)},
        "score": lambda x, linear: linear(x, "lm_head")[[420]] - linear(x, "lm_head")[[17]],
        "head_file": "rows: [420]\nminus: 17\nattributes: [yes_no]\n",
    },
    "trl-tiny": {
        "seed": 43,
        "architecture": "LlamaForCausalLM",
        "head": {
            "lm_head.weight": (640, 32),
            "v_head.summary.weight": (1, 32),
            "v_head.summary.bias": (1,),
        },
        "score": lambda x, linear: linear(x, "v_head.summary"),
    },
    "openrlhf-tiny": {
        "seed": 44,
        "architecture": "RewardModel",
        "head": {"value_head.weight": (1, 32)},
        "score": lambda x, linear: linear(x, "value_head"),
    },
    "math-rm-tiny": {
        "seed": 45,
        "architecture": "Qwen2ForRewardModel",
        "config": {"model_type": "qwen2", "head_dim": None, "use_sliding_window": False},
        "head": {
            "score.0.weight": (32, 32),
            "score.0.bias": (32,),
            "score.2.weight": (1, 32),
            "score.2.bias": (1,),
        },
        "score": lambda x, linear: linear(torch.relu(linear(x, "score.0")), "score.2"),
    },
    "math-prm-tiny": {
        "seed": 47,
        "form": STEP_FORM,
        "architecture": "Qwen2ForProcessRewardModel",
        "config": {"model_type": "qwen2", "head_dim": None, "use_sliding_window": False},
        "labels": ["step"],
        "head": {
            "score.0.weight": (32, 32),
            "score.0.bias": (32,),
            "score.2.weight": (2, 32),
            "score.2.bias": (2,),
        },
        # Probabilities of every size.
        "gains": {"score.2.weight": 5},
        "prepare": with_steps,
        "scores": step_scores,
    },
    "armo-tiny": {
        "seed": 48,
        "architecture": "LlamaForRewardModelWithGating",
        "config": {
            "num_objectives": 19,
            "gating_hidden_dim": 24,
            "gating_n_hidden": 3,
            # Lower than the real 10, so that the shares differ on so small a network.
            "gating_temperature": 0.5,
        },
        "served": ARMO_OBJECTIVES + ["score"],
        "head": {
            "regression_layer.weight": (19, 32),
            "reward_transform_matrix": (19, 19),
            "gating.logit_scale": (1,),
            "gating.layers.0.weight": (24, 32),
            "gating.layers.0.bias": (24,),
            "gating.layers.1.weight": (24, 24),
            "gating.layers.1.bias": (24,),
            "gating.layers.2.weight": (24, 24),
            "gating.layers.2.bias": (24,),
            "gating.layers.3.weight": (19, 24),
            "gating.layers.3.bias": (19,),
        },
        "prepare": with_answer,
        "scores": armo_scores,
    },
    "qrm-tiny": {
        "seed": 49,
        "architecture": "LlamaForRewardModelWithGating31",
        "config": {
            "num_objectives": QRM_OBJECTIVES,
            "num_quantiles": 7,
            "gating_hidden_dim": 24,
            "gating_n_hidden": 3,
            "gating_temperature": 0.5,
        },
        "served": [f"objective_{i}" for i in range(QRM_OBJECTIVES)] + ["score"],
        "head": {
            "regression_layer.weight": (7 * QRM_OBJECTIVES, 32),
            "reward_transform_matrix": (QRM_OBJECTIVES, QRM_OBJECTIVES),
            "gating.logit_scale": (1,),
            "gating.layers.0.weight": (24, 32),
            "gating.layers.3.weight": (24, 24),
            "gating.layers.6.weight": (24, 24),
            "gating.layers.9.weight": (QRM_OBJECTIVES, 24),
            "gating.layers.9.bias": (QRM_OBJECTIVES,),
            **{f"gating.layers.{at}.{part}": (24,) for at in (2, 5, 8) for part in BATCH_NORM},
        },
        "gains": {"regression_layer.weight": 3},
        "prepare": with_answer,
        "scores": qrm_scores,
    },
    "urm-tiny": {
        "seed": 55,
        "architecture": "LlamaForSequenceClassificationWithNormal_Weights",
        "labels": [f"LABEL_{i}" for i in range(10)],
        "served": HELPSTEER + ["score"],
        "head": {
            "score.weight": (10, 32),
            "weights.fc.0.weight": (32, 32),
            "weights.fc.0.bias": (32,),
            "weights.fc.2.weight": (32, 32),
            "weights.fc.2.bias": (32,),
            "weights.fc.4.weight": (5, 32),
            "weights.fc.4.bias": (5,),
        },
        "scores": urm_scores,
    },
    "ldl-tiny": {
        "seed": 58,
        "architecture": "LDLRewardModel27B",
        "config": {"num_objectives": 40},
        "served": [f"objective_{i}" for i in range(4)] + ["score"],
        "head": {
            "regression_layer.network.0.weight": (24, 32),
            "regression_layer.network.0.bias": (24,),
            "regression_layer.network.2.weight": (24, 24),
            "regression_layer.network.2.bias": (24,),
            "regression_layer.network.4.weight": (40, 24),
            "regression_layer.network.4.bias": (40,),
            "gating_layer.network.0.weight": (24, 32),
            "gating_layer.network.0.bias": (24,),
            "gating_layer.network.3.weight": (24, 24),
            "gating_layer.network.3.bias": (24,),
            "gating_layer.network.6.weight": (4, 24),
            "gating_layer.network.6.bias": (4,),
        },
        # The distributions of trained ones are as narrow.
        "gains": {"regression_layer.network.4.weight": 6},
        "files": ("regression_layer", "gating_layer"),
        "scores": ldl_scores,
    },
    "nemo-tiny": {
        "seed": 46,
        "architecture": "NemotronForSequenceClassification",
        "labels": NEMO_OUTPUTS,
        "served": HELPSTEER,
        "config": {"model_type": "nemotron", "hidden_act": "relu2", "norm_eps": 1e-5},
        "head": {"score.weight": (9, 32), "score.bias": (9,)},
        "score": lambda x, linear: linear(x, "score")[4:],
    },
}
for _spec in HEADS.values():
    _spec.setdefault("form", LLAMA3_FORM)
    _spec["config"] = {**SMALL, **_spec.get("config", {})}
    _spec.setdefault("labels", ["reward"])


# ---------------------------------------------------------------------------
# Checkpoints
# ---------------------------------------------------------------------------


def make_config(spec, tokenizer):
    """The whole config.json, laid out as the family's published ones are."""
    config = {**({} if spec.get("own_sizes") else SIZES), **spec["config"]}
    config = {k: v for k, v in config.items() if not (k == "head_dim" and v is None)}
    config["architectures"] = [spec["architecture"]]
    config["attention_dropout"] = 0.0
    config["initializer_range"] = 0.02
    config["use_cache"] = True
    for key in ("bos", "eos"):
        token = spec["form"]["config"][f"{key}_token"]
        config[f"{key}_token_id"] = None if token is None else tokenizer.token_to_id(token)
    # Where a model has no padding of its own, that of its family's classifiers: the end.
    config["pad_token_id"] = config["eos_token_id"]
    if "SequenceClassification" in spec["architecture"]:
        config["id2label"] = {str(i): name for i, name in enumerate(spec["labels"])}
        config["label2id"] = {name: i for i, name in enumerate(spec["labels"])}
    assert tokenizer.get_vocab_size() <= config["vocab_size"]
    if "wrapper" in spec:
        outside = ("architectures", "id2label", "label2id", "pad_token_id")
        wrapped = {key: config.pop(key) for key in outside}
        return {**wrapped, **spec["wrapper"], "text_config": config}
    return config


def internlm2_shapes(config):
    """Names and shapes of an InternLM2 reward model's tensors."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = hidden // heads
    shapes = {
        "model.tok_embeddings.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
        "v_head.weight": (1, hidden),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes[at + "attention.wqkv.weight"] = ((heads + 2 * kv) * dim, hidden)
        shapes[at + "attention.wo.weight"] = (hidden, heads * dim)
        shapes[at + "attention_norm.weight"] = (hidden,)
        shapes[at + "ffn_norm.weight"] = (hidden,)
        shapes[at + "feed_forward.w1.weight"] = (ffn, hidden)
        shapes[at + "feed_forward.w2.weight"] = (hidden, ffn)
        shapes[at + "feed_forward.w3.weight"] = (ffn, hidden)
    return shapes


def shapes_of(spec, config, directory):
    """Names and shapes of a checkpoint's tensors; of transformers' families, its own."""
    if config["model_type"] == "internlm2":
        return internlm2_shapes(config)
    if "head" in spec:
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.from_pretrained(directory))
        shapes = {f"model.{name}": tuple(t.shape) for name, t in model.state_dict().items()}
        return {**published_shapes(shapes, False), **spec["head"]}
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(directory))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return published_shapes(shapes, config["model_type"] == "mixtral")


def published_shapes(shapes, mixtral):
    """The same with the tensors of each expert by itself, as published checkpoints have them."""
    names = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
    published = {}
    for name, shape in shapes.items():
        if mixtral:
            name = name.replace(".mlp.", ".block_sparse_moe.")
        at, _, part = name.rpartition(".experts.")
        for expert in range(shape[0] if at else 0):
            if part == "gate_up_proj":
                for half in names[:2]:
                    published[f"{at}.experts.{expert}.{half}.weight"] = (shape[1] // 2, shape[2])
            else:
                published[f"{at}.experts.{expert}.{names[2]}.weight"] = shape[1:]
        if not at:
            published[name] = shape
    return published


def random_tensor(name, shape, rng, plus_one):
    """As in the other script; a family that adds one to its norms' weights stores that much less."""
    values = common.random_tensor(name, shape, rng) if len(shape) > 1 or "norm" in name else None
    if "norm" in name and name.endswith(".weight"):
        return values - 1.0 if plus_one else values
    if name.endswith("c_attn.weight"):
        # Inputs are the rows here; tokens choose among others.
        return 2.0 / np.sqrt(shape[0], dtype=np.float32) * rng.standard_normal(shape, dtype=np.float32)
    if name.endswith(("wte.weight", "wpe.weight")):
        return 0.7 * rng.standard_normal(shape, dtype=np.float32)
    if name.endswith(("running_mean", "bias")):
        return 0.3 * rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("running_var"):
        return 0.5 + rng.random(shape, dtype=np.float32)
    if len(shape) == 1:
        return 1.0 + 0.25 * rng.standard_normal(shape, dtype=np.float32)
    return values


def make_tensors(spec, config, directory):
    """All tensors of a checkpoint, from its seed, rounded to bfloat16."""
    rng = np.random.Generator(np.random.PCG64(spec["seed"]))
    plus_one = config["model_type"] in ("gemma2", "gemma3", "gemma3_text", "nemotron")
    tensors = {}
    for name, shape in sorted(shapes_of(spec, config, directory).items()):
        values = random_tensor(name, shape, rng, plus_one)
        values = values * np.float32(spec.get("gains", {}).get(name, 1))
        if "embed" in name and "gemma" in config["model_type"]:
            # They multiply by the root of the width.
            width = config.get("text_config", config)["hidden_size"]
            values = values / np.sqrt(np.float32(width))
        tensors[name] = torch.from_numpy(values).to(torch.bfloat16).contiguous()
    return tensors


def make_checkpoint(spec, directory):
    """Write a whole checkpoint directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    tokenizer = common.write_tokenizer(spec["form"], directory, True)
    config = make_config(spec, tokenizer)
    common.write_json(directory / "config.json", config, indent=2)
    tensors = make_tensors(spec, config, directory)
    for part in spec.get("files", ()):
        own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(f"{part}.")}
        common.save_shard(own, directory / f"{part}.safetensors")
    common.save_weights(tensors, directory, 1)
    if "head_file" in spec:
        (directory / "head.yaml").write_text(spec["head_file"])
    return config


# ---------------------------------------------------------------------------
# InternLM2, after its published structure
# ---------------------------------------------------------------------------


class InternLM2:
    """A decoder of Llama's kind whose queries, keys and values are one matrix: for each
    key-value head its query heads, then the key, then the value. The score is read at a
    token that follows the conversation."""

    def __init__(self, directory, dtype):
        self.config = json.loads((directory / "config.json").read_text())
        weights = load_file(directory / "model.safetensors")
        self.weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
        self.dtype = dtype

    def norm(self, x, name):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])
        return self.weights[name] * wide.to(self.dtype)

    def linear(self, x, name):
        return torch.nn.functional.linear(x, self.weights[name])

    def rotate(self, x, cos, sin):
        half = x.shape[-1] // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
        return x * cos + turned * sin

    def attention(self, x, at, cos, sin):
        config = self.config
        heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
        dim = config["hidden_size"] // heads
        length = x.shape[0]
        qkv = self.linear(x, at + "attention.wqkv.weight").view(length, kv, heads // kv + 2, dim)
        query = qkv[:, :, :-2].reshape(length, heads, dim).transpose(0, 1)
        key = qkv[:, :, -2].transpose(0, 1).repeat_interleave(heads // kv, 0)
        value = qkv[:, :, -1].transpose(0, 1).repeat_interleave(heads // kv, 0)
        query, key = self.rotate(query, cos, sin), self.rotate(key, cos, sin)
        scores = query @ key.transpose(1, 2) / dim**0.5
        scores = scores.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(self.dtype)
        mixed = (weights @ value).transpose(0, 1).reshape(length, heads * dim)
        return self.linear(mixed, at + "attention.wo.weight")

    def feed_forward(self, x, at):
        gate = torch.nn.functional.silu(self.linear(x, at + "feed_forward.w1.weight"))
        up = self.linear(x, at + "feed_forward.w3.weight")
        return self.linear(gate * up, at + "feed_forward.w2.weight")

    def score(self, ids):
        dim = self.config["hidden_size"] // self.config["num_attention_heads"]
        places = torch.arange(0, dim, 2, dtype=torch.int64).float() / dim
        angles = torch.outer(torch.arange(len(ids)).float(), self.config["rope_theta"] ** -places)
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        x = self.weights["model.tok_embeddings.weight"][torch.tensor(ids)]
        for layer in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, at + "attention_norm.weight"), at, cos, sin)
            x = x + self.feed_forward(self.norm(x, at + "ffn_norm.weight"), at)
        states = self.norm(x, "model.norm.weight")
        return [float(v) for v in self.linear(states[-1], "v_head.weight").float()]


# ---------------------------------------------------------------------------
# Golden scores
# ---------------------------------------------------------------------------


def scorer(spec, directory, dtype, attention):
    """What scores one sequence of ids."""
    if spec["config"]["model_type"] == "internlm2":
        return InternLM2(directory, dtype).score
    if "head" in spec:
        return head_scorer(spec, directory, dtype, attention)
    if "fresh" in spec:
        load = {key: value for key, value in spec.items() if key != "fresh"}
        return lambda ids: scorer(load, directory, dtype, attention)(ids)
    model = AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=dtype, attn_implementation=attention
    ).eval()
    assert next(model.parameters()).dtype == dtype
    return lambda ids: common.score(model, ids)


def head_scorer(spec, directory, dtype, attention):
    """Scores by transformers' decoder, and the head as its code writes it."""
    model = AutoModel.from_pretrained(directory, dtype=dtype, attn_implementation=attention).eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    files = sorted(directory.glob("*.safetensors"))
    weights = {k: v.to(dtype) for file in files for k, v in load_file(file).items()}

    def linear(x, name):
        return torch.nn.functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    linear.weights = weights

    def score(ids):
        states = model(torch.tensor([ids])).last_hidden_state[0]
        if "scores" in spec:
            scores = spec["scores"](states, ids, linear, tokenizer)
        else:
            scores = spec["score"](states[-1], linear)
        return [float(v) for v in scores.float()]

    return score


def sequences(spec, config, directory):
    """Random ids of the chosen lengths, with the tokens that the model is read at."""
    drawn = common.random_sequences(spec, config)
    if "prepare" in spec:
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        rng = np.random.Generator(np.random.PCG64(2000 + spec["seed"]))
        return [spec["prepare"](ids, rng, tokenizer) for ids in drawn]
    token = config.get("reward_token_id")
    return drawn if token is None else [ids[:-1] + [token] for ids in drawn]


def make_scores(spec, directory, config, path):
    """Score the random sequences in both types and write the golden file."""
    full = scorer(spec, directory, torch.float32, "eager")
    half = scorer(spec, directory, torch.bfloat16, spec.get("attention", "sdpa"))
    with torch.inference_mode():
        cases = [{"ids": i, "f32": full(i), "bf16": half(i)} for i in sequences(spec, config, directory)]
        check(full, cases, config)
    common.write_cases(path, {"cases": cases}, {"labels": spec.get("served", spec["labels"])})


def check(score, cases, config):
    """Assert that scores are spread and depend on early tokens and on order."""
    if all(len(case["f32"]) == len(cases[0]["f32"]) for case in cases):
        spread = np.array([case["f32"] for case in cases]).std(axis=0).mean()
    else:
        spread = np.concatenate([case["f32"] for case in cases]).std()
    assert 0.15 < spread < 3, spread
    base = next(case for case in cases if len(case["ids"]) >= 127)
    ids = base["ids"]
    for changed in (ids[:5] + [7] + ids[6:], ids[64:126] + ids[:64] + ids[126:]):
        moved = max(abs(a - b) for a, b in zip(score(changed), base["f32"]))
        assert moved > 1e-3, moved


def main():
    """Make the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=HERE.parent / "tests")
    parser.add_argument("--only", choices=sorted(FAMILIES | HEADS), help="make one checkpoint only")
    args = parser.parse_args()
    common.check_versions()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name, spec in (FAMILIES | HEADS).items():
        if args.only in (None, name):
            directory = args.root / "checkpoints" / name
            config = make_checkpoint(spec, directory)
            config = config.get("text_config", config)
            make_scores(spec, directory, config, args.root / "golden" / "scores" / f"{name}.json")
            print(name)


if __name__ == "__main__":
    main()
