"""Orders: which position is generated when.

An order is a permutation of positions, `order[i]` = the position generated at step i; its inverse is the rank,
`rank[p]` = the step at which p is generated (the paper's sigma is a rank; mixing the two up is the field's commonest
bug). Generation asks one thing of an order: the queue of a row's masked positions, first to be generated first.

Shapes: B batch, L length.
"""

import torch
from torch import Tensor


def order_to_rank(order: Tensor) -> Tensor:
    """The rank of each position, int64 of the order's shape (..., L). Its own inverse: rank_to_order is the same."""
    return order.argsort(-1)


def check_order(order: Tensor, batch_size: int, length: int) -> Tensor:
    """Checks an explicit order and broadcasts it over the batch.

    Args:
        order: int64 (L,) or (B, L), each row a permutation of 0..L-1.
        batch_size: B.
        length: L.

    Returns:
        int64 (B, L).

    Raises:
        ValueError: if the shape or type is another, or a row is no permutation.
    """
    if not isinstance(order, Tensor) or order.dtype not in (torch.int64, torch.int32):
        got = order.dtype if isinstance(order, Tensor) else type(order).__name__
        raise ValueError(f"order is {got}; expected a LongTensor (L,) or (B, L) of positions.")
    if order.shape not in ((length,), (batch_size, length)):
        raise ValueError(
            f"order has shape {tuple(order.shape)}; expected ({length},) or ({batch_size}, {length}): "
            "a permutation of all positions of the sequence."
        )
    order = order.long().expand(batch_size, length)
    if not torch.equal(order.sort(-1).values, torch.arange(length, device=order.device).expand_as(order)):
        raise ValueError(f"order is no permutation of 0..{length - 1}: some position is missing or repeated.")
    return order


def order_scores(order: str | Tensor, place_BL: Tensor, uniforms_BL: Tensor) -> Tensor:
    """Scores of an order that needs no logits: lower = generated earlier.

    Args:
        order: "random", "left_to_right", "right_to_left", or positions int64 (L,) or (B, L).
        place_BL: int64 (B, L), each position's place among its row's real tokens.
        uniforms_BL: float64 (B, L), the random numbers that "random" sorts by.

    Returns:
        (B, L).

    Raises:
        ValueError: on an unknown name, or a tensor that is no permutation.
    """
    if isinstance(order, str):
        if order not in _NAMED:
            raise ValueError(f"order is {order!r}; expected one of {sorted(_NAMED)} or a LongTensor of positions.")
        return _NAMED[order](place_BL, uniforms_BL)
    return order_to_rank(check_order(order, *place_BL.shape).to(place_BL.device))


_NAMED = {
    "random": lambda place_BL, uniforms_BL: uniforms_BL,
    "left_to_right": lambda place_BL, uniforms_BL: place_BL,
    "right_to_left": lambda place_BL, uniforms_BL: -place_BL,
}


def generation_queue(scores_BL: Tensor, masked_BL: Tensor) -> Tensor:
    """The masked positions of each row in order of their scores, then the known ones (never reached).

    Args:
        scores_BL: (B, L), lower = earlier.
        masked_BL: bool (B, L).

    Returns:
        int64 (B, L) of positions.
    """
    first_BL = scores_BL.argsort(dim=1, stable=True)
    known_last_BL = (~masked_BL).gather(1, first_BL).to(torch.int8).argsort(dim=1, stable=True)
    return first_BL.gather(1, known_last_BL)
