"""Live: a gap being filled, as an iterator of fragments for a page of somebody else's."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..training.relays import Show, relay
from .fragments import replay_fragment, text_fragment
from .recording import Recorder
from .traces import Trace


class Filling(NamedTuple):
    """How far a text is: fragments of HTML, and the plain text."""

    canvas: str  # the tokens so far
    text: str  # at the end; until then empty
    replay: str  # the same: what plays it again


def watch_filling(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ids: Tensor,
    *,
    delay: float = 0.0,
    **settings: Any,
) -> Iterator[Filling]:
    """Fills the gaps of a text while it is looked at.

    Args:
        model: anything with `generate` and a `device`.
        tokenizer: its tokenizer.
        ids: int64 (1, L), as of `ardm.data.gaps.encode_gaps`.
        delay: seconds to wait after each pass.
        **settings: of `generate`; they stand on the page that plays it again.

    Yields:
        The canvas about ten times a second, and at last the result.

    Raises:
        ValueError: as `generate`, or if `delay` is no number of seconds.
    """

    def work(show: Show[Filling]) -> Filling:
        def draw(trace: Trace) -> None:
            show(lambda: Filling(text_fragment(trace, running=True), "", ""))

        recorder = Recorder(tokenizer, draw)
        model.generate(ids.to(model.device), streamer=recorder, **settings)
        assert recorder.trace is not None
        trace = recorder.trace
        caption = ", ".join(f"{name} {value}" for name, value in settings.items())
        return Filling(text_fragment(trace), trace.text, replay_fragment(trace, caption))

    yield from relay(work, delay=delay)
