"""Distances of features against closed forms, scipy, brute force, and the laws of distances."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import linalg

from ddpm.metrics import distances
from ddpm.metrics.distances import frechet_distance, kernel_distance, precision_recall

F = 6


def draw(rows, seed=0, features=F):
    return torch.randn(
        rows, features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def mixed(rows, seed=0):
    """Correlated and shifted."""
    return draw(rows, seed) @ draw(F, 1000 + seed) + draw(1, 2000 + seed)


def moments(x):
    return x.mean(0), x.T.cov()


def rotation(seed=3):
    return torch.linalg.qr(draw(F, seed)).Q


# ------------------------------------------------------------------------------------------ Frechet
@pytest.mark.parametrize("seed", range(4))
def test_frechet_is_scipys(seed):
    (m1, s1) = moments(mixed(50, seed))
    (m2, s2) = moments(mixed(40, seed + 10))
    root = np.real(linalg.sqrtm((s1 @ s2).numpy()))
    expected = float((m1 - m2).square().sum() + (s1 + s2).trace()) - 2 * np.trace(root)
    assert frechet_distance(m1, s1, m2, s2) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_commuting_gaussians_in_closed_form():
    basis = rotation()
    (a, b) = torch.tensor([[4.0, 1, 0.25, 9, 0, 2], [1.0, 1, 4, 0, 0, 8]], dtype=torch.float64)
    m1, m2 = draw(2, 5)
    expected = (m1 - m2).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    got = frechet_distance(m1, basis * a @ basis.T, m2, basis * b @ basis.T)
    assert got == pytest.approx(float(expected), rel=1e-12)


def test_frechet_of_a_shift_is_its_square_and_of_the_same_nothing():
    x, shift = mixed(30), draw(1, 4)
    assert frechet_distance(*moments(x), *moments(x + shift)) == pytest.approx(
        float(shift.square().sum()), rel=1e-10
    )
    assert frechet_distance(*moments(x), *moments(x)) < 1e-12 * float(moments(x)[1].trace())


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_frechet_of_fewer_images_than_features_keeps_its_accuracy(rows):
    x = mixed(rows)
    y = mixed(rows, 9)
    assert torch.linalg.matrix_rank(x.T.cov()) == rows - 1 < F
    assert frechet_distance(*moments(x), *moments(x)) < 1e-12 * float(x.T.cov().trace())
    # tr (S_1 S_2)^(1/2) of X^T X and Y^T Y is the nuclear norm of X Y^T
    (a, b) = (z - z.mean(0) for z in (x, y))
    n = rows - 1
    overlap = torch.linalg.matrix_norm(a @ b.T, "nuc") / n
    expected = (
        (x.mean(0) - y.mean(0)).square().sum()
        + (a.square().sum() + b.square().sum()) / n
        - 2 * overlap
    )
    assert frechet_distance(*moments(x), *moments(y)) == pytest.approx(float(expected), rel=1e-11)


def test_frechet_of_constants_is_the_distance_of_the_means():
    zero = torch.zeros(F, F)
    assert frechet_distance(torch.zeros(F), zero, torch.full((F,), 2.0), zero) == pytest.approx(
        4.0 * F
    )


# ---------------------------------------------------------------------------- laws over all of them
def all_figures(x, y):
    kid = kernel_distance(x, y)
    subsets = kernel_distance(x, y, num_subsets=10, subset_size=20, seed=1)
    return [frechet_distance(*moments(x), *moments(y)), *kid, *precision_recall(x, y)], list(
        subsets
    )


def test_rotations_and_the_order_of_rows_change_nothing():
    x = draw(60)
    y = draw(50, 1) * 1.2 + 0.3
    figures, subsets = all_figures(x, y)
    assert 0 < figures[-1] < 1 and 0 < figures[-2] < 1
    rotated, rotated_subsets = all_figures(x @ rotation(), y @ rotation())
    assert rotated == pytest.approx(figures, rel=1e-9)
    assert rotated_subsets == pytest.approx(subsets, rel=1e-9)
    shuffled, _ = all_figures(x.flip(0), y[torch.randperm(50)])
    assert shuffled == pytest.approx(figures, rel=1e-9)


def test_exchanging_the_sets_exchanges_precision_and_recall_alone():
    x = draw(60)
    y = draw(50, 1) * 1.2 + 0.3
    one, _ = all_figures(x, y)
    other, _ = all_figures(y, x)
    assert other == pytest.approx([*one[:3], one[4], one[3]], rel=1e-12)


def test_blocks_change_nothing(monkeypatch):
    x = draw(45)
    y = draw(31, 1) + 0.4
    whole = all_figures(x, y)
    for block in (1, 7, 31):
        monkeypatch.setattr(distances, "_BLOCK", block)
        for got, expected in zip(all_figures(x, y), whole, strict=True):
            assert got == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------------------------- kernel
def mmd(x, y):
    """By the definition, pair by pair."""

    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    def within(z):
        pairs = list(itertools.permutations(z, 2))
        return math.fsum(k(a, b) for a, b in pairs) / len(pairs)

    return within(x) + within(y) - 2 * math.fsum(k(a, b) for a in x for b in y) / (len(x) * len(y))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 5), (7, 4)])
def test_kernel_distance_is_the_definition(n, m):
    x = draw(n)
    y = draw(m, 1) + 0.5
    assert kernel_distance(x, y).value == pytest.approx(mmd(x, y), rel=1e-12)


def test_standard_error_is_the_jackknife_and_unknown_for_two():
    x = draw(7)
    y = draw(5, 1) + 0.5
    variance = 0.0
    for left in (
        [mmd(torch.cat((x[:i], x[i + 1 :])), y) for i in range(7)],
        [mmd(x, torch.cat((y[:j], y[j + 1 :]))) for j in range(5)],
    ):
        variance += (len(left) - 1) * float(np.var(left))
    assert kernel_distance(x, y).standard_error == pytest.approx(math.sqrt(variance), rel=1e-10)
    assert math.isnan(kernel_distance(x[:2], y).standard_error)


@pytest.mark.parametrize("options", [{}, {"num_subsets": 4, "subset_size": 15}])
def test_kernel_distance_is_unbiased(options):
    values = [
        kernel_distance(draw(30, 2 * s), draw(20, 2 * s + 1), **options).value for s in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)


@pytest.mark.parametrize(("shift", "ratio"), [(1.0, 1.0), (0.0, math.sqrt(2))])
def test_standard_error_is_the_spread_over_draws_or_too_large_where_nothing_differs(shift, ratio):
    estimates = [kernel_distance(draw(60, 2 * s), draw(50, 2 * s + 1) + shift) for s in range(400)]
    spread = np.std([estimate.value for estimate in estimates])
    assert math.sqrt(
        np.mean([estimate.standard_error**2 for estimate in estimates])
    ) / spread == pytest.approx(ratio, rel=0.15)


def test_subsets_are_seeded_distinct_rows():
    x = draw(40)
    y = draw(50, 1) + 0.2
    first, again, other = (
        kernel_distance(x, y, num_subsets=6, subset_size=10, seed=s) for s in (0, 0, 1)
    )
    assert first == again and first.value != other.value
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(6):
        parts = [z[torch.randperm(len(z), generator=generator)[:10]] for z in (x, y)]
        values.append(mmd(*parts))
    assert first.value == pytest.approx(np.mean(values), rel=1e-12)
    assert first.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(6), rel=1e-9)
    assert math.isnan(kernel_distance(x, y, num_subsets=1, subset_size=10).standard_error)


def test_sets_no_larger_than_a_subset_are_taken_whole():
    x, y = draw(40), draw(50, 1)
    assert kernel_distance(x, y, num_subsets=100, subset_size=40) == kernel_distance(x, y)
    assert kernel_distance(x, y, num_subsets=100, subset_size=39) != kernel_distance(x, y)


# ----------------------------------------------------------------------------- precision and recall
def share_inside(balls, rows, k):
    def distance(a, b):
        return math.sqrt(math.fsum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True)))

    radii = [
        sorted(distance(a, b) for j, b in enumerate(balls) if j != i)[k - 1]
        for i, a in enumerate(balls)
    ]
    return np.mean(
        [any(distance(r, a) <= d for a, d in zip(balls, radii, strict=True)) for r in rows]
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_are_brute_force(k):
    x = draw(25, features=2)
    y = draw(18, 1, features=2) * 0.7 + 0.5
    got = precision_recall(x, y, num_neighbours=k)
    assert got.precision == pytest.approx(share_inside(x, y, k))
    assert got.recall == pytest.approx(share_inside(y, x, k))
    assert k > 1 or (got.precision != got.recall and 0 < got.recall < 1)


def test_the_same_set_is_all_inside_even_when_its_balls_are_points():
    for x in (draw(20), 1e4 + draw(20) * 1e-4, draw(4).repeat(5, 1)):
        assert precision_recall(x, x[torch.randperm(20)]) == (1, 1)


def test_a_far_origin_and_a_small_scale_change_nothing():
    x = draw(60)
    y = draw(50, 1) * 1.2 + 0.3
    assert precision_recall(1e5 + x * 1e-3, 1e5 + y * 1e-3) == precision_recall(x, y)


def test_far_sets_have_neither_and_a_dropped_mode_costs_recall():
    x = torch.cat((draw(30), draw(30, 1) + 100))
    assert precision_recall(x, draw(30, 2) - 100) == (0, 0)
    got = precision_recall(x, x[:30])
    assert got == (1, 0.5)


# ---------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_distance(draw(1), draw(5)), "at least 2 rows"),
        (lambda: kernel_distance(draw(5), draw(5, features=3)), "have the shapes"),
        (lambda: kernel_distance(draw(5), draw(5) * math.nan), "not finite"),
        (lambda: kernel_distance(draw(5), draw(5), num_subsets=0), "num_subsets is 0"),
        (
            lambda: kernel_distance(draw(5), draw(5), num_subsets=2, subset_size=1),
            "subset_size is 1",
        ),
        (lambda: precision_recall(draw(3), draw(9)), "at least 4 rows"),
        (lambda: precision_recall(draw(9), draw(3)), "at least 4 rows"),
        (lambda: precision_recall(draw(9), draw(9), num_neighbours=0), "num_neighbours is 0"),
        (
            lambda: frechet_distance(*moments(draw(9)), *moments(draw(9, features=3))),
            "have the shapes",
        ),
        (lambda: frechet_distance(draw(1)[0], draw(F) / 0, *moments(draw(9))), "not finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
