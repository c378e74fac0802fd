"""Sample statistics against scipy, counting by hand and sacrebleu."""

import math
import sys

import pytest
import sacrebleu
import torch
from scipy import stats

from ardm.metrics.sample_statistics import (
    distinct,
    mean_standard_error,
    pooled_unigram_entropy_nats,
    repetition,
    sample_statistics,
    self_bleu,
    unigram_entropies_nats,
)

FIGURES = [
    unigram_entropies_nats,
    pooled_unigram_entropy_nats,
    sample_statistics,
    lambda samples: distinct(samples, 2),
    lambda samples: repetition(samples, 2),
    self_bleu,
]


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 6, (length,), generator=generator).tolist() for length in (30, 12, 47, 3)
    ]


def all_ngrams(sample, n):
    return [tuple(sample[i : i + n]) for i in range(len(sample) - n + 1)]


def test_entropies_are_scipys(samples):
    expected = [stats.entropy(torch.bincount(torch.tensor(sample)).numpy()) for sample in samples]
    assert unigram_entropies_nats(samples) == pytest.approx(expected)


def test_pooled_entropy_is_scipys(samples):
    pooled = torch.tensor([token for sample in samples for token in sample])
    assert pooled_unigram_entropy_nats(samples) == pytest.approx(
        stats.entropy(pooled.bincount().numpy())
    )


def test_entropy_of_n_different_tokens_is_log_n_and_of_one_is_0():
    assert unigram_entropies_nats([range(7), [3] * 9, []]) == pytest.approx([math.log(7), 0, 0])


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_distinct_counts_ngrams_of_all_samples(samples, n):
    grams = [gram for sample in samples for gram in all_ngrams(sample, n)]
    assert distinct(samples, n) == len(set(grams)) / len(grams)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_repetition_counts_ngrams_within_a_sample(samples, n):
    fractions = [1 - len(set(grams)) / len(grams) for s in samples if (grams := all_ngrams(s, n))]
    assert repetition(samples, n) == pytest.approx(sum(fractions) / len(fractions))


def test_a_copy_repeats_nothing_within_but_is_not_distinct():
    assert repetition([list("abcdef")] * 2, 2) == 0 and distinct([list("abcdef")] * 2, 2) == 0.5


def test_samples_shorter_than_n_have_no_ngrams():
    assert math.isnan(distinct([[1, 2], [3]], 3)) and math.isnan(repetition([[1, 2], [3]], 3))
    assert repetition([[1, 1, 1], [3]], 2) == 0.5


@pytest.mark.parametrize("n", [2, 4])
def test_self_bleu_is_sacrebleus_against_all_others(n):
    texts = [
        "the cat sat on the mat today",
        "the dog sat on the mat",
        "a bird sat there",
        "the cat and the dog sat on it",
    ]
    bleu = sacrebleu.BLEU(tokenize="none", max_ngram_order=n, effective_order=True)
    expected = [
        bleu.sentence_score(text, [other for other in texts if other != text]).score
        for text in texts
    ]
    assert self_bleu([text.split() for text in texts], n) == pytest.approx(
        sum(expected) / len(expected) / 100
    )


def test_self_bleu_of_copies_is_1_and_of_strangers_0():
    assert self_bleu([[1, 2, 3, 4, 5]] * 3) == pytest.approx(1)
    assert self_bleu([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]) == pytest.approx(0, abs=1e-9)


def test_self_bleu_counts_the_orders_that_a_short_sample_has():
    assert self_bleu([[1, 2], [1, 2]]) == pytest.approx(1)


def test_self_bleu_keeps_tokens_with_spaces_whole():
    assert self_bleu([["a b", "c", "d", "e"], ["a", "b c", "d e", "f"]]) == pytest.approx(
        0, abs=1e-9
    )


def test_self_bleu_without_sacrebleu_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(ImportError, match="pip install sacrebleu"):
        self_bleu([[1], [2]])


@pytest.mark.parametrize("figure", FIGURES)
def test_a_tensor_is_its_lists(figure):
    ids = torch.randint(0, 4, (3, 20))
    assert figure(ids) == figure(list(ids)) == figure(ids.numpy()) == figure(ids.tolist())


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize(
    "samples", [[], "text", ["one text", "another"], [1, 2], [{"input_ids": [1]}] * 2]
)
def test_what_is_no_list_of_token_sequences_is_refused(figure, samples):
    with pytest.raises(ValueError, match="sample"):
        figure(samples)


@pytest.mark.parametrize("figure", [distinct, repetition, self_bleu])
def test_n_below_1_is_refused(figure):
    with pytest.raises(ValueError, match="n is 0"):
        figure([[1, 2], [3]], 0)


def test_self_bleu_of_one_sample_is_refused():
    with pytest.raises(ValueError, match="at least two samples"):
        self_bleu([[1, 2]])


def test_standard_error_is_scipys():
    assert mean_standard_error([1.0, 2.0, 4.0]) == pytest.approx(stats.sem([1.0, 2.0, 4.0]))
    assert math.isnan(mean_standard_error([1.0]))


def test_summary_holds_the_figures(samples):
    figures = sample_statistics(samples, self_bleu_order=3)
    entropies = unigram_entropies_nats(samples)
    assert figures == {
        "num_samples": 4,
        "mean_num_tokens": 23,
        "mean_unigram_entropy_nats": pytest.approx(sum(entropies) / 4),
        "mean_unigram_entropy_standard_error_nats": pytest.approx(stats.sem(entropies)),
        "pooled_unigram_entropy_nats": pooled_unigram_entropy_nats(samples),
        **{f"distinct_{n}": distinct(samples, n) for n in (1, 2, 3, 4)},
        "repetition_4": repetition(samples, 4),
        "self_bleu_3": self_bleu(samples, 3),
    }
    assert "self_bleu_3" not in sample_statistics(samples)
