"""RandomRatioCollator: random-ratio masking for `transformers.Trainer`."""

import torch
from torch import Tensor

from .masking import IGNORED, random_ratio_mask


class RandomRatioCollator:
    """Masks a batch of windows for `transformers.Trainer`, and adds what the bound needs.

        collator = RandomRatioCollator(tokenizer.mask_token_id)
        Trainer(model, args, train_dataset=windows, data_collator=collator)

    The batch holds `input_ids` (masked), `attention_mask`, `labels` at every maskable token - so
    that Trainer's `num_items_in_batch` is the number of maskable tokens, the bound's own normaliser
    under gradient accumulation -, `logits_positions`, the masked tokens, which alone enter the
    loss, and `num_maskable`, each row's weight.

    With prompts pass `TrainingArguments(remove_unused_columns=False)`: Trainer drops columns that
    `forward` does not name, `prompt_mask` among them, before the collator sees them.

    Args:
        mask_token_id: the id that hides a token.
        pad_token_id: id to fill shorter rows with; None = rows must have equal lengths.
        generator: source of randomness; None = torch's global one, which Trainer seeds and
            restores.
    """

    def __init__(
        self,
        mask_token_id: int,
        pad_token_id: int | None = None,
        generator: torch.Generator | None = None,
    ):
        if mask_token_id is None:
            raise ValueError("mask_token_id is None; expected the id of the mask token.")
        self.mask_token_id = mask_token_id
        self.pad_token_id = pad_token_id
        self.generator = generator

    def __call__(self, examples: list[dict]) -> dict[str, Tensor]:
        """Collates examples into one batch.

        Args:
            examples: one dict a sequence: `input_ids`, optional `attention_mask` (0 = padding that
                it has already) and optional `prompt_mask` (1 = always known).

        Returns:
            `input_ids`, `attention_mask`, `labels` (int64) and `logits_positions` (bool), all (B,
            L); `num_maskable` int64 (B,).

        Raises:
            ValueError: if rows differ in length and there is no pad id.
        """
        rows = [torch.as_tensor(example["input_ids"]) for example in examples]
        if self.pad_token_id is None and len({len(row) for row in rows}) > 1:
            raise ValueError(
                "rows differ in length and pad_token_id is None;"
                " expected equal lengths or a pad id."
            )
        pad_id = 0 if self.pad_token_id is None else self.pad_token_id
        input_ids = _pad(rows, pad_id)
        given = [
            torch.as_tensor(example.get("attention_mask", torch.ones_like(row)))
            for example, row in zip(examples, rows, strict=True)
        ]
        attention_mask = _pad([mask.long() for mask in given], 0)
        prompt_mask = None
        if "prompt_mask" in examples[0]:
            prompts = [torch.as_tensor(example["prompt_mask"]).long() for example in examples]
            prompt_mask = _pad(prompts, 0)
        masked_ids, labels = random_ratio_mask(
            input_ids,
            self.mask_token_id,
            attention_mask=attention_mask,
            prompt_mask=prompt_mask,
            generator=self.generator,
        )
        maskable = attention_mask.bool()
        if prompt_mask is not None:
            maskable = maskable & ~prompt_mask.bool()
        return {
            "input_ids": masked_ids,
            "attention_mask": attention_mask,
            "labels": input_ids.masked_fill(~maskable, IGNORED),
            "logits_positions": labels != IGNORED,
            "num_maskable": maskable.sum(1),
        }


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
