"""Generative perplexity: how likely generated texts are under another model, and how varied.

    exp(sum of nats over all texts / number of their tokens),    nats as in `external_scorers.py`

Under a masked scorer this is the pseudo-perplexity, not the probability of anything. It compares
samples under the same scorer only, and only at the same entropy: hence the two are returned
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from statistics import fmean
from typing import TYPE_CHECKING

from .bits import Estimate, PositiveEstimate, perplexity
from .external_scorers import Scorer, load_scorer
from .sample_statistics import mean_standard_error, unigram_entropies_nats

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOW = 0.95  # of the reference's entropy; the 32-bit noise of the note left 0.91 of it
_LENGTHS_DIFFER = 0.1
_CAUTION = (
    "A low generative perplexity does not show good text: samples that repeat themselves have it,"
    " too, and where their entropy is low it means nothing."
    " 32-bit Gumbel noise alone took one sampler from 126 to 31"
    " while the entropy of its samples fell from 5.66 to 5.17 nats (arXiv 2409.02908)."
)


@dataclass(frozen=True, kw_only=True)
class GenerativePerplexity:
    """Perplexity of texts under a scorer, and what it must be read with. Errors are over texts.

    Args:
        perplexity: per token of the scorer.
        mean_unigram_entropy_nats: of each text's token frequencies, in the scorer's tokens.
        mean_num_tokens: of a text, in the scorer's tokens.
        scorer_kind: "causal" or "masked".
        lost_share: of the texts' characters those that the scorer's tokens do not tell, in [0, 1]:
            unknown to its tokenizer, dropped or changed by it. Above 0 the perplexity is that of
            another text, which the note says.
        note: how far to trust it, in words.
        reference: the same of real text.
    """

    perplexity: PositiveEstimate
    mean_unigram_entropy_nats: Estimate
    mean_num_tokens: float
    scorer_kind: str
    lost_share: float = 0.0
    note: str = _CAUTION
    reference: "GenerativePerplexity | None" = None

    @property
    def has_low_entropy(self) -> bool | None:
        """Whether the entropy is below 95 % of that of a reference of like length; else None."""
        if self.reference is None:
            return None
        length = self.reference.mean_num_tokens
        if abs(self.mean_num_tokens - length) > _LENGTHS_DIFFER * length:
            return None
        entropy = self.reference.mean_unigram_entropy_nats.value
        return self.mean_unigram_entropy_nats.value < _LOW * entropy


def generative_perplexity(
    texts: Sequence[str],
    model: "PreTrainedModel | str | PathLike[str]",
    tokenizer: "PreTrainedTokenizerBase | str | PathLike[str] | None" = None,
    *,
    reference_texts: Sequence[str] | None = None,
    kind: str | None = None,
    batch_size: int | None = None,
    max_length: int | None = None,
    stride: int | None = None,
) -> GenerativePerplexity:
    """Scores texts with any causal or masked language model of transformers.

    A causal scorer conditions the first token on its tokenizer's BOS token; without one the first
    token is not scored. A text that begins with BOS keeps that one, and no EOS is added. A masked
    scorer gets the special tokens that its tokenizer adds, which are not scored; it reads a text as
    often as the text has tokens. A text that is too long for the scorer is read in overlapping
    windows, in which only the tokens that are new are scored.

    Args:
        texts: generated texts; one without tokens has entropy 0 and does not change the perplexity.
        model: the scorer, or a name or folder to load it from; a loaded one moves to the GPU if
            there is one.
        tokenizer: the scorer's, or a name or folder; None = from the model's name.
        reference_texts: real texts, best as long as the samples, whose figures go beside them.
        kind: "causal" or "masked"; None = by the model's class, or its configuration's
            `architectures` or `is_decoder`.
        batch_size: windows (causal) or masked copies of them (masked) in one call; None = by
            memory. It does not change the result.
        max_length: longest window, special tokens included; None = the scorer's limit.
        stride: tokens from window to window, fewer than fit in one; None = half of them.

    Returns:
        [`GenerativePerplexity`], from float64 sums over all texts' tokens; its `note` says how far
        to trust it.

    Raises:
        ValueError: if there is no text or no token to score, the scorer is of no known kind, the
            tokenizer does not fit it, or a size is out of range.
    """
    _check_texts("texts", texts)
    if reference_texts is not None:
        _check_texts("reference_texts", reference_texts)
    scorer = load_scorer(
        model, tokenizer, kind=kind, batch_size=batch_size, max_length=max_length, stride=stride
    )
    figures = _figures(texts, scorer)
    notes = [_loss("texts", figures), _CAUTION]
    if reference_texts is not None:
        figures = replace(figures, reference=_figures(reference_texts, scorer))
        assert figures.reference is not None
        notes = [_comparison(figures), _loss("reference texts", figures.reference), *notes]
    return replace(figures, note=" ".join(filter(None, notes)))


def _loss(what: str, figures: GenerativePerplexity) -> str:
    if figures.lost_share == 0:
        return ""
    return (
        f"WARNING: {100 * figures.lost_share:.2g} % of the {what}' characters are unknown to the"
        " scorer's tokenizer, dropped or changed by it: the perplexity is not that of these texts."
    )


def _check_texts(name: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} is {str(texts)[:40]!r}; expected at least one text, in a list.")


def _figures(texts: Sequence[str], scorer: Scorer) -> GenerativePerplexity:
    ids = scorer.ids(texts)
    nats, num_scored = scorer.nats(ids)
    if not num_scored.any():
        raise ValueError("the texts have no token to score; expected some.")
    entropies = unigram_entropies_nats(ids)
    return GenerativePerplexity(
        perplexity=perplexity(nats, num_scored),
        mean_unigram_entropy_nats=Estimate(fmean(entropies), mean_standard_error(entropies)),
        mean_num_tokens=fmean(map(len, ids)),
        scorer_kind=scorer.kind,
        lost_share=scorer.lost_share(texts, ids),
    )


def _comparison(samples: GenerativePerplexity) -> str:
    reference = samples.reference
    assert reference is not None
    beside = (
        f"entropy {samples.mean_unigram_entropy_nats.value:.2f} nats at perplexity"
        f" {samples.perplexity.value:.1f}, against {reference.mean_unigram_entropy_nats.value:.2f}"
        f" nats at {reference.perplexity.value:.1f}"
    )
    if samples.has_low_entropy is None:
        return (
            f"WARNING: the samples have {samples.mean_num_tokens:.0f} tokens on average and the"
            f" reference texts {reference.mean_num_tokens:.0f}, and entropies of different lengths"
            f" do not compare: {beside}."
        )
    if samples.has_low_entropy:
        return (
            "WARNING: the samples vary less than real text, so that their perplexity is"
            f" meaningless: {beside}."
        )
    return f"The samples vary about as much as the reference texts, or more: {beside}."
