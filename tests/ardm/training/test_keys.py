"""A key's seed is the same in every process and for ever."""

import hashlib

import numpy as np
import pytest
import torch

from ardm.training import key_seed


@pytest.mark.parametrize(
    ("key", "seed"),
    [
        ((0,), 5263075011782779848),
        ((1, 2), -8160797754644569897),
        ((-7, 10**12, 3), -3586480672186792655),
        ((5, 200), 3066644312640292501),
        ((2**63,), -1902545191043785602),
    ],
)
def test_a_keys_seed_is_what_it_always_was(key, seed):
    assert key_seed(*key) == seed
    assert key_seed(*map(torch.tensor, key[:-1]), key[-1]) == seed
    if max(key) < 2**63:
        assert key_seed(*map(np.int64, key)) == seed
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    assert digest == seed.to_bytes(8, "little", signed=True)
    torch.Generator().manual_seed(seed)


def test_texts_are_parts_of_a_key_and_keys_are_told_apart():
    keys = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (10,), ("0",), ("a",), ("a", 0), ("a0",)]
    assert len({key_seed(*key) for key in keys}) == len(keys)
    assert key_seed(np.str_("a"), True) == key_seed("a", 1)
    with pytest.raises(TypeError):
        key_seed(0.5)
