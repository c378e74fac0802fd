"""Sums over any split of the images are the sums over all; kept features follow the images' numbers."""

import itertools
import math
import types

import accelerate
import numpy as np
import pytest
import torch
from scipy import stats

from ddpm.metrics.feature_statistics import FeatureStatistics
from ddpm.metrics.features import Features

N, F, K = 23, 4, 3
GENERATOR = torch.Generator().manual_seed(0)
PHI = torch.randn(N, F, generator=GENERATOR) * 3 + 1
P = torch.randn(N, K, generator=GENERATOR, dtype=torch.float64).mul(2).softmax(1)
SPLITS = [[23], [0, 23], [1] * 23, [7, 0, 0, 9, 7], [22, 1], [16, 7, 0]]


def statistics(numbers, max_kept=None, batch=5, classes=True):
    made = FeatureStatistics(max_kept)
    for part in torch.as_tensor(numbers, dtype=torch.int64).split(batch):
        if len(part):
            made.update(Features(PHI[part], P[part] if classes else None), part)
    return made


def assert_same(a, b):
    assert len(a) == len(b)
    for got, expected in zip(a.moments, b.moments, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(a.features, b.features)
    assert a.inception_score == pytest.approx(b.inception_score, rel=1e-12)


def test_moments_are_numpys():
    mean, covariance = statistics(range(N)).moments
    np.testing.assert_allclose(mean, PHI.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(PHI.double().numpy(), rowvar=False), rtol=1e-11)


@pytest.mark.parametrize("sizes", SPLITS)
@pytest.mark.parametrize("max_kept", [None, 0, 10])
def test_any_split_merges_to_the_whole(sizes, max_kept):
    order = torch.randperm(N)
    parts = [statistics(part, max_kept) for part in order.split(sizes)]
    merged = FeatureStatistics.merge(parts)
    assert_same(merged, statistics(range(N), max_kept, batch=N))
    assert [len(part) for part in parts] == sizes  # which are left as they are
    assert_same(FeatureStatistics.merge(parts[::-1]), merged)


@pytest.mark.parametrize(("max_kept", "kept"), [(None, N), (0, 0), (10, 10), (100, N)])
def test_features_of_the_first_numbers_are_kept_in_their_order(max_kept, kept):
    made = statistics(torch.randperm(N), max_kept)
    assert torch.equal(made.features, PHI[:kept].double().view(kept, F)) and len(made) == N


def test_nothing_is_merged_and_gathered_to_nothing():
    for made in (
        FeatureStatistics(),
        FeatureStatistics.merge([FeatureStatistics()] * 2),
        FeatureStatistics().gather(),
    ):
        assert len(made) == 0 and len(made.features) == 0 and made.inception_score is None
        with pytest.raises(ValueError, match="there are 0 images"):
            _ = made.moments


def test_gathering_on_one_process_changes_nothing_and_copies():
    made = statistics(range(10))
    gathered = made.gather()
    assert_same(gathered, made)
    made.update(Features(PHI[10:], P[10:]), torch.arange(10, N))
    assert len(gathered) == 10 and torch.equal(gathered.features, PHI[:10].double())
    assert_same(made, statistics(range(N)))


def test_inception_score_is_the_exponential_mean_divergence():
    marginal = P.mean(0).numpy()
    expected = math.exp(np.mean([stats.entropy(row.numpy(), marginal) for row in P]))
    made = statistics(range(N))
    assert made.inception_score == pytest.approx(expected, rel=1e-12) and 1 < expected < K
    assert statistics(range(N), classes=False).inception_score is None


@pytest.mark.parametrize(
    ("rows", "expected"), [(torch.eye(K), K), (torch.eye(K)[:1].expand(K, K), 1.0)]
)
def test_inception_score_of_certain_classes(rows, expected):
    made = FeatureStatistics()
    made.update(Features(PHI[:K], rows.double()), torch.arange(K))
    assert made.inception_score == pytest.approx(expected, rel=1e-12)


def test_an_image_number_that_occurs_twice_is_refused():
    made = FeatureStatistics.merge([statistics([0, 1, 2]), statistics([2, 3])])
    with pytest.raises(ValueError, match="number 2 occurs 2 times"):
        made.gather()


def join(monkeypatch, *others):
    """Processes with `others`, which have sent theirs when this one gathers."""
    sent = [(other._shapes(), other._numbers, other._kept) for other in others]
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda mine: mine + sent)


def test_processes_that_do_not_fit_are_refused_before_sums_are_exchanged(monkeypatch):
    monkeypatch.setattr(accelerate.utils, "reduce", None)
    join(monkeypatch, statistics([2, 3]))
    with pytest.raises(ValueError, match="number 2 occurs 2 times"):
        statistics([0, 1, 2]).gather()
    join(monkeypatch, statistics([2, 3], classes=False), FeatureStatistics())
    with pytest.raises(ValueError, match="expected the same extractor on all"):
        statistics([0, 1]).gather()


def test_a_process_without_images_adds_zeros(monkeypatch):
    whole = statistics(range(N))
    join(monkeypatch, whole)
    state = types.SimpleNamespace(num_processes=2, device="cpu")
    monkeypatch.setattr(accelerate, "PartialState", lambda: state)
    added = iter(whole._sums)

    def reduce(mine, reduction):
        assert reduction == "sum" and not mine.any()
        return mine + next(added)

    monkeypatch.setattr(accelerate.utils, "reduce", reduce)
    assert_same(FeatureStatistics().gather(), whole)


@pytest.mark.parametrize(
    "numbers", [torch.arange(4), torch.arange(5.0), torch.arange(5) - 1, torch.zeros(5, 1).long()]
)
def test_wrong_numbers_are_refused(numbers):
    with pytest.raises(ValueError, match=r"expected int64 \(5,\), none negative"):
        FeatureStatistics().update(Features(PHI[:5], None), numbers)


def test_features_of_different_extractors_are_refused():
    made = statistics(range(5))
    others = [
        Features(PHI[:5, :3], P[:5]),
        Features(PHI[:5], None),
        Features(PHI[:5], torch.full((5, 2), 0.5)),
    ]
    for other, (a, b) in itertools.product(others, [(0, 1), (1, 0)]):
        with pytest.raises(ValueError, match="expected those of one extractor"):
            made.update(other, torch.arange(5, 10))
        part = FeatureStatistics()
        part.update(other, torch.arange(5, 10))
        with pytest.raises(ValueError, match="expected those of one extractor"):
            FeatureStatistics.merge([[made, part][i] for i in (a, b)])
    assert_same(made, statistics(range(5)))
    with pytest.raises(ValueError, match="keep the same number"):
        FeatureStatistics.merge([FeatureStatistics(3), FeatureStatistics()])
    with pytest.raises(ValueError, match="max_kept is -1"):
        FeatureStatistics(-1)
