"""Sums over any split of the images are the sums over all; kept features follow their numbers."""

import itertools
import math
import threading
import types
from concurrent.futures import ThreadPoolExecutor

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


def gather_on_all(monkeypatch, parts, reduce="sum"):
    """What every process gathers, or the error that it gets, if each holds one of the parts."""
    barrier = threading.Barrier(len(parts), timeout=60)
    place = threading.local()
    box = [None] * len(parts)

    def exchange(mine):
        box[place.rank] = mine
        barrier.wait()
        everyones = list(box)
        barrier.wait()
        return everyones

    def work(rank):
        place.rank = rank
        try:
            return parts[rank].gather()
        except ValueError as error:
            return error

    def add(mine, reduction):
        assert reduction == "sum"
        return torch.stack(exchange(mine)).sum(0)

    state = types.SimpleNamespace(num_processes=len(parts), device="cpu")
    monkeypatch.setattr(accelerate, "PartialState", lambda: state)
    utils = accelerate.utils
    monkeypatch.setattr(utils, "gather_object", lambda mine: list(itertools.chain(*exchange(mine))))
    monkeypatch.setattr(utils, "reduce", reduce and add)
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(work, range(len(parts))))


def test_moments_are_numpys():
    mean, covariance = statistics(range(N)).moments
    np.testing.assert_allclose(mean, PHI.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(PHI.double().numpy(), rowvar=False), rtol=1e-11)


@pytest.mark.parametrize("sizes", SPLITS)
@pytest.mark.parametrize("max_kept", [None, 0, 10])
def test_any_split_over_processes_gathers_to_the_whole(monkeypatch, sizes, max_kept):
    parts = [statistics(part, max_kept) for part in torch.randperm(N).split(sizes)]
    whole = statistics(range(N), max_kept, batch=N)
    for gathered in gather_on_all(monkeypatch, parts):
        assert_same(gathered, whole)
    assert [len(part) for part in parts] == sizes  # which are left as they are


@pytest.mark.parametrize(("max_kept", "kept"), [(None, N), (0, 0), (10, 10), (100, N)])
def test_features_of_the_first_numbers_are_kept_in_their_order(max_kept, kept):
    made = statistics(torch.randperm(N), max_kept)
    assert torch.equal(made.features, PHI[:kept].double().view(kept, F)) and len(made) == N


def test_nothing_is_gathered_to_nothing():
    for made in (FeatureStatistics(), FeatureStatistics().gather()):
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


def test_processes_that_do_not_fit_are_refused_before_sums_are_exchanged(monkeypatch):
    def refused(parts, message):
        for error in gather_on_all(monkeypatch, parts, reduce=None):
            assert isinstance(error, ValueError) and message in str(error)

    refused([statistics([0, 1, 2]), statistics([2, 3])], "number 2 occurs 2 times")
    others = [statistics([2, 3], classes=False), FeatureStatistics()]
    refused([statistics([0, 1]), *others], "expected the same extractor on all")


@pytest.mark.parametrize(
    "numbers", [torch.arange(4), torch.arange(5.0), torch.arange(5) - 1, torch.zeros(5, 1).long()]
)
def test_wrong_numbers_are_refused(numbers):
    with pytest.raises(ValueError, match=r"expected int64 \(5,\), none negative"):
        FeatureStatistics().update(Features(PHI[:5], None), numbers)


def test_features_of_different_extractors_are_refused():
    made = statistics(range(5))
    two_classes = torch.full((5, 2), 0.5)
    for other in (
        Features(PHI[:5, :3], P[:5]),
        Features(PHI[:5], None),
        Features(PHI[:5], two_classes),
    ):
        with pytest.raises(ValueError, match="expected those of one extractor"):
            made.update(other, torch.arange(5, 10))
    assert_same(made, statistics(range(5)))
    with pytest.raises(ValueError, match="max_kept is -1"):
        FeatureStatistics(-1)
