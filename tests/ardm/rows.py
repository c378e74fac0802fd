"""Rows of ids for the tiny models of conftest.py, and a call that tells everything."""

import torch

MASK = 3
PAD = 4


def masks(*shape):
    """Rows of nothing but masks."""
    return torch.full(shape, MASK)


def full(model, ids, attention_mask=None, **settings):
    """Everything that `generate` can tell."""
    return model.generate(ids, attention_mask, return_dict_in_generate=True, **settings)
