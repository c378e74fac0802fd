"""RandomRatioCollator: random-ratio masking for `transformers.Trainer`.

The masks of a batch in training are a function of the run's seed, the epoch and what the batch
holds; those of a sequence in an evaluation are a function of the sequence. So they are the same in
a resumed run, in a data loader's workers and at each evaluation, and no two processes or epochs
share them.

Shapes: B batch, L length.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import get_worker_info

from .checks import check_integer
from .id_checks import IGNORED, LAST_ID
from .masking import (
    checked_stages,
    maskable_tokens,
    order_uniforms,
    random_ratio_mask,
    strata,
)
from .randomness import keyed_bits, keyed_uniforms, seed_from
from .reveals import hide_last, stratified_num_left
from .stages import Stages
from .trainer_calls import TrainerCall, rank_and_size, trainer_call

_ROW = 31
_BATCH = 61
_COUNT = 33
_TURN = 34
_GOLDEN_RATIO = 0.6180339887498949  # its multiples modulo 1 spread evenly, however many there are


class RandomRatioCollator:
    """Masks a batch of windows for `transformers.Trainer`, and adds what the bound needs.

        collator = RandomRatioCollator(tokenizer.mask_token_id, tokenizer.pad_token_id)
        Trainer(model, args, train_dataset=windows, data_collator=collator)

    For training the batch holds `input_ids` (masked), `attention_mask`, `labels` at every maskable
    token - so that Trainer's `num_items_in_batch` is the number of maskable tokens, the bound's own
    normaliser under gradient accumulation -, `logits_positions`, the masked tokens, which alone
    enter the loss, and `num_maskable`, each row's weight. With stages (stages.py) masked means at a
    coarser value, and the loss is of the next reveal.

    For `evaluate` and `predict`, and where Trainer makes the loss itself (`label_smoothing_factor`,
    `compute_loss_func`), it is what any masked language model gets: `labels` are -100 where nothing
    is masked, and logits are those of all positions, (B, L, V).

    Numbers of masks are stratified over the batch, in training over the batches of all processes,
    whether each reads its own or the first reads for all (Accelerate's `dispatch_batches`).

    With prompts pass `TrainingArguments(remove_unused_columns=False)`: Trainer drops columns that
    `forward` does not name, `prompt_mask` among them, before the collator sees them.

    Args:
        mask_token_id: the id that hides a token.
        pad_token_id: id to fill shorter rows with; None = rows must have equal lengths.
        generator: source of randomness in training; None = Trainer's seed and epoch, or without a
            Trainer torch's global one. A run that is to be resumed exactly wants None.
        stages: of a model that reveals values in several (`model.stages`); None: one.
        given_token_ids: ids that are never masked, as [CLS] and [SEP] of an adopted model
            (`model.config.given_token_ids`).

    Raises:
        ValueError: if an id is none, the two are the same, or the stages have another mask.
    """

    def __init__(
        self,
        mask_token_id: int,
        pad_token_id: int | None = None,
        generator: torch.Generator | None = None,
        stages: Stages | None = None,
        given_token_ids: Sequence[int] = (),
    ):
        if mask_token_id is None:
            raise ValueError("mask_token_id is None; expected the id of the mask token.")
        self.mask_token_id = check_integer("mask_token_id", mask_token_id, 0, LAST_ID)
        if pad_token_id is not None:
            pad_token_id = check_integer("pad_token_id", pad_token_id, 0, LAST_ID)
        if pad_token_id == self.mask_token_id:
            raise ValueError(f"pad_token_id is {pad_token_id}, the mask id; expected another one.")
        self.pad_token_id = pad_token_id
        self.generator = generator
        self.stages = checked_stages(stages, self.mask_token_id)
        self.given_token_ids = [
            check_integer("given_token_ids", token, 0, LAST_ID) for token in given_token_ids
        ]
        self._call: TrainerCall | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For a worker that is started anew: it cannot see who started it."""
        return vars(self) | {"_call": trainer_call()}

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collates examples into one batch.

        Args:
            examples: one mapping a sequence: `input_ids`, optional `attention_mask` (0 = padding
                that it has already) and optional `prompt_mask` (1 = always known).

        Returns:
            `input_ids`, `attention_mask`, `labels` (int64) and in training `logits_positions`
            (bool), all (B, L); `num_maskable` int64 (B,).

        Raises:
            ValueError: on no examples, columns that are no rows of ids, a row without real tokens,
                a mask id among them, or rows that differ in length without a pad id.
        """
        call = trainer_call(self._call)
        input_ids, attention_mask, prompt_mask = self._padded(examples)
        if self.given_token_ids:
            given = torch.isin(input_ids, torch.tensor(self.given_token_ids))
            prompt_mask = given if prompt_mask is None else given | prompt_mask.bool()
        maskable = maskable_tokens(
            input_ids, self.mask_token_id, attention_mask, prompt_mask, self.stages
        )
        if call is not None and call.evaluating:
            masked_ids, labels = self._fixed(input_ids, attention_mask, maskable)
        else:
            masked_ids, labels = self._drawn(call, input_ids, attention_mask, prompt_mask, maskable)
        batch = {
            "input_ids": masked_ids,
            "attention_mask": attention_mask,
            "labels": labels,
            "num_maskable": maskable.sum(1),
        }
        if call is None or not (call.evaluating or call.has_own_loss):
            batch["logits_positions"] = labels != IGNORED
            batch["labels"] = input_ids.masked_fill(~maskable, IGNORED)
        return batch

    def _drawn(
        self,
        call: TrainerCall | None,
        input_ids: Tensor,
        attention_mask: Tensor,
        prompt_mask: Tensor | None,
        maskable: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Masks as a function of the epoch, or the generator's next number, and the batch."""
        epoch_key = self._next_number() if call is None else int(keyed_bits(call.seed, call.epoch))
        base = epoch_key if self.generator is None or call is None else self._next_number()
        rank, size = rank_and_size() if call is None else (call.rank, call.size)
        keys = row_keys(input_ids, attention_mask)
        places = torch.arange(len(keys))
        key = int(keyed_bits(base, rank, keyed_bits(_BATCH, places, keys).sum())) % 2**63
        counts = {}
        if size > 1:
            # process r of N has every N-th stratum of the joint batch; which, turns with the epoch
            turn = (rank + int(keyed_uniforms(epoch_key, _TURN) * size)) % size
            strata_B = strata(len(keys), key) * size + turn
            uniforms_B = (strata_B + keyed_uniforms(key, _COUNT, places)) / (len(keys) * size)
            num_maskable_B = maskable.sum(1)
            num_left_B = stratified_num_left(num_maskable_B, uniforms_B, self.stages)
            counts["num_known"] = num_maskable_B * self.stages.num_stages - num_left_B
        return random_ratio_mask(
            input_ids,
            self.mask_token_id,
            attention_mask=attention_mask,
            prompt_mask=prompt_mask,
            generator=torch.Generator().manual_seed(key),
            stages=self.stages,
            **counts,
        )

    def _next_number(self) -> int:
        number = seed_from(self.generator)
        worker = get_worker_info()
        if self.generator is None or worker is None:
            return number
        # a worker's copy of the generator starts in each epoch from the same state
        return int(keyed_bits(number, worker.seed))

    def _fixed(
        self, input_ids: Tensor, attention_mask: Tensor, maskable: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Masks as a function of each row alone; repeated rows of a batch take different ones."""
        keys = row_keys(input_ids, attention_mask)
        copies_B = (keys[:, None] == keys).tril(-1).sum(1)  # equal rows before this one
        spread_B = (copies_B > 0).cumsum(0) * _GOLDEN_RATIO % 1
        uniforms_B = spread_B.double().where(copies_B > 0, keyed_uniforms(_COUNT, keys))
        numbers_B = keyed_bits(keys, copies_B)
        uniforms = order_uniforms(_ROW, numbers_B, input_ids.shape[1], self.stages)
        num_left_B = stratified_num_left(maskable.sum(1), uniforms_B, self.stages)
        return hide_last(input_ids, self.stages, maskable, num_left_B, uniforms)

    def _padded(
        self, examples: Sequence[Mapping[str, Any]]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ids, attention mask and prompt mask of all examples, (B, L) each."""
        if not examples or not all(isinstance(example, Mapping) for example in examples):
            raise ValueError(
                f"examples are {type(examples).__name__} {str(examples)[:40]}; expected a list of"
                " mappings with input_ids."
            )
        rows = [_row(example, "input_ids") for example in examples]
        if self.pad_token_id is None and len({len(row) for row in rows}) > 1:
            raise ValueError(
                "rows differ in length and pad_token_id is None;"
                " expected equal lengths or a pad id."
            )
        paired = list(zip(examples, rows, strict=True))
        real = [_row(one, "attention_mask", torch.ones_like(row)) for one, row in paired]
        prompts = None
        if any("prompt_mask" in example for example in examples):
            prompts = [_row(one, "prompt_mask", torch.zeros_like(row)) for one, row in paired]
        return (
            _stacked(rows, 0 if self.pad_token_id is None else self.pad_token_id),
            _stacked(real, 0),
            None if prompts is None else _stacked(prompts, 0),
        )


def row_keys(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """A number for the content of each row, the same with more or less padding behind it.

    Args:
        input_ids: int64 (B, L).
        attention_mask: (B, L), 0 on padding.

    Returns:
        int64 (B,).
    """
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    bits_BL = keyed_bits(_ROW, positions, input_ids)
    return bits_BL.masked_fill(~attention_mask.bool(), 0).sum(1)


def _row(example: Mapping[str, Any], name: str, default: Tensor | None = None) -> Tensor:
    """A column of an example as int64 (L,), as long as the default."""
    if name not in example:
        if default is None:
            raise ValueError(f"an example has {sorted(example)}; expected {name} among them.")
        return default
    try:
        row = torch.as_tensor(example[name])
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is no row of integers: {error}") from error
    whole = not (row.is_floating_point() or row.is_complex()) or not row.numel()
    if row.ndim != 1 or not whole or (default is not None and row.shape != default.shape):
        length = "L" if default is None else len(default)
        raise ValueError(
            f"{name} is {row.dtype} {tuple(row.shape)}; expected integers ({length},)."
        )
    return row.long()


def _stacked(rows: list[Tensor], value: int) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value)
