"""Encoding: rows of ids hold what is known, what is asked for, and what stands around a text."""

import torch

from ardm.data.framing import Frame
from ardm.harness.encoding import canvases
from ardm.harness.requests import Prompt


def prompts_of(*lengths):
    settings = {"max_new_tokens": 2}
    return [Prompt(i, list(range(1, n + 1)), [], settings, 0) for i, n in enumerate(lengths)]


def test_what_is_written_lies_between_a_context_and_what_closes_a_text():
    prompts = prompts_of(3, 0, 1)
    ids, real = canvases(prompts, Frame((7,), (8,)), 9)
    assert ids.tolist() == [[7, 1, 2, 3, 9, 9, 8], [7, 9, 9, 8, 0, 0, 0], [7, 1, 9, 9, 8, 0, 0]]
    assert torch.equal(real, ids > 0)
    ids, real = canvases(prompts[:1], Frame(), 9)
    assert ids.tolist() == [[1, 2, 3, 9, 9]] and real.all() and ids.dtype == torch.long
