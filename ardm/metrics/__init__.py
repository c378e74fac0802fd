"""Figures of bounds and of samples, as plain functions and as a metric of `evaluate`.

evaluate.load(ardm.metrics.__path__[0], "bits_per_character")
"""

from .bits import Estimate, PositiveEstimate, bits_per_unit, describe, perplexity
from .external_scorers import Scorer, load_scorer
from .generative_perplexity import GenerativePerplexity, generative_perplexity
from .sample_statistics import (
    distinct,
    pooled_unigram_entropy_nats,
    repetition,
    sample_statistics,
    self_bleu,
    unigram_entropies_nats,
)
from .scorer_kinds import scorer_kind

__all__ = [
    "Estimate",
    "GenerativePerplexity",
    "PositiveEstimate",
    "Scorer",
    "bits_per_unit",
    "describe",
    "distinct",
    "generative_perplexity",
    "load_scorer",
    "perplexity",
    "pooled_unigram_entropy_nats",
    "repetition",
    "sample_statistics",
    "scorer_kind",
    "self_bleu",
    "unigram_entropies_nats",
]
