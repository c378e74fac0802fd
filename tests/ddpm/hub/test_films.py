"""A film shows the first batch, all of its steps, and no other."""

import pytest
import torch
from PIL import Image

from ddpm import GaussianDiffusion, cosine_schedule, inpaint, sample
from ddpm.hub import Film

DIFFUSION = GaussianDiffusion(cosine_schedule(8), variance="fixed_small")


def model(x, t):
    return 0.5 * x


def test_it_has_a_frame_of_each_step_of_the_first_batch(tmp_path):
    film = Film()
    for seed in (0, 1):
        sample(model, (3, 1, 4, 4), DIFFUSION, seed=seed, callback=film)
    assert len(film.frames) == 8
    film.write(tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as written:
        assert written.n_frames <= 8 and written.size == film.frames[0].size
    assert film.pictures() == {"trajectory.gif": (tmp_path / "film.gif").read_bytes()}


def test_ways_back_up_are_no_steps():
    film = Film()
    images, mask = torch.zeros(3, 1, 4, 4), torch.ones(4, 4, dtype=torch.bool)
    options = {"jump_length": 4, "num_passes": 2}
    for seed in (0, 1):
        inpaint(model, images, mask, DIFFUSION, seed=seed, callback=film, **options)
    once = Film()
    inpaint(model, images, mask, DIFFUSION, seed=0, callback=once, **options)
    assert film.frames == once.frames and len(film.frames) > 8


def test_nothing_is_no_film(tmp_path):
    with pytest.raises(ValueError):
        Film().write(tmp_path / "film.gif")
    assert Film().pictures() == {}
