"""How varied generated samples are: entropy, distinct n-grams, repetition, self-BLEU.

For a sample with n tokens of which n_k are token k:    entropy = -sum_k n_k / n log(n_k / n), nats

A sample is a sequence of tokens, whatever they are: ids, words, or the characters of `list(text)`.
All figures depend on the tokens and on the length and number of samples: compare only what agrees
in all three. Real text is the yardstick; 1024 GPT-2 tokens of it (OpenWebText) have about 5.6 nats
(arXiv 2409.02908).
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from ardm.training import check_integer

Tokens = Sequence[Hashable]


def unigram_entropies_nats(samples: Iterable[Tokens]) -> list[float]:
    """Entropy of the token frequencies within each sample; 0 for an empty one.

    Args:
        samples: sequences of tokens, or an array or tensor (B, L) of ids.

    Returns:
        Nats, one a sample: at most the logarithm of its length. Their mean is what
            arXiv 2409.02908 reports.

    Raises:
        ValueError: if there is no sample, or one is not a sequence of tokens.
    """
    return [_entropy_nats(Counter(sample)) for sample in _checked(samples)]


def pooled_unigram_entropy_nats(samples: Iterable[Tokens]) -> float:
    """Entropy of the token frequencies of all samples together.

    It is never below the mean of the samples' own, if they are equally long.

    Args:
        samples: as for [`unigram_entropies_nats`].

    Returns:
        Nats.

    Raises:
        ValueError: if there is no sample, or one is not a sequence of tokens.
    """
    return _entropy_nats(Counter(token for sample in _checked(samples) for token in sample))


def distinct(samples: Iterable[Tokens], n: int) -> float:
    """Distinct-n: different n-grams / all n-grams, over all samples; 1 = no n-gram occurs twice.

    After Li et al. (arXiv 1510.03055), who divide by the number of tokens instead. It falls as
    samples are added.

    Args:
        samples: as for [`unigram_entropies_nats`].
        n: tokens in a row, at least 1.

    Returns:
        Fraction; NaN if every sample is shorter than n.

    Raises:
        ValueError: if there is no sample, one is not a sequence of tokens, or n is below 1.
    """
    counts = Counter(gram for sample in _checked(samples) for gram in _ngrams(sample, n))
    return len(counts) / counts.total() if counts else math.nan


def repetition(samples: Iterable[Tokens], n: int) -> float:
    """seq-rep-n: 1 - different n-grams / all n-grams of a sample, averaged over samples.

    After Welleck et al. (arXiv 1908.04319).

    Args:
        samples: as for [`unigram_entropies_nats`].
        n: tokens in a row, at least 1; they report 4.

    Returns:
        Fraction, 0 = no sample repeats itself. Samples shorter than n are left out; NaN if all are.

    Raises:
        ValueError: if there is no sample, one is not a sequence of tokens, or n is below 1.
    """
    grams = [_ngrams(sample, n) for sample in _checked(samples)]
    fractions = [1 - len(set(of_sample)) / len(of_sample) for of_sample in grams if of_sample]
    return fmean(fractions) if fractions else math.nan


def self_bleu(samples: Iterable[Tokens], n: int = 4) -> float:
    """Self-BLEU-n of Texygen (arXiv 1802.01886): BLEU of each sample against all others, averaged.

    BLEU is sacrebleu's for sentences: exponential smoothing, and orders up to n that the sample
    has. The work grows with the square of the number of samples.

    Args:
        samples: as for [`unigram_entropies_nats`]; at least two.
        n: the longest n-grams that count.

    Returns:
        Fraction, not percent: 1 = every sample is a copy of another, lower = more varied.

    Raises:
        ValueError: if there are fewer than two samples, one is not a sequence of tokens, or n is
            below 1.
        ImportError: without sacrebleu.
    """
    tokens = _checked(samples)
    n = check_integer("n", n, 1)
    if len(tokens) < 2:
        raise ValueError(f"there are {len(tokens)} samples; expected at least two samples.")
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise ImportError("self-BLEU needs sacrebleu: pip install sacrebleu.") from error
    # numbers as words, so that tokens with spaces stay whole
    ids: dict[Hashable, str] = {}
    words = [[ids.setdefault(token, str(len(ids))) for token in sample] for sample in tokens]
    lines = [" ".join(sample) for sample in words]
    bleu = BLEU(tokenize="none", max_ngram_order=n, effective_order=True)
    scores = [
        bleu.sentence_score(line, lines[:i] + lines[i + 1 :]).score for i, line in enumerate(lines)
    ]
    return fmean(scores) / 100


def sample_statistics(
    samples: Iterable[Tokens], *, self_bleu_order: int | None = None
) -> dict[str, float]:
    """All of these figures.

    Args:
        samples: as for [`unigram_entropies_nats`].
        self_bleu_order: n of self-BLEU-n, which takes long for many samples; None = left out.

    Returns:
        `num_samples`, `mean_num_tokens`; `mean_unigram_entropy_nats` with its
        `..._standard_error_nats` over samples (NaN for one), `pooled_unigram_entropy_nats`; the
        fractions `distinct_1` to `distinct_4`, `repetition_4` and `self_bleu_n`.

    Raises:
        ValueError: if there is no sample, or one is not a sequence of tokens.
    """
    tokens = _checked(samples)
    entropies = unigram_entropies_nats(tokens)
    figures = {
        "num_samples": len(tokens),
        "mean_num_tokens": fmean(map(len, tokens)),
        "mean_unigram_entropy_nats": fmean(entropies),
        "mean_unigram_entropy_standard_error_nats": mean_standard_error(entropies),
        "pooled_unigram_entropy_nats": pooled_unigram_entropy_nats(tokens),
        **{f"distinct_{n}": distinct(tokens, n) for n in range(1, 5)},
        "repetition_4": repetition(tokens, 4),
    }
    if self_bleu_order is not None:
        figures[f"self_bleu_{self_bleu_order}"] = self_bleu(tokens, self_bleu_order)
    return figures


def mean_standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean of independent values; NaN for a single one."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _checked(samples: Any) -> list[Tokens]:
    """The samples as lists. Raises ValueError on what would be counted as other than tokens."""
    # tensors hash by identity: every token would count as a different one
    tokens = [_plain(sample) for sample in _plain(samples)]
    if not tokens:
        raise ValueError("there are no samples; expected at least one.")
    for i, sample in enumerate(tokens):
        if isinstance(sample, (str, bytes)) or not isinstance(sample, Sequence):
            raise ValueError(
                f"sample {i} is a {type(sample).__name__}; expected a sequence of tokens, as ids,"
                " text.split() or list(text) are."
            )
    return tokens


def _plain(values: Any) -> Any:
    return values.tolist() if hasattr(values, "tolist") else values


def _entropy_nats(counts: Counter[Hashable]) -> float:
    total = counts.total()
    return math.fsum(count / total * math.log(total / count) for count in counts.values())


def _ngrams(sample: Tokens, n: int) -> list[tuple[Hashable, ...]]:
    n = check_integer("n", n, 1)
    return list(zip(*(sample[i:] for i in range(n)), strict=False))
