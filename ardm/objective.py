"""RandomRatioObjective: the loss that the training loop minimises, with a weighting and a
curriculum over mask ratios.

    loss = mean over sequences of w(r) * mean cross-entropy over the masked tokens,   r = masked / maskable

with sequences weighted by their number of maskable tokens over the window's length.

w = 1 and r uniform on (0, 1] is the bound (masking.py). Other weights and smaller ratios may learn
faster; what is reported is the bound all the same (likelihood.py).
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .masking import (
    IGNORED,
    keyed_random_ratio_mask,
    maskable_tokens,
    mean_cross_entropy,
    ratio_weights,
)


@dataclass
class RandomRatioObjective:
    """A loss function for `ardm.training.loop.train`, over batches with `input_ids` and optional
    masks.

    Args:
        mask_token_id: the id that hides a token.
        seed: key of the masks.
        weight_power: p of w(r) = (1 + p) * (r / max_ratio)^p: 0 = the bound, 1 = every masked token
            counts the same.
        start_ratio: highest mask ratio at the start of the run; 1 = no curriculum.
        ramp: shares of the run at which the highest ratio begins to rise and has reached 1.

    Raises:
        ValueError: if a setting is out of range.
    """

    mask_token_id: int
    seed: int = 0
    weight_power: float = 0.0
    start_ratio: float = 1.0
    ramp: tuple[float, float] = (0.4, 0.8)

    def __post_init__(self) -> None:
        if not self.weight_power >= 0:
            raise ValueError(
                f"weight_power is {self.weight_power}; expected a number of at least 0."
            )
        if not 0 < self.start_ratio <= 1:
            raise ValueError(f"start_ratio is {self.start_ratio}; expected a number in (0, 1].")
        if not 0 <= self.ramp[0] < self.ramp[1] <= 1:
            raise ValueError(f"ramp is {self.ramp}; expected 0 <= begin < end <= 1.")

    def max_ratio(self, progress: float) -> float:
        """The highest mask ratio at a point of the run.

        Args:
            progress: share of the run that is done, in [0, 1].

        Returns:
            A ratio in (0, 1].
        """
        begin, end = self.ramp
        risen = min(1.0, max(0.0, (progress - begin) / (end - begin)))
        return self.start_ratio + (1 - self.start_ratio) * risen

    def __call__(self, model: Any, batch: Any) -> dict[str, Tensor]:
        """The loss of one micro-batch.

        Args:
            model: a masked language model that takes `logits_positions`.
            batch: an `ardm.training.loop.Batch` with `input_ids` int64 (B, L), optional
                `attention_mask`, `prompt_mask`.

        Returns:
            "loss", which is minimised; "nats_per_token", the mean cross-entropy without weights,
            the bound wherever "max_ratio", the highest mask ratio, is 1.
        """
        max_ratio = self.max_ratio(batch.progress)
        masks = {name: batch.get(name) for name in ("attention_mask", "prompt_mask")}
        masked_ids, labels = keyed_random_ratio_mask(
            batch["input_ids"],
            self.mask_token_id,
            batch.sample_numbers,
            seed=self.seed,
            global_batch_size=batch.global_batch_size,
            max_ratio=max_ratio,
            **masks,
        )
        positions = labels != IGNORED
        output = model(
            input_ids=masked_ids, attention_mask=masks["attention_mask"], logits_positions=positions
        )
        nats_B = mean_cross_entropy(output.logits, labels, positions)
        num_maskable_B = maskable_tokens(batch["input_ids"], self.mask_token_id, **masks).sum(1)
        ratio_B = positions.sum(1) / num_maskable_B.clamp(min=1)
        nats_of_rows_B = nats_B * num_maskable_B
        # Over a constant, not this micro-batch's tokens: else the sum over micro-batches would
        # depend on the split.
        loss = (
            ratio_weights(ratio_B, self.weight_power, max_ratio) * nats_of_rows_B
        ).sum() / labels.numel()
        return {
            "loss": loss,
            "nats_per_token": nats_of_rows_B.sum() / num_maskable_B.sum().clamp(min=1),
            "max_ratio": loss.new_full((), max_ratio),
        }
