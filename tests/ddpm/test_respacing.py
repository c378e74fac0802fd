"""Respacing: the released code's own lists, laws for all counts, and what cannot be read."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm import GaussianDiffusion
from ddpm.respacing import kept_timesteps
from ddpm.schedules import SCHEDULES

EVEN_25 = [
    0,
    42,
    83,
    125,
    166,
    208,
    250,
    291,
    333,
    375,
    416,
    458,
    500,
    541,
    583,
    624,
    666,
    708,
    749,
    791,
    832,
    874,
    916,
    957,
    999,
]


def test_lists_of_the_released_code():
    assert kept_timesteps(1000, "25") == kept_timesteps(1000, 25) == EVEN_25
    assert kept_timesteps(1000, "ddim25") == list(range(0, 1000, 40))
    assert kept_timesteps(1000, "ddim50") == list(range(0, 1000, 20))
    assert kept_timesteps(300, "10,10,10")[:10] == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
    assert kept_timesteps(10, "2,3") == [0, 4, 5, 7, 9]
    assert kept_timesteps(7, "1,2,1") == [0, 3, 4, 5]  # sections of 3, 2 and 2


@given(st.integers(2, 1200), st.data())
def test_even_respacing_has_both_ends_and_rises(num_timesteps, data):
    count = data.draw(st.integers(2, num_timesteps))
    kept = kept_timesteps(num_timesteps, str(count))
    assert len(kept) == count and kept[0] == 0 and kept[-1] == num_timesteps - 1
    gaps = {b - a for a, b in itertools.pairwise(kept)}
    assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1 and kept == sorted(set(kept))


@given(st.integers(2, 400))
def test_all_of_them(num_timesteps):
    assert kept_timesteps(num_timesteps, num_timesteps) == list(range(num_timesteps))


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(9, 40))
def test_sections_hold_their_counts(counts, size):
    kept = kept_timesteps(size * len(counts), ",".join(map(str, counts)))
    assert kept == sorted(set(kept))
    for index, count in enumerate(counts):
        assert sum(index * size <= t < (index + 1) * size for t in kept) == count


@pytest.mark.parametrize(
    "respacing",
    [
        "1",
        1,
        "0",
        "ddim1",
        "ddim999",
        "ddim0",
        "",
        "a",
        "10,",
        "10;10",
        "-5",
        "1001",
        "2.5",
        2.5,
        "501,499",
        "0,5",
        None,
    ],
)
def test_refused(respacing):
    with pytest.raises(ValueError, match="expected"):
        kept_timesteps(1000, respacing)


# ----------------------------------------------------------------------------------------- by name
SIGMA_SPACINGS = ("karras", "logsnr")
NAMES = ("linspace", "leading", "trailing", *SIGMA_SPACINGS)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def bars_of(schedule, num_timesteps=1000):
    return (1 - SCHEDULES[schedule](num_timesteps)).cumprod(0)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("count", [2, 5, 7, 10, 25, 33, 50, 250, 1000])
def test_timesteps_by_name_are_diffusers(spacing, count):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(1000, timestep_spacing=spacing)
    scheduler.set_timesteps(count)
    assert kept_timesteps(1000, f"{spacing}{count}") == scheduler.timesteps.flip(0).tolist()


@given(st.sampled_from(NAMES), st.sampled_from(sorted(SCHEDULES)), st.integers(2, 300), st.data())
def test_so_many_different_timesteps_are_kept(name, schedule, num_timesteps, data):
    num_timesteps = max(num_timesteps, 25)
    count = data.draw(st.integers(2, num_timesteps))
    kept = kept_timesteps(num_timesteps, f"{name}{count}", bars_of(schedule, num_timesteps))
    assert len(kept) == count and kept == sorted(set(kept))
    assert kept[0] >= 0 and kept[-1] < num_timesteps
    if name in ("linspace", *SIGMA_SPACINGS):
        assert (kept[0], kept[-1]) == (0, num_timesteps - 1)
    assert name != "trailing" or kept[-1] == num_timesteps - 1
    assert name != "leading" or kept[0] == 0


@every_schedule
@pytest.mark.parametrize("count", [5, 10, 25])
def test_sigmas_are_as_even_as_timesteps_allow(schedule, count):
    """No kept timestep could be nearer to its place, but for those that would be kept twice."""
    bars = bars_of(schedule)
    log_sigmas = ((1 - bars) / bars).log() / 2
    finite = len(bars) - int(bars[-1] == 0)
    places = {"karras": (log_sigmas / 7).exp(), "logsnr": log_sigmas}
    for name, all_places in places.items():
        kept = kept_timesteps(1000, f"{name}{count}", bars)
        inner = kept[: count - int(finite < 1000)]
        wanted = torch.linspace(0, 1, len(inner)).double()
        wanted = all_places[0] + wanted * (all_places[finite - 1] - all_places[0])
        nearest = (all_places[:finite] - wanted[:, None]).abs().argmin(1).tolist()
        moved = [place for place, near in zip(inner, nearest, strict=True) if place != near]
        assert not moved or len(set(nearest)) < len(nearest)


@pytest.mark.parametrize("text", ["[999, 500,0]", " [0 500 999]", "[500,999,0]"])
def test_a_list_may_be_text(text):
    assert kept_timesteps(1000, text) == [0, 500, 999]


@pytest.mark.parametrize("count", [0, 1, -3, 1001, "0", "1", "1001", "-2", "9" * 50])
def test_so_many_steps_are_none(count):
    with pytest.raises(ValueError, match=rf"steps is {count}; expected an integer in 2\.\.1000"):
        kept_timesteps(1000, count)


def test_a_list_of_timesteps():
    for given_list in ([999, 400, 0], (0, 400, 999), torch.tensor([400, 999, 0])):
        assert kept_timesteps(1000, given_list) == [0, 400, 999]
    chain = GaussianDiffusion(SCHEDULES["linear"](1000)).respace([999, 400, 0])
    assert chain.timesteps.tolist() == [0, 400, 999]
    for wrong in (
        [1],
        [],
        [0, 0],
        [0, 1000],
        [-1, 3],
        [0, 1.5],
        [0, True],
        [3, False],
        torch.zeros(2, 2),
    ):
        with pytest.raises(ValueError, match="respacing is the list"):
            kept_timesteps(1000, wrong)


@pytest.mark.parametrize("wrong", ["trailing", "trailing0", "trailing1001", "karras-3", "cosine25"])
def test_names_that_say_nothing(wrong):
    with pytest.raises(ValueError, match="expected"):
        kept_timesteps(1000, wrong, bars_of("cosine"))
