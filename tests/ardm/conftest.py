"""The tiny models that most tests of the core share, and the exact distributions of some."""

import functools

import pytest

from .rows import MASK, PAD
from .staged import TREES, StagedEnumeration, settings_of


@pytest.fixture(scope="session")
def plain(tiny_model):
    """Three data symbols and the mask."""
    return tiny_model()


@pytest.fixture(scope="session")
def exact(plain, enumeration):
    """length -> the exact distributions of `plain` over sequences of that length."""
    return {length: enumeration(plain, length) for length in (1, 2, 3, 4)}


@pytest.fixture(scope="session")
def model(tiny_model):
    """The same with padding, for rows of up to 12 tokens."""
    ids = {"mask_token_id": MASK, "pad_token_id": PAD}
    return tiny_model(vocab_size=5, max_position_embeddings=12, **ids)


@pytest.fixture(scope="module")
def enumerated(tiny_model):
    """(tree, stage order, parametrisation) -> a model and its exact distributions."""

    @functools.cache
    def of_kind(*kind):
        model = tiny_model(**settings_of(*kind))
        return model, StagedEnumeration(model, TREES[kind[0]][1])

    return of_kind
