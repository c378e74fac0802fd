"""Nats of a fixed set of windows, shared out over the processes, and the figures they make.

What is random of a window is keyed by its number, so that every process ends with the same nats,
and one process with the same as many.

Shapes: W windows, B of them at a time, L tokens each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ..data.lost_text import UNITS, LostText
from ..likelihood import nelbo
from ..metrics.bits import Estimate, PositiveEstimate, bits_per_unit, perplexity
from ..training import check_integer, measure_rows, own_share
from ..vocabulary import eos_ids, with_given_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..modeling_ardm import ARDMForMaskedLM

_WINDOWS_AT_ONCE = 16  # at least, between two steps of the progress bar
_MOST_PARTS = 50  # steps of the bar

Model = TypeVar("Model", bound=nn.Module)


class HeldOutWindows:
    """Windows that every process holds and each measures a share of.

    Args:
        windows: rows with `input_ids` int64 (L,) and any of the counts that
            `ardm.data.make_windows` gives them: `num_characters`, `num_bytes`, and of the
            characters those that the tokens do not tell, `num_unknown` and `num_changed`. Rows may
            have an `attention_mask` (0 on padding) and a `prompt_mask` (1 on what is given).
        max_windows: how many of the first ones are taken; None = all.

    Raises:
        ValueError: if there is no window, or none is asked for.
    """

    def __init__(self, windows: Iterable[Mapping[str, Any]], max_windows: int | None = None):
        if max_windows is not None:
            max_windows = check_integer("max_windows", max_windows, 1)
        rows = list(islice(windows, max_windows))
        if not rows:
            raise ValueError("there are no windows to score; expected at least one.")
        self.input_ids: Tensor = torch.stack([torch.as_tensor(row["input_ids"]) for row in rows])
        self.masks: dict[str, Any] = {
            name: torch.stack([torch.as_tensor(row[name]) for row in rows])
            for name in ("attention_mask", "prompt_mask")
            if name in rows[0]
        }
        self.units = {
            name: torch.tensor([int(row[name]) for row in rows])
            for name in UNITS
            if name in rows[0]
        }

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def sequence_length(self) -> int:
        """L, the tokens of a window."""
        return self.input_ids.shape[1]

    @property
    def num_tokens(self) -> Tensor:
        """int64 (W,), the tokens of each window that are scored: no padding, nothing given."""
        scored = torch.ones_like(self.input_ids, dtype=torch.bool)
        if "attention_mask" in self.masks:
            scored = scored & self.masks["attention_mask"].bool()
        if "prompt_mask" in self.masks:
            scored = scored & ~self.masks["prompt_mask"].bool()
        return scored.sum(1)

    @property
    def num_characters(self) -> int | None:
        """Of the text in these windows; None if the rows do not count them."""
        counts = self.units.get("num_characters")
        return None if counts is None else int(counts.sum())

    @property
    def lost(self) -> LostText:
        """The characters of these windows that their tokens do not tell; false if there are none.

        Then the nats are those of the tokens alone, and there are none by character or byte.
        """
        return LostText.of(self.units)

    def measure(
        self,
        model: Model,
        nats_of: Callable[[Model, Tensor, Tensor], Tensor],
        shape: tuple[int, ...] = (),
        show_progress: bool = False,
    ) -> Tensor:
        """The nats of all windows; to be called on all processes.

        Args:
            model: what `nats_of` is given first.
            nats_of: (model, input_ids int64 (B, L), row_numbers int64 (B,)) -> float64
                (B, *shape), of each window alone.
            shape: of one window's nats; () = a number.
            show_progress: a bar on a terminal or lines of the log, on the main process.

        Returns:
            float64 (W, *shape), the same on every process, on the CPU.
        """
        device = next(model.parameters()).device
        return measure_rows(
            len(self),
            lambda rows: nats_of(model, self.input_ids[rows].to(device), rows.to(device)),
            device=device,
            shape=shape,
            batch_size=self._windows_at_once(),
            unit="window",
            shown=show_progress,
        )

    def _windows_at_once(self) -> int:
        """How many of this process's share are measured at once: it decides how sums round."""
        return max(_WINDOWS_AT_ONCE, math.ceil(len(own_share(len(self))) / _MOST_PARTS))

    def figures(self, nats: Tensor) -> dict[str, Estimate | PositiveEstimate]:
        """What nats per window mean in each unit.

        Args:
            nats: float64 (W,), of each window.

        Returns:
            "bits per token", "bits per character" and "bits per byte" as far as they were counted,
            and "perplexity per token", with standard errors over windows (and over what was random
            in `nats`). Nothing by character or byte if the tokens do not tell all of the text: it
            would be a figure of another one.
        """
        tokens = self.num_tokens
        named = {"character": "num_characters", "byte": "num_bytes"}
        counts = {unit: self.units[name] for unit, name in named.items() if name in self.units}
        if self.lost:
            counts = {}
        figures: dict[str, Estimate | PositiveEstimate] = {
            f"bits per {unit}": bits_per_unit(nats, count)
            for unit, count in ({"token": tokens} | counts).items()
        }
        return figures | {"perplexity per token": perplexity(nats, tokens)}


class BoundEvaluation(HeldOutWindows):
    """The bound of a model on the same windows with the same masks each time it is called.

    Args:
        windows: as for [`HeldOutWindows`].
        max_windows: how many of the first ones are taken; None = all.
        num_samples: as in [`nelbo`], masked versions of each window.
        seed: key of the masks.
    """

    def __init__(
        self,
        windows: Iterable[Mapping[str, Any]],
        max_windows: int | None = 500,
        num_samples: int | Literal["all"] = 2,
        seed: int = 0,
    ):
        super().__init__(windows, max_windows)
        self.num_samples = num_samples
        self.seed = seed

    def nats(
        self,
        model: nn.Module,
        num_samples: int | Literal["all"] | None = None,
        show_progress: bool = False,
    ) -> Tensor:
        """The bound on -log p of each window; to be called on all processes.

        Args:
            model: as for [`nelbo`].
            num_samples: versions of each window, if other than the evaluation's own.
            show_progress: as for [`HeldOutWindows.measure`].

        Returns:
            float64 (W,), nats.
        """
        versions = self.num_samples if num_samples is None else num_samples

        def bound(model: Any, input_ids: Tensor, numbers: Tensor) -> Tensor:
            masks = {
                name: mask[numbers.cpu()].to(input_ids.device) for name, mask in self.masks.items()
            }
            return nelbo(
                model,
                input_ids,
                num_samples=versions,
                row_numbers=numbers,
                generator=torch.Generator().manual_seed(self.seed),
                **masks,
            ).nats

        return self.measure(model, bound, show_progress=show_progress)

    def __call__(
        self, model: nn.Module, num_samples: int | Literal["all"] | None = None
    ) -> dict[str, float]:
        """The bound as a training run logs it; to be called on all processes.

        Args:
            model: as for [`nelbo`].
            num_samples: versions of each window, if other than the evaluation's own.

        Returns:
            `eval_loss` and `eval_standard_error` in nats per token, `bits_per_character` and
            `bits_per_character_standard_error`; errors are over windows and masks. In place of the
            latter two `unknown_share` and `changed_share` if tokens do not tell all of the text.
        """
        figures = self.figures(self.nats(model, num_samples))
        token = figures["bits per token"]
        logged = {
            "eval_loss": token.value * math.log(2),
            "eval_standard_error": token.standard_error * math.log(2),
        }
        character = figures.get("bits per character")
        if character is not None:
            logged["bits_per_character"] = character.value
            logged["bits_per_character_standard_error"] = character.standard_error
        if self.lost:
            logged["unknown_share"] = self.lost.unknown_share
            logged["changed_share"] = self.lost.changed_share
        return logged


def write_samples(
    model: ARDMForMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Tensor,
    *,
    num_samples: int = 3,
    seed: int = 0,
) -> tuple[list[str], str]:
    """Texts in random order, and a known passage whose middle third is generated.

    Args:
        model: has `generate`.
        tokenizer: its tokenizer.
        input_ids: int64 (L,), the passage, as long as the texts.
        num_samples: how many texts.
        seed: key of what is drawn.

    Returns:
        The texts, and the passage with the generated part in [[ ]]; what was generated ends before
        its first EOS.
    """
    mask = model.config.mask_token_id
    known = with_given_tokens(model.config, input_ids[None], torch.zeros_like(input_ids[None]))
    assert known is not None
    canvas = input_ids[None].masked_fill(~known.bool(), mask).to(model.device)
    written: Any = model.generate(
        canvas, order="random", num_return_sequences=num_samples, seed=seed
    )
    begin = len(input_ids) // 3
    end = 2 * len(input_ids) // 3
    gap = input_ids.clone()
    gap[begin:end] = mask
    # another seed: with the same one the gap would echo the first text, drawn from the same numbers
    filled = model.generate(gap[None].to(model.device), seed=seed + 1)[0]
    parts = (filled[:begin], filled[begin:end], filled[end:])
    eos = sorted(eos_ids(model.config))
    # of an adopted model what stands around a text is no part of it
    bare = {"skip_special_tokens": bool(known.any())}
    before, middle, after = (
        tokenizer.decode(part, **bare) for part in (parts[0], _cut(parts[1], eos), parts[2])
    )
    texts = tokenizer.batch_decode([_cut(row, eos).tolist() for row in written], **bare)
    return texts, f"{before}[[{middle}]]{after}"


def _cut(ids: Tensor, eos: list[int]) -> Tensor:
    """Generated ids (L,), up to their first EOS."""
    ends = torch.isin(ids, torch.tensor(eos, dtype=ids.dtype, device=ids.device)).nonzero()
    return ids[: int(ends[0])] if len(ends) else ids
