"""A saved model comes back to the bit; damage is named; a failed save leaves the old one."""

import io
import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ardm.training import loss_curve
from ddpm import hub
from ddpm.diffusion import GaussianDiffusion
from ddpm.hub.card_figures import CardFigures
from ddpm.models.unet import UNet, UNetConfig
from ddpm.schedules import cosine_schedule, linear_schedule

SIZES = {
    "image_size": 8,
    "in_channels": 1,
    "model_channels": 8,
    "num_res_blocks": 1,
    "channel_mult": (1, 2),
}
SIZES |= {"attention_resolutions": (4,), "num_heads": 2, "norm_num_groups": 4, "num_classes": 3}
HISTORY = [{"step": step, "loss": 2 / step} for step in range(1, 101)]


@pytest.fixture
def model():
    model = UNet(UNetConfig(**SIZES)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


DIFFUSIONS = [
    lambda: GaussianDiffusion(
        cosine_schedule(100), "v_prediction", "fixed_small", "simple", min_snr_gamma=5.0
    ),
    lambda: GaussianDiffusion(linear_schedule(50), "epsilon", "learned_range", "hybrid"),
    lambda: GaussianDiffusion(
        torch.rand(7, dtype=torch.float64) / 3 + 1e-9,
        "sample",
        "learned",
        "vlb",
        rescale_timesteps=True,
    ),
]


@pytest.mark.parametrize("make", DIFFUSIONS)
def test_model_and_diffusion_come_back_to_the_bit(tmp_path, model, make):
    diffusion = make()
    hub.save_folder(tmp_path / "run", model, diffusion, CardFigures(class_names=["a", "b", "c"]))
    loaded, again = hub.load_folder(tmp_path / "run")
    assert again.betas.dtype == torch.float64 and torch.equal(again.betas, diffusion.betas)
    for name in ("prediction", "variance", "loss", "min_snr_gamma", "rescale_timesteps"):
        assert getattr(again, name) == getattr(diffusion, name)
    x, t, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 5]), torch.tensor([0, 2])
    assert not loaded.training and torch.equal(loaded(x, t, labels), model(x, t, labels))
    assert hub.load_class_names(tmp_path / "run") == ["a", "b", "c"]


def test_folder_holds_all_that_the_card_shows(tmp_path, model):
    pictures = {"samples.png": Image.new("L", (3, 2)), "trajectory.gif": b"GIF89a"}
    hub.save_folder(tmp_path, model, DIFFUSIONS[0](), CardFigures(), HISTORY, pictures)
    names = {
        "config.json",
        "model.safetensors",
        "diffusion_config.json",
        "README.md",
        "loss_curve.png",
        *pictures,
    }
    assert {file.name for file in tmp_path.iterdir() if file.suffix != ".py"} == names
    card = (tmp_path / "README.md").read_text()
    assert all(f"]({name})" in card for name in ("loss_curve.png", *pictures))
    assert (tmp_path / "trajectory.gif").read_bytes() == b"GIF89a"
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size == (3, 2)
    assert hub.load_class_names(tmp_path) is None


def test_a_failed_save_leaves_the_older_model_whole(tmp_path, model, monkeypatch):
    hub.save_folder(tmp_path, model, DIFFUSIONS[0](), CardFigures(), pictures={"a.png": b"old"})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(folder):
        Path(folder, "config.json").write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(model, "save_pretrained", fail)
    with pytest.raises(OSError, match="no space"):
        hub.save_folder(tmp_path, model, DIFFUSIONS[1](), CardFigures(), pictures={"a.png": b"new"})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_a_killed_save_left_is_removed_and_other_files_stay(tmp_path, model):
    (tmp_path / ".writing-killed").mkdir()
    (tmp_path / ".writing-killed" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    hub.save_folder(tmp_path, model, DIFFUSIONS[0](), CardFigures())
    written = {"config.json", "model.safetensors", "diffusion_config.json", "README.md"}
    there = {path.name for path in tmp_path.iterdir() if path.suffix != ".py"}
    assert there == {*written, "checkpoints", "notes.txt"}
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_matplotlib_does_not_cost_the_model(tmp_path, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.warns(UserWarning, match=r"without its loss curve.*pip install matplotlib"):
        hub.save_folder(tmp_path, model, DIFFUSIONS[0](), CardFigures(), HISTORY)
    assert (tmp_path / "model.safetensors").exists() and "![" not in (
        tmp_path / "README.md"
    ).read_text()


def test_what_cannot_be_saved_is_refused_before_writing(tmp_path, model):
    with pytest.raises(ValueError, match="respaced"):
        hub.save_folder(tmp_path / "x", model, DIFFUSIONS[0]().respace(10), CardFigures())
    with pytest.raises(ValueError, match="without folders"):
        hub.save_folder(
            tmp_path / "x", model, DIFFUSIONS[0](), CardFigures(), pictures={"../a.png": b""}
        )
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    hub.save_folder(folder, UNet(UNetConfig(**SIZES)), DIFFUSIONS[0](), CardFigures())
    return folder


def change(**changes):
    return lambda settings: json.dumps(settings | changes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda settings: json.dumps(settings)[:40], "damaged"),
        (lambda settings: "[]", "holds a list"),
        (
            lambda settings: json.dumps({k: v for k, v in settings.items() if k != "betas"}),
            "it has no 'betas'",
        ),
        (change(betas=[0.1, "x"]), "damaged"),
        (change(betas=[]), "damaged"),
        (change(betas=[[0.1]]), "damaged"),
        (change(betas=[0.1, 2.0]), "damaged"),
        (change(prediction="noise"), "prediction is 'noise'"),
        (change(rescale_timesteps=1), "rescale_timesteps is 1; expected True or False"),
        (change(class_names=[1, 2, 3]), "class_names are [1, 2, 3]"),
        (change(class_names="abc"), "class_names are 'abc'"),
    ],
)
def test_a_damaged_diffusion_says_what_is_wrong(tmp_path, saved, damage, message):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "diffusion_config.json"
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=r"diffusion_config\.json (is damaged|holds)") as caught:
        hub.load_folder(tmp_path)
    assert message in str(caught.value)


def test_a_file_without_rescale_timesteps_is_of_a_network_that_is_told_t(tmp_path, saved):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "diffusion_config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("rescale_timesteps") is False
    path.write_text(json.dumps(settings))
    assert hub.load_folder(tmp_path)[1].rescale_timesteps is False


def test_the_missing_demo_is_named_with_what_makes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"there is no runs/ddpm; make it with train_ddpm\.py"):
        hub.load_folder(hub.DEMO_FOLDER)


def without(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [without, cut, emptied], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "diffusion_config.json"])
def test_a_damaged_file_of_a_folder_is_a_value_error_of_one_line(tmp_path, saved, file, damage):
    folder = shutil.copytree(saved, tmp_path / "run")
    damage(folder / file)
    with pytest.raises(ValueError, match=r"no model can be loaded from .*run") as caught:
        hub.load_folder(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def weights_changed(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


STEM = "encoder.stem.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop(STEM), "weights of UNet are missing"),
        (lambda weights: weights.update(more=torch.zeros(1)), "weights of UNet are unexpected"),
        (lambda weights: weights.update({STEM: torch.zeros(1)}), "no model can be loaded"),
        (lambda weights: weights[STEM].view(-1)[:1].fill_(math.nan), "not finite"),
    ],
    ids=["missing", "unknown", "resized", "nan"],
)
def test_weights_that_are_not_the_networks_are_refused(tmp_path, saved, change, message):
    folder = shutil.copytree(saved, tmp_path / "run")
    weights_changed(folder, change)
    with pytest.raises(ValueError, match=message):
        hub.load_folder(folder)


def test_a_folder_of_a_text_model_is_named_as_such(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "ardm"}')
    with pytest.raises(ValueError, match=r"type 'ardm'.*ardm\.hub\.load_folder, as recipes/watch"):
        hub.load_folder(tmp_path)


@pytest.mark.parametrize("load", [hub.load_folder, hub.load_class_names])
def test_a_folder_that_is_not_there_is_refused_at_once(tmp_path, load):
    with pytest.raises(ValueError, match=r"no model can be loaded from .*gone.*no such folder"):
        load(tmp_path / "gone")


# ----------------------------------------------------------------------------------- loss curve
@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], [{"step": 1, "eval_loss": 1.0}]])
def test_loss_curve_is_a_png(history):
    assert Image.open(io.BytesIO(hub.loss_curve(history))).format == "PNG"


def test_loss_curve_is_the_projects_with_a_logarithmic_axis():
    curve = loss_curve(HISTORY, unit="loss per dimension", log=True)
    assert hub.loss_curve(HISTORY) == curve


@pytest.mark.parametrize("history", [[], [{"step": 1}], [{"step": 1, "loss": math.nan}]])
def test_loss_curve_without_a_loss_is_refused(history):
    with pytest.raises(ValueError, match="finite loss"):
        hub.loss_curve(history)
