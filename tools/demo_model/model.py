"""Tokenizer, decoder and chat template, and their export as a checkpoint."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

LABELS = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL = [PAD, BEGIN, END, *ROLES.values()]
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# The pre-tokenizer of Llama 3: words with their leading space, digits by threes.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MAX_POSITIONS = 2048
VOCABULARY = 6144


def train_tokenizer(items):
    """A byte-level BPE on the training split alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (part for item in items for part in (item.prompt, item.answer))
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer


def new_model(tokenizer):
    ids = {label: i for i, label in enumerate(LABELS)}
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        id2label={i: label for label, i in ids.items()},
        label2id=ids,
        pad_token_id=tokenizer.token_to_id(PAD),
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
    )
    return LlamaForSequenceClassification(config)


def render(messages, answer):
    """The chat template, written out; `export` checks that the two agree."""
    turns = [*messages, {"role": "assistant", "content": answer}]
    return BEGIN + "".join(ROLES[m["role"]] + m["content"].strip() + END for m in turns)


def fit(ids, end, limit):
    """Cut a sequence that is too long, keeping the end mark."""
    return ids if len(ids) <= limit else ids[: limit - 1] + [end]


def collate(sequences, pad=0):
    """Pad on the right; returns ids and the place of each last token."""
    lengths = torch.tensor([len(s) for s in sequences])
    ids = torch.full((len(sequences), int(lengths.max())), pad)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    return ids, lengths - 1


def export(model, tokenizer, output):
    """Write the checkpoint, tensors in bfloat16, and check the chat template."""
    output.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json_string())
    config.update(
        architectures=["LlamaForSequenceClassification"],
        dtype="bfloat16",
        use_cache=False,
        rope_theta=10000.0,
    )
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {
        name: value.detach().to(torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    (output / "model.safetensors").chmod(0o644)
    tokenizer.save(str(output / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": MAX_POSITIONS,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (output / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )
    check_template(output)


def check_template(output):
    fast = AutoTokenizer.from_pretrained(output)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How  are you? "},
        {"role": "assistant", "content": " Fine.\n"},
        {"role": "user", "content": "And now? 1234"},
    ]
    ids = fast.apply_chat_template(
        [*turns, {"role": "assistant", "content": "Still fine."}],
        add_generation_prompt=False,
        return_dict=False,
    )
    assert ids == fast(render(turns, "Still fine."), add_special_tokens=False)["input_ids"]
    assert ids[-1] == fast.eos_token_id != fast.pad_token_id
