"""Scores over a fixed set of windows, shared out over the processes, as the figures that a run
reports.

Process r of P scores the windows r, r + P, ...; what is random of a window is keyed by its number,
so that every process ends with the same scores, and one process with the same as many.

Shapes: W windows, B of them at a time, L tokens each.
"""

import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from ..likelihood import nelbo
from ..metrics.bits import Estimate, PositiveEstimate, bits_per_unit, perplexity

logger = logging.getLogger(__name__)

UNITS = ("num_characters", "num_bytes")
_WINDOWS_AT_ONCE = 16  # at least, between two steps of the progress bar
_MOST_PARTS = 50  # steps of the bar, or lines of the log

Score = Callable[[Any, Tensor, Tensor], Tensor]


class ScoredWindows:
    """Windows that every process holds and each scores a share of.

    Args:
        windows: rows with `input_ids` int64 (L,) and any of `num_characters` and `num_bytes`, as
            `ardm.data.windows.make_windows` makes them.
        max_windows: how many of the first ones are scored; None = all.

    Raises:
        ValueError: if there is no window, or none is asked for.
    """

    def __init__(self, windows: Iterable[Mapping[str, Any]], max_windows: int | None = None):
        if max_windows is not None and max_windows < 1:
            raise ValueError(f"max_windows is {max_windows}; expected at least 1.")
        rows = list(islice(windows, max_windows))
        if not rows:
            raise ValueError("there are no windows to score; expected at least one.")
        self.input_ids: Tensor = torch.stack([torch.as_tensor(row["input_ids"]) for row in rows])
        self.units = {
            name: torch.tensor([int(row[name]) for row in rows])
            for name in UNITS
            if name in rows[0]
        }

    def __len__(self) -> int:
        return len(self.input_ids)

    def score(
        self, model: Any, score: Score, shape: tuple[int, ...] = (), show_progress: bool = False
    ) -> Tensor:
        """Scores all windows; to be called on all processes.

        Args:
            model: what `score` is given first.
            score: (model, input_ids int64 (B, L), row_numbers int64 (B,)) -> float64 (B, *shape),
                of each window alone.
            shape: of one window's score; () = a number.
            show_progress: a bar, on the main process.

        Returns:
            float64 (W, *shape), the same on every process, on the CPU.
        """
        from accelerate import PartialState
        from accelerate.utils import reduce

        state = PartialState()
        device = next(model.parameters()).device
        share_W = torch.arange(len(self))[state.process_index :: state.num_processes]
        scores = torch.zeros(len(self), *shape, dtype=torch.float64)
        with _progress(len(share_W), show_progress and state.is_main_process) as advance:
            for part in share_W.split(max(_WINDOWS_AT_ONCE, math.ceil(len(share_W) / _MOST_PARTS))):
                if len(part):  # else there are more processes than windows
                    scores[part] = score(
                        model, self.input_ids[part].to(device), part.to(device)
                    ).cpu()
                advance(len(part))
        return reduce(
            scores.to(device), reduction="sum"
        ).cpu()  # what another process scores is 0 here

    def figures(self, nats: Tensor) -> dict[str, Estimate | PositiveEstimate]:
        """What nats per window mean in each unit.

        Args:
            nats: float64 (W,), of each window.

        Returns:
            "bits per token", "bits per character" and "bits per byte" as far as they were counted,
            and "perplexity per token", with standard errors over windows (and over what was random
            in `nats`).
        """
        tokens = torch.full((len(self),), self.input_ids.shape[1])
        units = {"token": tokens} | {
            name.removeprefix("num_").rstrip("s"): n for name, n in self.units.items()
        }
        figures: dict[str, Estimate | PositiveEstimate]
        figures = {f"bits per {unit}": bits_per_unit(nats, count) for unit, count in units.items()}
        return figures | {"perplexity per token": perplexity(nats, tokens)}


class BoundEvaluation(ScoredWindows):
    """The bound of a model on the same windows with the same masks each time it is called.

    Args:
        windows: as for [`ScoredWindows`], with `num_characters`.
        max_windows: how many of the first ones are scored; None = all.
        num_samples: as in [`nelbo`], of each window.
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
        model: Any,
        num_samples: int | Literal["all"] | None = None,
        show_progress: bool = False,
    ) -> Tensor:
        """The bound on -log p of each window; to be called on all processes.

        Args:
            model: as for [`nelbo`].
            num_samples: draws of each window, if other than the evaluation's own.
            show_progress: a bar, on the main process.

        Returns:
            float64 (W,), nats.
        """
        draws = self.num_samples if num_samples is None else num_samples

        def score(model: Any, input_ids: Tensor, numbers: Tensor) -> Tensor:
            source = torch.Generator().manual_seed(self.seed)
            return nelbo(
                model, input_ids, num_samples=draws, row_numbers=numbers, generator=source
            ).nats

        return self.score(model, score, show_progress=show_progress)

    def __call__(
        self, model: Any, num_samples: int | Literal["all"] | None = None
    ) -> dict[str, float]:
        """The bound as a training run logs it; to be called on all processes.

        Args:
            model: as for [`nelbo`].
            num_samples: draws of each window, if other than the evaluation's own.

        Returns:
            `eval_loss` and `eval_standard_error` in nats per token, `bits_per_character` and
            `bits_per_character_standard_error`; errors are over windows and masks.
        """
        figures = self.figures(self.nats(model, num_samples))
        token = figures["bits per token"]
        character = figures["bits per character"]
        return {
            "eval_loss": token.value * math.log(2),
            "eval_standard_error": token.standard_error * math.log(2),
            "bits_per_character": character.value,
            "bits_per_character_standard_error": character.standard_error,
        }


@contextmanager
def _progress(total: int, shown: bool) -> Iterator[Callable[[int], Any]]:
    """A bar on a terminal, and elsewhere a line of the log at each quarter."""
    from tqdm.auto import tqdm

    on_terminal = sys.stderr.isatty()
    with tqdm(
        total=total,
        desc="Scoring",
        unit=" windows",
        leave=False,
        disable=not (shown and on_terminal),
    ) as bar:
        done = 0

        def log(number: int) -> None:
            nonlocal done
            before = done
            done = done + number
            if shown and 4 * before // total < 4 * done // total < 4:
                logger.info("scored %d of this process's %d windows", done, total)

        yield bar.update if on_terminal else log


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
    samples = tokenizer.batch_decode(
        model.generate(order="random", num_return_sequences=num_samples, seed=seed)
    )
    begin = len(input_ids) // 3
    end = 2 * len(input_ids) // 3
    gap = input_ids.clone()
    gap[begin:end] = model.config.mask_token_id
    # another seed: with the same one the gap would echo the first text, drawn from the same numbers
    filled = model.generate(gap[None].to(model.device), seed=seed + 1)[0]
    before, middle, after = (
        tokenizer.decode(part) for part in (filled[:begin], filled[begin:end], filled[end:])
    )
    return samples, f"{before}[[{middle}]]{after}"
