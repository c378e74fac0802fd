"""Tiny models of transformers' own classes, one for each family that is adopted in the tests.

13 ids: 12 hides, 0 or 1 is padding where the family has some, 2 to 11 are always values.
"""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from ardm import adopt

VOCAB_SIZE = 13
MASK = 12
_SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,  # so that what a token does to another is far from rounding
}
_NO_ENDS = dict.fromkeys(("bos_token_id", "eos_token_id"))
_NO_EDGES = _NO_ENDS | dict.fromkeys(("cls_token_id", "sep_token_id"))
_HEADS = _SIZES | _NO_ENDS | {"num_key_value_heads": 2}
_DEBERTA = _SIZES | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
MASKED = {
    "bert": _SIZES,
    "roberta": _SIZES | _NO_ENDS | {"pad_token_id": 1},
    "camembert": _SIZES | _NO_ENDS | {"pad_token_id": 1},
    "xlm-roberta": _SIZES | _NO_ENDS | {"pad_token_id": 1},
    "distilbert": {
        "vocab_size": VOCAB_SIZE,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 32,
        "max_position_embeddings": 40,
        "initializer_range": 0.3,
    },
    "modernbert": _SIZES
    | _NO_EDGES
    | {"pad_token_id": 0, "local_attention": 4, "global_attn_every_n_layers": 2},
    "eurobert": _HEADS | {"pad_token_id": 0, "mask_token_id": MASK},
    "deberta-v2": _DEBERTA | {"position_buckets": 8, "norm_rel_ebd": "layer_norm"},
    "esm": _SIZES
    | {"pad_token_id": 1, "mask_token_id": MASK, "position_embedding_type": "rotary"}
    | {"token_dropout": True, "emb_layer_norm_before": False},
}
CAUSAL = {
    "llama": _HEADS,
    "qwen2": _HEADS,
    "qwen3": _HEADS | {"head_dim": 8},
    "smollm3": _HEADS | {"pad_token_id": 0},
    "gemma3_text": _HEADS | {"head_dim": 8, "sliding_window": 4, "pad_token_id": 0},
    "mistral": _HEADS | {"sliding_window": 4},
    "gpt2": _NO_ENDS
    | {"vocab_size": VOCAB_SIZE, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40}
    | {"initializer_range": 0.3},
}
FAMILIES = [*MASKED, *CAUSAL]


def plain_model(family, seed=0, **settings):
    """A model of transformers' own class, with random weights."""
    torch.manual_seed(seed)
    auto = AutoModelForMaskedLM if family in MASKED else AutoModelForCausalLM
    sizes = MASKED.get(family) or CAUSAL[family]
    return auto.from_config(AutoConfig.for_model(family, **(sizes | settings))).eval()


def adopted_model(family, seed=0, **settings):
    """The same, adopted; `settings` are of `adopt`."""
    return adopt(plain_model(family, seed), **({"mask_token_id": MASK} | settings))
