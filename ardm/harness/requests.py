"""What the evaluation harness asks, as token ids that fit the model: pairs, windows and prompts."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data.lost_text import LostText, lost_text
from ..generation_config_ardm import PLAN_SETTINGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# what makes a decoding greedy whatever the model's generation_config.json says
GREEDY: dict[str, Any] = {
    "order": "confidence",
    "tokens_per_step": 1,
    "do_sample": False,
    "order_temperature": 0.0,
    "threshold": None,
    "entropy_bound": None,
    "resample_steps": 0,
    "block_length": None,
    "guidance_scale": None,
    "eos_token_id": None,
}

# arguments of `generate` by which it gives something else than a text for each context
_ONE_TEXT = {
    "num_return_sequences": 1,
    "return_dict_in_generate": False,
    "output_history": False,
}

Encode = Callable[[str], list[int]]


@dataclass
class Prompt:
    """A request for text.

    Args:
        place: its number among the requests.
        ids: the context.
        until: stop strings.
        settings: of `generate`; only prompts with the same can share a call.
        seed: of its row.
    """

    place: int
    ids: list[int]
    until: list[str]
    settings: dict[str, Any]
    seed: int


def encode_pair(
    encode: Encode, longest: int, context: str, continuation: str
) -> tuple[list[int], list[int]]:
    """Ids of a context and a continuation that were encoded as one text.

    The continuation takes the spaces at the end of the context, as the harness wants it.

    Args:
        encode: from text to ids, without special tokens.
        longest: tokens that the model takes.
        context: what is given; loses its beginning if it does not fit.
        continuation: what is scored; an empty one gives two empty lists.

    Returns:
        (given, scored) ids, at most `longest` together.

    Raises:
        ValueError: if the continuation alone is too long, or has text and no token.
    """
    if not continuation:
        return [], []
    kept = context.rstrip()
    continuation = context[len(kept) :] + continuation
    known = encode(kept)
    whole = encode(kept + continuation)
    # a token across the seam would keep part of the continuation out of the score
    joint = whole[: len(known)] == known
    scored = whole[len(known) :] if joint else encode(continuation)
    if not scored:  # its probability would be 1
        raise ValueError(
            f"the continuation {continuation[:80]!r} has no token: the tokenizer drops all of it."
            " Expected a text that it knows."
        )
    if len(scored) > longest:
        raise ValueError(
            f"a continuation has {len(scored)} tokens;"
            f" expected at most max_position_embeddings={longest}."
        )
    return known[max(len(known) + len(scored) - longest, 0) :], scored


def fingerprint_of(document: Any) -> str:
    """A text that is the same for the same document, whatever its number in a task."""
    return json.dumps(document, sort_keys=True, default=lambda value: type(value).__name__)


def lost_behind(tokenizer: "PreTrainedTokenizerBase", pairs: Sequence[tuple[str, str]]) -> LostText:
    """What the tokens of continuations do not tell of them.

    Args:
        tokenizer: of the model.
        pairs: (context, continuation); what the tokens do not tell of a context does not count.

    Returns:
        The counts over all continuations.
    """
    totals = [0, 0, 0]
    contexts: dict[str, LostText] = {}  # several continuations share one
    for context, continuation in pairs:
        if context not in contexts:
            contexts[context] = lost_text(tokenizer, context, special_tokens=True)
        before = contexts[context]
        whole = lost_text(tokenizer, context + continuation, special_tokens=True)
        totals[0] += len(continuation)
        totals[1] += max(whole.num_unknown - before.num_unknown, 0)
        totals[2] += max(whole.num_changed - before.num_changed, 0)
    return LostText(*totals)


def warn_of_lost(lost: LostText) -> None:
    """Tells what of the continuations their likelihoods are not of."""
    if lost:
        logger.warning("%s: these likelihoods are of the tokens, not of the text", lost)


def refuse_lost(lost: LostText) -> None:
    """Raises ValueError if bits per byte of texts would leave a part of them out."""
    if lost:
        raise ValueError(
            f"{lost}: the likelihood of the tokens, and bits per byte, would leave that out."
            " Expected texts that the model's tokenizer gives back."
        )


def text_windows(ids: list[int], longest: int) -> list[tuple[list[int], list[int]]]:
    """Cuts a text into windows of at most `longest` tokens.

    Args:
        ids: the text.
        longest: tokens that the model takes.

    Returns:
        (given, scored) ids of each window. The scored ones make up the text; only the last window
        has given ones, the text before it as far as that fits.
    """
    parts = []
    for begin in range(0, len(ids), longest):
        end = min(begin + longest, len(ids))
        parts.append((ids[max(end - longest, 0) : begin], ids[begin:end]))
    return parts


def fit_context(ids: list[int], num_new: int, longest: int) -> list[int]:
    """The end of a context that leaves room for new tokens.

    Args:
        ids: the context.
        num_new: tokens to be generated.
        longest: tokens that the model takes.

    Returns:
        The last ids, all if they fit.

    Raises:
        ValueError: if there is nothing to generate, or no room for any of the context.
    """
    least = min(len(ids), 1)
    if not 1 <= num_new <= longest - least:
        raise ValueError(
            f"max_gen_toks is {num_new}; expected 1..{longest - least},"
            f" as max_position_embeddings={longest} has to hold"
            f" {'the context and ' * least}what is generated."
        )
    return ids[max(len(ids) + num_new - longest, 0) :]


def generation_settings(
    asked: Mapping[str, Any], order: str | None, tokens_per_step: int
) -> dict[str, Any]:
    """What `generate` is told, from what the harness asks and what it leaves open.

    Args:
        asked: `do_sample`, `temperature` and any other argument of `generate`.
        order: where none is asked for; None = "confidence" for greedy decoding, else "random".
        tokens_per_step: where no number of tokens or steps is asked for.

    Returns:
        Arguments of `generate`.

    Raises:
        ValueError: on a temperature that is no number, or what gives no single text.
    """
    for name, value in _ONE_TEXT.items():
        if asked.get(name) not in (None, value):
            raise ValueError(
                f"{name} is {asked[name]!r}; expected {value!r}: an answer is one text."
            )
    settings = {name: value for name, value in asked.items() if name not in _ONE_TEXT}
    temperature = settings.get("temperature")
    if isinstance(temperature, float) and math.isnan(temperature):  # the harness takes it for 0
        raise ValueError("temperature is nan; expected a number, at least 0.")
    if not settings["do_sample"] or settings.get("temperature") == 0:
        settings |= {"do_sample": False, "temperature": None}
    settings.setdefault("order", order or ("random" if settings["do_sample"] else "confidence"))
    if not settings.keys() & set(PLAN_SETTINGS):
        settings["tokens_per_step"] = tokens_per_step
    return settings


def batches(prompts: Sequence[Prompt], batch_size: int) -> list[list[Prompt]]:
    """Puts prompts of the same settings together, the longest first so that little is padding.

    Args:
        prompts: in any order.
        batch_size: the most of a batch.

    Returns:
        All prompts, in batches.
    """
    groups: dict[str, list[Prompt]] = {}
    for prompt in sorted(prompts, key=lambda prompt: -len(prompt.ids)):
        kind = json.dumps(prompt.settings, sort_keys=True, default=repr)
        groups.setdefault(kind, []).append(prompt)
    return [
        group[i : i + batch_size]
        for group in groups.values()
        for i in range(0, len(group), batch_size)
    ]


def stop_strings(until: object) -> list[str]:
    """What ends a text, checked.

    Args:
        until: as the harness gives it.

    Returns:
        The strings.

    Raises:
        ValueError: if one is no string.
    """
    stops: list[Any] = list(until) if isinstance(until, (list, tuple)) else [until]
    if not all(isinstance(stop, str) for stop in stops):
        raise ValueError(f"until is {until!r}; expected a string, or a list of strings.")
    return stops


def cut(text: str, until: Sequence[str]) -> str:
    """The text up to the first of the stop strings; an empty one stops nothing."""
    ends = [text.find(stop) for stop in until if stop]
    return text[: min((end for end in ends if end >= 0), default=len(text))]
