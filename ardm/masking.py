"""Random-ratio masking: how many tokens are hidden, which, and the loss that makes it a bound.

For a sequence x of L maskable tokens, t ~ U{0..L-1} and a uniform order (arXiv 2110.02037, equation
2; counts as in arXiv 2409.02908, prop. 3.1):

    -log p(x) <= E_t E_order  L / (L - t) * sum over masked p of CE_p

t = `num_known` tokens come first in the order and are kept, the other m = L - t in 1..L are
replaced by the mask id. So the mean cross-entropy over one sequence's masked tokens is an unbiased
estimate of its bound per token: average within a sequence first. Pooling the masked tokens of a
batch is BERT's loss, not the bound.

All random numbers are a pure function of integer keys (randomness.py): a mask never depends on
which process draws it, on its neighbours in the batch, or on what was drawn before.

Shapes: B batch, L length, V vocabulary, N selected positions.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .checks import check_integer
from .id_checks import (
    IGNORED,
    LAST_ID,
    check_ids,
    check_like_ids,
    check_row_integers,
    check_rows,
    check_zero_one,
    is_looked_at,
)
from .randomness import keyed_uniforms, seed_from

# one stream each, so that no two kinds of random number share their bits
_STRATA = 1
_COUNT = 2
_ORDER = 3


# ------------------------------------------------------------------------------------------- counts
def stratified_num_masked(num_maskable_B: Tensor, uniforms_B: Tensor) -> Tensor:
    """Counts m = 1 + floor(u * n) of 1..n, uniform if u is.

    Args:
        num_maskable_B: int64 (B,), n >= 0 maskable tokens of each row.
        uniforms_B: float64 (B,) in [0, 1); one in each stratum [i/B, (i+1)/B) makes the counts
            stratified.

    Returns:
        int64 (B,) in 1..n (0 where n = 0).
    """
    counts_B = 1 + (uniforms_B * num_maskable_B).floor().long()
    return torch.minimum(counts_B, num_maskable_B)


def strata(
    size: int, seed: int, step: Tensor | int = 0, device: torch.device | None = None
) -> Tensor:
    """A random assignment of `size` rows to the strata 0..size-1, as a function of (seed, step).

    Args:
        size: number of rows in the global batch, over all processes and accumulation steps.
        seed: key of the run.
        step: optimiser step, a number or an int64 tensor that broadcasts against (size,).
        device: where the result is made.

    Returns:
        int64 (size,): a permutation, the same on every process.
    """
    return keyed_uniforms(seed, _STRATA, step, torch.arange(size, device=device)).argsort()


# -------------------------------------------------------------------------------------------- masks
def random_ratio_mask(
    input_ids: Tensor,
    mask_token_id: int,
    *,
    attention_mask: Tensor | None = None,
    prompt_mask: Tensor | None = None,
    num_known: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Hides a uniformly distributed number of uniformly chosen tokens of each row (algorithm 2).

    Args:
        input_ids: int64 (B, L), without mask ids.
        mask_token_id: the id that hides a token.
        attention_mask: (B, L), 1 on real tokens, 0 on padding; None = no padding.
        prompt_mask: (B, L), 1 on tokens that are always known and outside the loss.
        num_known: int64 (B,), t in 0..n-1 for rows of n maskable tokens; None = stratified over the
            batch, so that the B counts are spread evenly over 1..n.
        generator: source of randomness on any device; None = torch's global one.

    Returns:
        masked_input_ids: int64 (B, L).
        labels: int64 (B, L), the original id where masked and -100 elsewhere.

    Raises:
        ValueError: on arguments of the wrong type, shape or device, masks inside `input_ids` at
            maskable positions, a row without real tokens, or a `num_known` outside 0..n-1.
    """
    mask_token_id = check_integer("mask_token_id", mask_token_id, 0, LAST_ID)
    maskable_BL = maskable_tokens(input_ids, mask_token_id, attention_mask, prompt_mask)
    seed = seed_from(generator)
    device = input_ids.device
    batch_size = input_ids.shape[0]
    rows_B = torch.arange(batch_size, device=device)
    num_maskable_B = maskable_BL.sum(1)
    if num_known is None:
        jitter_B = keyed_uniforms(seed, _COUNT, rows_B)
        uniforms_B = (strata(batch_size, seed, 0, device) + jitter_B) / batch_size
        num_masked_B = stratified_num_masked(num_maskable_B, uniforms_B)
    else:
        num_masked_B = num_maskable_B - _checked_num_known(num_known, num_maskable_B)
    uniforms_BL = order_uniforms(seed, rows_B, input_ids.shape[1])
    return mask_last(input_ids, mask_token_id, maskable_BL, num_masked_B, uniforms_BL)


def order_uniforms(seed: Tensor | int, rows_B: Tensor, length: int) -> Tensor:
    """Uniforms (B, L) whose ranks are a uniform order of each row: a number a position."""
    return keyed_uniforms(seed, _ORDER, rows_B[:, None], torch.arange(length, device=rows_B.device))


def mask_last(
    input_ids: Tensor,
    mask_token_id: int,
    maskable_BL: Tensor,
    num_masked_B: Tensor,
    uniforms_BL: Tensor,
) -> tuple[Tensor, Tensor]:
    """Hides the `num_masked` maskable tokens of each row that come last in the uniforms' order.

    Args:
        input_ids: int64 (B, L).
        mask_token_id: the id that hides a token.
        maskable_BL: bool (B, L).
        num_masked_B: int64 (B,).
        uniforms_BL: (B, L), whose ranks are the order.

    Returns:
        As [`random_ratio_mask`].
    """
    input_ids = input_ids.long()  # cross-entropy takes no int32 labels
    if not input_ids.shape[1]:
        return input_ids, input_ids
    # the num_masked highest uniforms: one sort and a threshold, not two argsorts for the ranks
    uniforms_BL = torch.where(maskable_BL, uniforms_BL, -1.0)
    last_first_BL = uniforms_BL.sort(1, descending=True).values
    threshold_B1 = last_first_BL.gather(1, (num_masked_B[:, None] - 1).clamp(min=0))
    masked_BL = (uniforms_BL >= threshold_B1) & maskable_BL & (num_masked_B[:, None] > 0)
    labels = input_ids.masked_fill(~masked_BL, IGNORED)
    return input_ids.masked_fill(masked_BL, mask_token_id), labels


def keyed_random_ratio_mask(
    input_ids: Tensor,
    mask_token_id: int,
    example_numbers: Tensor,
    *,
    seed: int,
    global_batch_size: int,
    max_ratio: float = 1.0,
    attention_mask: Tensor | None = None,
    prompt_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """[`random_ratio_mask`] for training, by (seed, example number), strata over the global batch.

    The k-th example of a run has number k: it stands for (epoch, index in the epoch) and for (step,
    place in the global batch) at once. One process or many, a fresh run or a resumed one: the masks
    are the same.

    Args:
        input_ids: int64 (B, L), this process's micro-batch.
        mask_token_id: the id that hides a token.
        example_numbers: int64 (B,), number of each row since the start of the run.
        seed: key of the run.
        global_batch_size: examples of one optimiser step over all processes and accumulation steps.
        max_ratio: counts are uniform on 1..max_ratio * n; below 1 the loss is no bound (a
            curriculum).
        attention_mask: as in [`random_ratio_mask`].
        prompt_mask: as in [`random_ratio_mask`].

    Returns:
        As [`random_ratio_mask`].
    """
    maskable_BL = maskable_tokens(input_ids, mask_token_id, attention_mask, prompt_mask)
    step_B = example_numbers // global_batch_size
    place_B = example_numbers % global_batch_size
    # A micro-batch lies within one optimiser step, so its first row's step is that of all.
    stratum_B = strata(global_batch_size, seed, step_B[:1], input_ids.device)[place_B]
    uniforms_B = (stratum_B + keyed_uniforms(seed, _COUNT, example_numbers)) / global_batch_size
    num_masked_B = stratified_num_masked(maskable_BL.sum(1), uniforms_B * max_ratio)
    order_BL = order_uniforms(seed, example_numbers, input_ids.shape[1])
    return mask_last(input_ids, mask_token_id, maskable_BL, num_masked_B, order_BL)


def maskable_tokens(
    input_ids: Tensor, mask_token_id: int, attention_mask: Tensor | None, prompt_mask: Tensor | None
) -> Tensor:
    """bool (B, L): real tokens that are no prompt.

    Args:
        input_ids: int64 (B, L).
        mask_token_id: must not occur at a maskable position.
        attention_mask: (B, L), 0 on padding.
        prompt_mask: (B, L), 1 on given tokens.

    Returns:
        bool (B, L).

    Raises:
        ValueError: on masks of another type, shape or device than the ids, or (on a CPU) a row
            without real tokens or a mask id at a maskable position.
    """
    check_ids(input_ids)
    maskable_BL = torch.ones_like(input_ids, dtype=torch.bool)
    for name, mask in (("attention_mask", attention_mask), ("prompt_mask", prompt_mask)):
        if mask is not None:
            check_like_ids(name, mask, input_ids)
            if is_looked_at(mask):
                check_zero_one(name, mask)
    if attention_mask is not None:
        if is_looked_at(attention_mask):
            check_rows(attention_mask)
        maskable_BL = maskable_BL & attention_mask.bool()
    if prompt_mask is not None:
        maskable_BL = maskable_BL & ~prompt_mask.bool()
    # on a CPU only: in a training step a GPU would have to wait for the answer
    if input_ids.device.type == "cpu" and ((input_ids == mask_token_id) & maskable_BL).any():
        raise ValueError(
            f"input_ids contains the mask id {mask_token_id}; expected a sequence without masks."
        )
    return maskable_BL


def _checked_num_known(num_known: Tensor, num_maskable_B: Tensor) -> Tensor:
    check_row_integers("num_known", num_known, len(num_maskable_B))
    num_known = num_known.to(num_maskable_B)
    if ((num_known < 0) | (num_known >= num_maskable_B.clamp(min=1))).any():
        raise ValueError(
            f"num_known is {num_known.tolist()};"
            f" expected 0..n-1 for rows of n = {num_maskable_B.tolist()} tokens."
        )
    return num_known


# --------------------------------------------------------------------------------------------- loss
def mean_cross_entropy(
    logits: Tensor, labels: Tensor, positions_BL: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over each row's masked tokens: unbiased for its bound per token.

    Args:
        logits: (N, V) at the true entries of `positions_BL` in row-major order, or (B, L, V) if
            that is None.
        labels: int64 (B, L), -100 outside the loss.
        positions_BL: bool (B, L), where logits were computed; labels elsewhere are ignored.

    Returns:
        float32 (or wider) (B,), nats; 0 for a row without labels.
    """
    in_loss_BL = labels != IGNORED
    logits_NV = _at_least_float32(logits)
    if positions_BL is None:
        ce_N = F.cross_entropy(logits_NV.flatten(0, 1), labels.flatten(), reduction="none")
        ce_BL = ce_N.view_as(labels)
    else:
        in_loss_BL = in_loss_BL & positions_BL
        ce_N = F.cross_entropy(logits_NV, labels[positions_BL], reduction="none")
        ce_BL = ce_N.new_zeros(labels.shape).masked_scatter(positions_BL, ce_N)
    return ce_BL.sum(1) / in_loss_BL.sum(1).clamp(min=1)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
