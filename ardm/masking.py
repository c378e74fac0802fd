"""Random-ratio masking: how many tokens are hidden, and which.

For a sequence x of L maskable tokens, t ~ U{0..L-1} and a uniform order (arXiv 2110.02037, equation
2; counts as in arXiv 2409.02908, prop. 3.1):

    -log p(x) <= E_t E_order  L / (L - t) * sum over masked p of CE_p

t = `num_known` tokens come first in the order and are kept, the other m = L - t in 1..L are
replaced by the mask id. So the mean cross-entropy over one sequence's masked tokens is an unbiased
estimate of its bound per token: average within a sequence first. Pooling the masked tokens of a
batch is BERT's loss, not the bound. With several stages (stages.py) the same is said of reveals in
place of tokens: S*L of them, of which the last m are left.

All random numbers are a pure function of integer keys (randomness.py): a mask never depends on
which process draws it, on its neighbours in the batch, or on what was drawn before.

Shapes: B batch, L length, S stages.
"""

import torch
from torch import Tensor

from .checks import check_integer
from .id_checks import (
    LAST_ID,
    check_ids,
    check_like_ids,
    check_row_integers,
    check_rows,
    check_zero_one,
    is_looked_at,
)
from .randomness import keyed_uniforms, seed_from
from .reveals import hide_last, stratified_num_left
from .stages import Stages

# one stream each, so that no two kinds of random number share their bits
_STRATA = 1
_COUNT = 2
_ORDER = 3


# ------------------------------------------------------------------------------------------ strata
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
    stages: Stages | None = None,
) -> tuple[Tensor, Tensor]:
    """Hides a uniformly distributed number of uniformly chosen tokens of each row (algorithm 2).

    Args:
        input_ids: int64 (B, L), without mask ids.
        mask_token_id: the id that hides a token.
        attention_mask: (B, L), 1 on real tokens, 0 on padding; None = no padding.
        prompt_mask: (B, L), 1 on tokens that are always known and outside the loss.
        num_known: int64 (B,), t in 0..n-1 for rows of n maskable tokens; None = stratified over the
            batch, so that the B counts are spread evenly over 1..n. With S stages the number of
            reveals made, in 0..S*n-1.
        generator: source of randomness on any device; None = torch's global one.
        stages: of the model (`model.stages`); None: one, from the mask to a token.

    Returns:
        masked_input_ids: int64 (B, L), with several stages of node ids.
        labels: int64 (B, L), the original id where masked and -100 elsewhere; with several stages,
            where the next reveal may be.

    Raises:
        ValueError: on arguments of the wrong type, shape or device, masks inside `input_ids` at
            maskable positions, a row without real tokens, a `num_known` outside 0..n-1, or stages
            of another mask.
    """
    mask_token_id = check_integer("mask_token_id", mask_token_id, 0, LAST_ID)
    stages = checked_stages(stages, mask_token_id)
    maskable_BL = maskable_tokens(input_ids, mask_token_id, attention_mask, prompt_mask, stages)
    seed = seed_from(generator)
    device = input_ids.device
    batch_size = input_ids.shape[0]
    rows_B = torch.arange(batch_size, device=device)
    num_maskable_B = maskable_BL.sum(1)
    if num_known is None:
        jitter_B = keyed_uniforms(seed, _COUNT, rows_B)
        uniforms_B = (strata(batch_size, seed, 0, device) + jitter_B) / batch_size
        num_left_B = stratified_num_left(num_maskable_B, uniforms_B, stages)
    else:
        num_reveals_B = num_maskable_B * stages.num_stages
        num_left_B = num_reveals_B - _checked_num_known(num_known, num_reveals_B)
    uniforms = order_uniforms(seed, rows_B, input_ids.shape[1], stages)
    return hide_last(input_ids, stages, maskable_BL, num_left_B, uniforms)


def order_uniforms(seed: Tensor | int, rows_B: Tensor, length: int, stages: Stages) -> Tensor:
    """Uniforms (B, L) whose ranks are a uniform order of each row: a number a position.

    Where stages overlap a number a reveal, (B, L, S).
    """
    positions_L = torch.arange(length, device=rows_B.device)
    if not stages.interleaved:
        return keyed_uniforms(seed, _ORDER, rows_B[:, None], positions_L)
    reveals_S = torch.arange(stages.num_stages, device=rows_B.device)
    return keyed_uniforms(seed, _ORDER, rows_B[:, None, None], positions_L[:, None], reveals_S)


def checked_stages(stages: Stages | None, mask_token_id: int) -> Stages:
    """The stages, which begin at the mask; a single one where there are none.

    Args:
        stages: of a model, or None.
        mask_token_id: the id that hides a token.

    Returns:
        The stages.

    Raises:
        ValueError: if their root is another id.
    """
    if stages is None:
        return Stages.plain(mask_token_id)
    if not isinstance(stages, Stages):
        raise ValueError(f"stages is {stages!r}; expected `model.stages`.")
    if stages.mask_token_id != mask_token_id:
        raise ValueError(
            f"mask_token_id is {mask_token_id}; expected {stages.mask_token_id}, the root of the"
            " stages."
        )
    return stages


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
    stages: Stages | None = None,
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
        max_ratio: counts are uniform on 1..max_ratio * n, in each stage; below 1 the loss is no
            bound (a curriculum).
        attention_mask: as in [`random_ratio_mask`].
        prompt_mask: as in [`random_ratio_mask`].
        stages: as in [`random_ratio_mask`].

    Returns:
        As [`random_ratio_mask`].
    """
    stages = checked_stages(stages, mask_token_id)
    maskable_BL = maskable_tokens(input_ids, mask_token_id, attention_mask, prompt_mask, stages)
    step_B = example_numbers // global_batch_size
    place_B = example_numbers % global_batch_size
    # A micro-batch lies within one optimiser step, so its first row's step is that of all.
    stratum_B = strata(global_batch_size, seed, step_B[:1], input_ids.device)[place_B]
    uniforms_B = (stratum_B + keyed_uniforms(seed, _COUNT, example_numbers)) / global_batch_size
    num_left_B = stratified_num_left(maskable_BL.sum(1), uniforms_B, stages, max_ratio)
    uniforms = order_uniforms(seed, example_numbers, input_ids.shape[1], stages)
    return hide_last(input_ids, stages, maskable_BL, num_left_B, uniforms)


def maskable_tokens(
    input_ids: Tensor,
    mask_token_id: int,
    attention_mask: Tensor | None,
    prompt_mask: Tensor | None,
    stages: Stages | None = None,
) -> Tensor:
    """bool (B, L): real tokens that are no prompt.

    Args:
        input_ids: int64 (B, L).
        mask_token_id: must not occur at a maskable position.
        attention_mask: (B, L), 0 on padding.
        prompt_mask: (B, L), 1 on given tokens.
        stages: of the model; None: one.

    Returns:
        bool (B, L).

    Raises:
        ValueError: on masks of another type, shape or device than the ids, or (on a CPU) a row
            without real tokens, a mask id at a maskable position, or with stages an id there that
            is no leaf.
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
    if stages is not None and stages.tree is not None and is_looked_at(input_ids):
        _check_leaves(input_ids, maskable_BL, stages)
    return maskable_BL


def _check_leaves(input_ids: Tensor, maskable_BL: Tensor, stages: Stages) -> None:
    """Raises ValueError on ids that no text holds: of coarse values, or only ever given."""
    check_ids(input_ids, stages.vocab_size)
    wrong = input_ids[maskable_BL & (stages.coarsen(input_ids.long(), 0) != stages.mask_token_id)]
    if len(wrong):
        raise ValueError(
            f"input_ids holds {int(wrong[0])} at a maskable position, an id that is no value;"
            " expected values and special ids of texts there, a prompt_mask that is 1 at a class."
        )


def _checked_num_known(num_known: Tensor, num_reveals_B: Tensor) -> Tensor:
    check_row_integers("num_known", num_known, len(num_reveals_B))
    num_known = num_known.to(num_reveals_B)
    if ((num_known < 0) | (num_known >= num_reveals_B.clamp(min=1))).any():
        raise ValueError(
            f"num_known is {num_known.tolist()};"
            f" expected 0..n-1 for rows of n = {num_reveals_B.tolist()} tokens (reveals, if there"
            " are several stages)."
        )
    return num_known
