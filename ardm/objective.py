"""RandomRatioObjective: the loss of the training, weighted over mask ratios, with a curriculum.

    loss = mean over sequences of  w(r) * mean cross-entropy over the masked tokens

with r = masked / maskable, and sequences weighted by their number of maskable tokens over the
window's length.

w = 1 and r uniform on (0, 1] is the bound (masking.py). Other weights and smaller ratios may learn
faster; what is reported is the bound all the same (likelihood.py). With several stages r is the
share of the stage that is left (interleaved: of all reveals).
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .id_checks import IGNORED
from .masking import keyed_random_ratio_mask, maskable_tokens
from .networks import MaskedLanguageModel, unwrapped
from .randomness import keyed_uniforms
from .reveals import mean_cross_entropy
from .stages import Stages
from .vocabulary import stages_of, with_given_tokens

_DROPPED = 4  # a stream of random numbers of its own, beside those of masking.py


class NumberedBatch(Protocol):
    """A micro-batch that knows where it stands in the run, as `ardm.training.Batch` does."""

    example_numbers: Tensor  # int64 (B,), number of each example since the start of the run
    global_batch_size: int  # examples of one optimiser step over all processes
    progress: float  # share of the run that is done, in [0, 1)

    def __getitem__(self, name: str, /) -> Tensor: ...

    def get(self, name: str, /) -> Tensor | None: ...


@dataclass
class RandomRatioObjective:
    """A loss function for `ardm.training.train`, of batches with `input_ids` and optional masks.

    Args:
        mask_token_id: the id that hides a token.
        seed: key of the masks.
        weight_power: p of w(r) = (1 + p) * (r / max_ratio)^p: 0 = the bound, 1 = every masked token
            counts the same.
        start_ratio: highest mask ratio at the start of the run; 1 = no curriculum.
        ramp: shares of the run at which the highest ratio begins to rise and has reached 1.
        prompt_dropout: share of the examples whose prompt is masked out, so that the network knows
            both sides of classifier-free guidance (`generate(..., guidance_scale=)`; arXiv
            2207.12598, algorithm 1).

    Raises:
        ValueError: if a setting is out of range.
    """

    mask_token_id: int
    seed: int = 0
    weight_power: float = 0.0
    start_ratio: float = 1.0
    ramp: tuple[float, float] = (0.4, 0.8)
    prompt_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.weight_power >= 0:
            raise ValueError(
                f"weight_power is {self.weight_power}; expected a number of at least 0."
            )
        if not 0 < self.start_ratio <= 1:
            raise ValueError(f"start_ratio is {self.start_ratio}; expected a number in (0, 1].")
        if not 0 <= self.ramp[0] < self.ramp[1] <= 1:
            raise ValueError(f"ramp is {self.ramp}; expected 0 <= begin < end <= 1.")

        if not 0 <= self.prompt_dropout < 1:
            raise ValueError(
                f"prompt_dropout is {self.prompt_dropout}; expected a number in [0, 1)."
            )

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

    def __call__(self, model: MaskedLanguageModel, batch: NumberedBatch) -> dict[str, Tensor]:
        """The loss of one micro-batch.

        Args:
            model: a masked language model that takes `logits_positions`; its configuration says how
                many stages there are.
            batch: with `input_ids` int64 (B, L), optional `attention_mask`, `prompt_mask`.

        Returns:
            "loss", which is minimised; "nats_per_token", the mean cross-entropy without weights,
            the bound wherever "max_ratio", the highest mask ratio, is 1.
        """
        max_ratio = self.max_ratio(batch.progress)
        attention_mask = batch.get("attention_mask")
        prompt_mask = batch.get("prompt_mask")
        mask_id = self.mask_token_id
        config = getattr(unwrapped(model), "config", None)  # without one nothing is said of stages
        stages = stages_of(config, mask_id) if config else Stages.plain(mask_id)
        known_mask = prompt_mask
        if config:
            known_mask = with_given_tokens(config, batch["input_ids"], prompt_mask)
        masked_ids, labels = keyed_random_ratio_mask(
            batch["input_ids"],
            mask_id,
            batch.example_numbers,
            seed=self.seed,
            global_batch_size=batch.global_batch_size,
            max_ratio=max_ratio,
            attention_mask=attention_mask,
            prompt_mask=known_mask,
            stages=stages,
        )
        if self.prompt_dropout and prompt_mask is not None:
            around = with_given_tokens(config, batch["input_ids"], None) if config else None
            hidden = prompt_mask.bool() if around is None else prompt_mask.bool() & ~around
            masked_ids = self._without_prompts(masked_ids, hidden, batch.example_numbers)
        positions = labels != IGNORED
        output = model(
            input_ids=masked_ids, attention_mask=attention_mask, logits_positions=positions
        )
        nats_B = mean_cross_entropy(output.logits, labels, positions, stages, masked_ids)
        maskable_BL = maskable_tokens(batch["input_ids"], mask_id, attention_mask, known_mask)
        num_maskable_B = maskable_BL.sum(1)
        nats_of_rows_B = nats_B * (num_maskable_B * stages.num_stages)
        ratio_B = left_ratio(masked_ids, positions, num_maskable_B, stages)
        weights_B = ratio_weights(ratio_B, self.weight_power, max_ratio)
        # Over a constant, not this micro-batch's tokens: else the sum over micro-batches would
        # depend on the split.
        loss = (weights_B * nats_of_rows_B).sum() / labels.numel()
        return {
            "loss": loss,
            "nats_per_token": nats_of_rows_B.sum() / num_maskable_B.sum().clamp(min=1),
            "max_ratio": loss.new_full((), max_ratio),
        }

    def _without_prompts(
        self, masked_ids: Tensor, prompt_mask: Tensor, example_numbers: Tensor
    ) -> Tensor:
        """Some rows with their prompts masked, as a function of seed and example."""
        dropped_B = keyed_uniforms(self.seed, _DROPPED, example_numbers) < self.prompt_dropout
        return masked_ids.masked_fill(
            prompt_mask.bool() & dropped_B[:, None].to(prompt_mask.device), self.mask_token_id
        )


def left_ratio(
    masked_ids: Tensor, positions: Tensor, num_maskable_B: Tensor, stages: Stages
) -> Tensor:
    """(B,), the share of a stage's reveals that is left, or of all where stages overlap."""
    left_B = positions.sum(1)
    if stages.interleaved:
        left_BL = stages.num_left(masked_ids) * positions
        left_B = left_BL.sum(1)
        num_maskable_B = num_maskable_B * stages.num_stages
    return left_B / num_maskable_B.clamp(min=1)


def ratio_weights(ratio_B: Tensor, power: float, max_ratio: float = 1.0) -> Tensor:
    """Weights of sequences by their mask ratio r: w(r) = (1 + power) * (r / max_ratio)^power.

    Their mean is 1. power = 0 is the bound. power = 1 gives every masked token the same weight, as
    pooling over a batch does, but as a fixed function of each sequence: it does not depend on the
    neighbours, so that processes and accumulation steps add up to the same gradient.

    Args:
        ratio_B: (B,), masked / maskable tokens, in (0, max_ratio].
        power: at least 0.
        max_ratio: upper end of the ratios' range.

    Returns:
        (B,) weights with mean 1 for ratios uniform on (0, max_ratio].
    """
    return (1 + power) * (ratio_B / max_ratio) ** power
