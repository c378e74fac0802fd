"""A tiny model of characters, as the evaluation harness sees it."""

import pytest

from ardm.data.tokenization import build_tokenizer
from ardm.harness import ARDMHarness

LONGEST = 8


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer("char", "abc ")  # space a b c [UNK] [MASK] [PAD]


@pytest.fixture
def harness(tiny_model, tokenizer):
    ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = tiny_model(vocab_size=len(tokenizer), max_position_embeddings=LONGEST, **ids)
    return lambda **options: ARDMHarness(model, tokenizer=tokenizer, **options)
