"""Classifier-free guidance: towards what the prompt makes more likely.

    logits = free + scale * (given - free)

with `given` the logits with the prompt and `free` those with the prompt masked out (arXiv
2207.12598; for masked text 2410.18514).

Scale 1 is the model itself, 0 the model without the prompt.

Shapes: B batch, L length, K positions, V vocabulary.
"""

import torch
from torch import Tensor

from .networks import Network


def guided(network: Network, prompt_BL: Tensor, mask_token_id: int, scale: float) -> Network:
    """A network whose logits are guided; a call is one of `network` with twice the rows.

    Args:
        network: takes 2B rows, those with the prompt first.
        prompt_BL: bool (B, L), the given tokens.
        mask_token_id: what hides them.
        scale: strength.

    Returns:
        A network of the same signature.
    """

    def call(ids: Tensor, positions: Tensor | None) -> Tensor:
        both = torch.cat((ids, ids.masked_fill(prompt_BL, mask_token_id)))
        logits = network(both, None if positions is None else torch.cat((positions, positions)))
        given, free = logits.chunk(2)
        # what is impossible with or without the prompt has no difference to add
        impossible = (given == -torch.inf) | (free == -torch.inf)
        return torch.where(impossible, given, free + scale * (given - free))

    return call
