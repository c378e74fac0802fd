"""BoundEvaluation: the bound over a fixed set of windows, as the figures that a run reports."""

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from .likelihood import nelbo
from .metrics import bits_per_unit


class BoundEvaluation:
    """Scores a model on the same windows with the same masks each time it is called.

    Args:
        windows: rows with `input_ids` int64 (L,) and `num_characters`, as `ardm.data.make_windows` makes them.
        max_windows: how many of the first ones are scored.
        num_samples: as in [`nelbo`], of each window.
        seed: key of the masks.

    Raises:
        ValueError: if there is no window, or none is asked for.
    """

    def __init__(
        self, windows: Iterable[Mapping[str, Any]], max_windows: int = 500, num_samples: int = 2, seed: int = 0
    ):
        if max_windows < 1:
            raise ValueError(f"max_windows is {max_windows}; expected at least 1.")
        rows = list(islice(windows, max_windows))
        if not rows:
            raise ValueError("there are no windows to score; expected at least one.")
        self.input_ids: Tensor = torch.stack([torch.as_tensor(row["input_ids"]) for row in rows])
        self.num_characters = torch.tensor([int(row["num_characters"]) for row in rows])
        self.num_samples, self.seed = num_samples, seed

    def __len__(self) -> int:
        return len(self.input_ids)

    def __call__(self, model: Any, num_samples: int | None = None) -> dict[str, float]:
        """The bound of a model.

        Args:
            model: as for [`nelbo`]; scored in evaluation mode.
            num_samples: draws of each window, if other than the evaluation's own.

        Returns:
            `eval_loss` and `eval_standard_error` in nats per token, `bits_per_character` and
            `bits_per_character_standard_error`; errors are over windows and masks.
        """
        training = model.training
        model.eval()
        generator = torch.Generator().manual_seed(self.seed)
        ids = self.input_ids.to(next(model.parameters()).device)
        bound = nelbo(model, ids, num_samples=num_samples or self.num_samples, generator=generator)
        model.train(training)
        token, token_error = bits_per_unit(bound.nats.cpu(), bound.num_tokens.cpu())
        character, character_error = bits_per_unit(bound.nats.cpu(), self.num_characters)
        return {
            "eval_loss": token * math.log(2),
            "eval_standard_error": token_error * math.log(2),
            "bits_per_character": character,
            "bits_per_character_standard_error": character_error,
        }


def write_samples(
    model: Any, tokenizer: Any, input_ids: Tensor, *, num_samples: int = 3, seed: int = 0
) -> tuple[list[str], str]:
    """Texts in random order, and a known passage whose middle third is generated.

    Args:
        model: has `generate`.
        tokenizer: its tokenizer.
        input_ids: int64 (L,), the passage.
        num_samples: how many texts.
        seed: key of the draws.

    Returns:
        The texts, and the passage with the generated part in [[ ]].
    """
    samples = tokenizer.batch_decode(model.generate(order="random", num_return_sequences=num_samples, seed=seed))
    begin, end = len(input_ids) // 3, 2 * len(input_ids) // 3
    gap = input_ids.clone()
    gap[begin:end] = model.config.mask_token_id
    # another seed: with the same one the gap would echo the first text, drawn from the same numbers
    filled = model.generate(gap[None].to(model.device), seed=seed + 1)[0]
    before, middle, after = (tokenizer.decode(part) for part in (filled[:begin], filled[begin:end], filled[end:]))
    return samples, f"{before}[[{middle}]]{after}"
