"""The diffusion beside the weights comes back to the bit, and one of a newer version is refused."""

import json

import pytest
import torch

from ddpm import GaussianDiffusion, linear_schedule
from ddpm.models.saved_diffusion import DIFFUSION_FILE, diffusion_file, read_diffusion

SETTINGS = ("prediction", "variance", "loss", "min_snr_gamma", "rescale_timesteps")


def make():
    betas = torch.rand(9, dtype=torch.float64) / 3 + 1e-9
    return GaussianDiffusion(
        betas, "v_prediction", "learned", "simple", min_snr_gamma=5.0, rescale_timesteps=True
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / DIFFUSION_FILE).write_bytes(diffusion_file(make(), ["a", "ü"]))
    return tmp_path


def change(folder, **changes):
    path = folder / DIFFUSION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_was_written_is_read(tmp_path):
    diffusion = make()
    (tmp_path / DIFFUSION_FILE).write_bytes(diffusion_file(diffusion, ("a", "ü")))
    again, names = read_diffusion(tmp_path)
    assert torch.equal(again.betas, diffusion.betas) and again.betas.dtype == torch.float64
    assert [getattr(again, each) for each in SETTINGS] == [
        getattr(diffusion, each) for each in SETTINGS
    ]
    assert names == ["a", "ü"]
    assert diffusion_file(again, names) == (tmp_path / DIFFUSION_FILE).read_bytes()


def test_without_a_file_there_is_none(tmp_path):
    assert read_diffusion(tmp_path) is None


def test_a_subfolder_has_its_own(folder):
    assert read_diffusion(folder.parent, subfolder=folder.name).class_names == ["a", "ü"]
    assert read_diffusion(folder, subfolder="other") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coming": 1, "soon": 2}, "settings that this version does not know, coming, soon;"),
        ({"prediction": "score"}, "of a newer version: prediction is 'score'; expected"),
        ({"variance": "beta"}, "of a newer version: variance is 'beta'; expected"),
        ({"betas": "cosine"}, "damaged"),
        ({"class_names": [1]}, r"class_names are \[1\], expected text"),
    ],
)
def test_what_is_not_understood_is_refused(folder, changes, message):
    change(folder, **changes)
    with pytest.raises(ValueError, match=message):
        read_diffusion(folder)


def test_a_respaced_diffusion_is_not_written():
    with pytest.raises(ValueError, match="the diffusion is respaced"):
        diffusion_file(GaussianDiffusion(linear_schedule(50)).respace(10), None)
