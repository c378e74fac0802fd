"""The upsampler's recipe as a user runs it, and two stages from the command line."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ddpm
import ddpm.hub.folder
from ddpm.denoisers import to_model_range, to_uint8
from ddpm.hub import load_class_names, load_folder

from .command_line import recipe, words

pytestmark = pytest.mark.usefixtures("data_cache")

NETWORK = "--model_channels 8 --num_res_blocks 1 --norm_num_groups 4 --num_head_channels 8"
NETWORK += " --num_timesteps 10"
STEPS = "--max_train_steps 6 --per_device_train_batch_size 4 --logging_steps 2 --eval_steps 0"
STEPS += " --max_eval_images 8 --checkpointing_steps 2"


def train(folder, *more, network=NETWORK, pictures=False):
    module = recipe("train_upsampler")
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            patch.setattr(module, "upsampling_rows", lambda *args: {})
            patch.setattr(ddpm.hub.folder, "loss_curve", lambda history: b"")
        module.main(words(network, STEPS, "--output_dir", folder, *more))


def draw(folder, *more):
    recipe("sample_ddpm").main(words("--output_dir", folder, "--steps 5 --num_images 4", *more))
    return np.load(folder / "samples.npz")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model of digits of 4 x 4 pixels, by the recipe that trains any other."""
    folder = tmp_path_factory.mktemp("base") / "run"
    module = recipe("train_ddpm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "sample_grids", lambda *args, **kwargs: ())
        patch.setattr(module, "pictures_of", dict)
        flags = "--image_size 4 --num_quality_images 0"
        module.main(words(NETWORK, STEPS, flags, "--output_dir", folder))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base):
    """An upsampler that has seen noise, with pictures of both stages."""
    folder = tmp_path_factory.mktemp("upsampler") / "run"
    train(folder, "--max_noise_level 4 --base_name_or_path", base, pictures=True)
    return folder


# ---------------------------------------------------------------------------------------- training
def test_it_leaves_an_upsampler_with_its_card_and_pictures(trained):
    model, _ = load_folder(trained)
    config = model.config
    assert (config.image_size, config.low_resolution) == (8, 4) and config.noise_augmentation
    assert config.max_noise_level == 4
    assert load_class_names(trained) == [str(digit) for digit in range(10)]
    card = (trained / "README.md").read_text()
    assert "Bits per dimension given the small image, upper bound: **" in card
    assert "Small images: 4 x 4 pixels" in card and "pipeline_tag: image-to-image" in card
    for name in ("upsampled.png", "cascade.png", "loss_curve.png"):
        assert f"]({name})" in card
        with Image.open(trained / name) as picture:
            assert min(picture.size) > 200


def test_the_program_on_its_card_runs(trained, monkeypatch):
    monkeypatch.chdir(trained)
    code = (trained / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("path/to/this/folder", ".").replace("steps=50", "steps=5")
    exec(compile(code, "README.md", "exec"), {})
    assert (trained / "samples.png").is_file()
    (trained / "samples.png").unlink()


def test_a_run_resumed_in_the_middle_ends_with_the_same_bits(trained, tmp_path):
    resumed = tmp_path / "resumed"
    shutil.copytree(trained, resumed)
    shutil.rmtree(resumed / "checkpoints" / "step-00000006")
    checkpoint = resumed / "checkpoints" / "step-00000004"
    train(resumed, "--max_noise_level 4 --resume_from_checkpoint", checkpoint)
    one, other = (load_file(folder / "model.safetensors") for folder in (trained, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="condition"):
        train(resumed, "--max_noise_level 3")


@pytest.mark.slow
def test_other_sizes_without_classes_from_an_array(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(30, 28, 28), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    flags = ("--train_file", tmp_path / "images.npy", "--low_resolution 7 --random_flip")
    train(tmp_path / "run", *flags, pictures=True)
    config = load_folder(tmp_path / "run")[0].config
    assert (config.image_size, config.low_resolution, config.num_classes) == (28, 7, None)
    assert not config.noise_augmentation


def test_a_saved_upsampler_goes_on_learning(trained, tmp_path):
    train(tmp_path / "more", "--max_noise_level 6 --model_name_or_path", trained, network="")
    assert load_folder(tmp_path / "more")[0].config.max_noise_level == 6
    one, other = (
        load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "more")
    )
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--low_resolution 8", "low_resolution is 8"),
        ("--low_resolution 0", "low_resolution is 0"),
        ("--max_noise_level 11", "max_noise_level is 11"),
        ("--max_noise_level -1", "max_noise_level"),
        ("--base_name_or_path nowhere/at/all", "nowhere/at/all"),
        ("--base_name_or_path BASE --low_resolution 2", "draws images of 4 pixels"),
        ("--base_name_or_path UPSAMPLER", "enlarges images of 4 pixels itself"),
        ("--model_name_or_path BASE --image_size 4", "draws images; expected train_ddpm.py"),
        ("--model_name_or_path UPSAMPLER --low_resolution 2", "low_resolution is 2"),
    ],
)
def test_it_names_what_is_wrong_before_it_trains(base, trained, tmp_path, wrong, message):
    begun = []
    module = recipe("train_upsampler")
    module.train = lambda *args, **kwargs: begun.append(1)
    network = "" if "model_name" in wrong else NETWORK
    wrong = wrong.replace("BASE", str(base)).replace("UPSAMPLER", str(trained))
    with pytest.raises(ValueError, match=message):
        module.main(words(network, STEPS, "--output_dir", tmp_path / "run", wrong))
    assert not begun


@pytest.mark.parametrize("preset", ["64_256_upsampler", "64x64_diffusion"])
def test_a_preset_of_the_other_kind_is_refused(tmp_path, preset):
    upsampler = preset.endswith("upsampler")
    module = recipe("train_ddpm" if upsampler else "train_upsampler")
    size = "--image_size 256" if upsampler else "--image_size 64"
    with pytest.raises(ValueError, match=f"'{preset}' has the low_resolution"):
        module.main(words("--preset", preset, size, "--output_dir", tmp_path / "run"))


def test_train_ddpm_goes_on_with_no_upsampler(trained, tmp_path):
    flags = ("--model_name_or_path", trained, "--output_dir", tmp_path / "run")
    with pytest.raises(ValueError, match=r"enlarges images; expected train_upsampler\.py"):
        recipe("train_ddpm").main(words(*flags))


# ---------------------------------------------------------------------------------------- sampling
def test_two_stages_are_the_base_and_what_is_made_of_its_files(base, trained, tmp_path, capsys):
    stages = ("--model_name_or_path", base, "--upsampler", trained)
    content = draw(tmp_path / "two", *stages, "--noise_level 2 --trajectory --seed 3")
    assert f"4 images of {base}, enlarged by {trained}" in capsys.readouterr().out
    small = draw(tmp_path / "one", "--model_name_or_path", base, "--seed 3")["arr_0"]
    assert (tmp_path / "two" / "low_res.png").is_file()
    with Image.open(tmp_path / "two" / "trajectory.gif") as film:
        assert film.n_frames == 5
    model, diffusion = load_folder(trained)
    low_res = to_model_range(torch.from_numpy(small).permute(0, 3, 1, 2))
    options = {"labels": torch.arange(4), "seed": 3, "noise_level": 2, "steps": 5}
    expected = to_uint8(ddpm.upsample(model, low_res, diffusion, **options))
    assert np.array_equal(content["arr_0"], expected.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--model_name_or_path UPSAMPLER", "expected one that draws them"),
        ("--model_name_or_path BASE --noise_level 1", "there is no --upsampler"),
        ("--model_name_or_path BASE --upsampler BASE", "upsamples nothing"),
        ("--model_name_or_path BASE --upsampler UPSAMPLER --noise_level 11", "noise_level is 11"),
        ("--model_name_or_path UPSAMPLER --upsampler UPSAMPLER", "itself"),
        ("--model_name_or_path BASE --upsampler gone/at_all", "gone/at_all"),
    ],
)
def test_stages_that_do_not_fit_are_named(base, trained, tmp_path, wrong, message):
    wrong = wrong.replace("BASE", str(base)).replace("UPSAMPLER", str(trained))
    with pytest.raises(ValueError, match=message):
        draw(tmp_path, wrong)
    assert not list(tmp_path.glob("*.png"))
