"""The recipe that draws images, as a user runs it: plain, guided, edited, and what it refuses."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ddpm
from ddpm.denoisers import to_model_range, to_uint8
from ddpm.evaluation.guidance_arguments import (
    add_guidance_arguments,
    chosen_guide,
    told_guide,
)
from ddpm.hub import (
    CardFigures,
    ClassifierFigures,
    image_grid,
    load_classifier,
    load_folder,
    save_classifier,
    save_folder,
)

from .command_line import recipe, words

pytestmark = pytest.mark.usefixtures("data_cache")

NUM_TIMESTEPS = 10
NAMES = [str(digit) for digit in range(10)]
SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1, 2), "attention_resolutions": (4,), "norm_num_groups": 4}
SIZES |= {"num_head_channels": 8, "num_classes": 10}
LABELS = torch.arange(6) % 10


def draw(model, folder, *more):
    places = ("--model_name_or_path", model, "--output_dir", folder)
    recipe("sample_ddpm").main(words(*places, "--steps 5", *more))
    return np.load(folder / "samples.npz")


def lively(network):
    """A fresh network says 0 and is of no interest."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0.0, 0.1)
    return network


def save(folder, seed=0, **changes):
    torch.manual_seed(seed)
    network = lively(ddpm.UNet(ddpm.UNetConfig(**(SIZES | {"null_class": True} | changes))))
    diffusion = ddpm.GaussianDiffusion(ddpm.cosine_schedule(NUM_TIMESTEPS))
    names = NAMES if network.config.num_classes else None
    save_folder(folder, network, diffusion, CardFigures(class_names=names))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def weaker(tmp_path_factory):
    return save(tmp_path_factory.mktemp("weaker"), seed=1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(2)
    betas = ddpm.cosine_schedule(NUM_TIMESTEPS).tolist()
    config = ddpm.ClassifierConfig(**SIZES, betas=betas, id2label=dict(enumerate(NAMES)))
    save_classifier(folder, lively(ddpm.NoisyClassifier(config)), ClassifierFigures())
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of three grey pictures, and a mask whose lower half is white."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(3):
        pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[8:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


# ------------------------------------------------------------------------------------------- plain
def test_sample_ddpm_draws_what_sample_does(trained, tmp_path, capsys):
    folder = tmp_path / "drawn"
    content = draw(trained, folder, "--num_images 7 --batch_size 3 --seed 5 --sampler ddim")
    assert content["arr_0"].shape == (7, 8, 8, 1) and content["arr_1"].tolist() == list(range(7))
    model, diffusion = load_folder(trained)
    options = {"sampler": "ddim", "steps": 5, "labels": torch.arange(7), "seed": 5}
    expected = to_uint8(ddpm.sample(model, (7, 1, 8, 8), diffusion, **options))
    assert np.array_equal(content["arr_0"], expected.permute(0, 2, 3, 1).numpy())
    for number in range(7):
        with Image.open(folder / f"{number:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture), content["arr_0"][number, :, :, 0])
    assert f"7 images of {trained} (ddim, 5 steps, seed 5): " in capsys.readouterr().out
    assert (folder / "grid.png").is_file()


def test_sample_ddpm_draws_other_sizes(trained, tmp_path):
    images = draw(trained, tmp_path / "wide", "--num_images 2 --height 4 --width 12")["arr_0"]
    assert images.shape == (2, 4, 12, 1)
    images = draw(trained, tmp_path / "tall", "--num_images 2 --height 16")["arr_0"]
    assert images.shape == (2, 16, 8, 1)


def test_sample_ddpm_gathers_in_order_and_where_a_process_has_no_image():
    gathered = recipe("sample_ddpm").gathered
    pixels = torch.arange(5 * 3, dtype=torch.uint8).view(5, 1, 3, 1)
    numbers = torch.tensor([3, 0, 4, 2, 1])
    batches = [(part, to_model_range(pixels[part])) for part in numbers.split(2)]
    assert torch.equal(to_uint8(gathered(batches, (1, 3, 1))), pixels)
    assert gathered([], (1, 3, 1)).shape == (0, 1, 3, 1)


def test_sample_ddpm_mixes_no_images_of_another_run(trained, tmp_path):
    draw(trained, tmp_path, "--num_images 3")
    draw(trained, tmp_path, "--num_images 3 --seed 1")
    with pytest.raises(ValueError, match="1 images beyond 2"):
        draw(trained, tmp_path, "--num_images 2")


def test_sample_ddpm_draws_one_class_and_a_trajectory(trained, tmp_path, capsys):
    flags = "--num_images 4 --batch_size 2 --class_name 7 --variance fixed_large --trajectory"
    assert draw(trained, tmp_path, flags)["arr_1"].tolist() == [7] * 4
    two = image_grid(torch.zeros(2, 1, 8, 8), 2)
    with Image.open(tmp_path / "trajectory.gif") as film:
        assert film.size == two.size
        durations = []
        for number in range(film.n_frames):
            film.seek(number)
            durations.append(film.info["duration"])
    assert len(durations) == 5  # of the first batch, as its size
    *moving, last = durations
    assert 2000 <= sum(moving) <= 4000 and last == 1500
    assert "trajectory.gif" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--class_name x", "class_name is 'x'"),
        ("--steps 1", r"the number of steps is 1; expected an integer in 2\.\."),
        (f"--steps {NUM_TIMESTEPS + 1}", "expected"),
        ("--num_images 0", "num_images"),
        ("--variance small", "variance is 'small'"),
        ("--eta 0.5", "eta"),
        ("--width 9", "multiples of"),
        ("--height 0", "a size is 0"),
        ("--sampler ddim --variance fixed_small", "got --variance fixed_small and --sampler ddim"),
        ("--sampler unipc3 --guidance_at x_t", "got --guidance_at x_t and --sampler unipc3"),
        ("--model_name_or_path nowhere/at/all", "nowhere/at/all"),
    ],
)
def test_sample_ddpm_names_what_is_wrong(trained, tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        draw(trained, tmp_path, wrong)
    assert not list(tmp_path.glob("*.png"))


def test_images_do_not_lie_in_the_folder_of_a_model(trained):
    before = sorted(Path(trained).iterdir())
    with pytest.raises(ValueError, match="holds a saved model; expected another output_dir"):
        draw(trained, trained)
    assert sorted(Path(trained).iterdir()) == before


def test_without_a_model_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="train_ddpm"):
        recipe("sample_ddpm").main([])
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------ guided
def pixels(images):
    return to_uint8(images).permute(0, 2, 3, 1).numpy()


def test_guides_of_the_command_line_are_those_of_python(trained, weaker, classifier, tmp_path):
    model, diffusion = load_folder(trained)
    known = load_classifier(classifier)
    worse, _ = load_folder(weaker)
    cases = {
        f"--classifier {classifier}": ddpm.classifier_guidance(known),
        f"--classifier {classifier} --guidance_scale 3 --guidance_at x_t": (
            ddpm.classifier_guidance(known, scale=3.0, at="x_t")
        ),
        "--guidance_scale 3": ddpm.classifier_free_guidance(3.0),
        "--guidance classifier_free": ddpm.classifier_free_guidance(2.0),
        f"--weaker_model {weaker} --guidance_interval 0.1 2": (
            ddpm.autoguidance(worse, 2.0, interval=(0.1, 2.0))
        ),
    }
    plain = draw(trained, tmp_path / "plain", "--num_images 6 --batch_size 4")["arr_0"]
    for number, (flags, guide) in enumerate(cases.items()):
        content = draw(trained, tmp_path / str(number), "--num_images 6 --batch_size 4", flags)
        options = {"steps": 5, "labels": LABELS, "seed": 0, "guidance": guide}
        expected = pixels(ddpm.sample(model, (6, 1, 8, 8), diffusion, **options)).astype(int)
        # other batches round differently
        assert np.abs(content["arr_0"].astype(int) - expected).max() <= 1
        assert not np.array_equal(content["arr_0"], plain)


def test_a_model_without_classes_is_steered_to_those_of_the_classifier(classifier, tmp_path):
    model = save(tmp_path / "model", num_classes=None, null_class=False)
    flags = f"--num_images 3 --sampler ddim --classifier {classifier} --class_name 7"
    content = draw(model, tmp_path / "drawn", flags)
    assert content["arr_1"].tolist() == [7, 7, 7]
    network, diffusion = load_folder(model)
    guide = ddpm.classifier_guidance(load_classifier(classifier), 7)
    options = {"sampler": "ddim", "steps": 5, "seed": 0, "guidance": guide}
    expected = ddpm.sample(network, (3, 1, 8, 8), diffusion, **options)
    assert np.array_equal(content["arr_0"], pixels(expected))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--guidance classifier", "guidance is 'classifier'; expected --classifier, too"),
        ("--guidance auto", "expected --weaker_model, too"),
        (
            "--guidance classifier_free --weaker_model x",
            "got --weaker_model, which is for the guidance 'auto', and",
        ),
        ("--guidance_interval 0 1", "got --guidance_interval and no guidance"),
        ("--guidance_at x_t --guidance_scale 2", "got --guidance_scale --guidance_at and no"),
        ("--guidance classifier_free --guidance_at x_t", "--guidance_at is of a classifier"),
        ("--guidance_scale nan", "scale is nan"),
        ("--guidance_scale 2 --guidance classifier_free --guidance_interval 2 1", "interval is"),
        ("--guidance_scale 2 --weaker_model gone/at_all", "gone/at_all"),
    ],
)
def test_guidance_that_says_nothing_is_refused(trained, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        draw(trained, tmp_path, flags)
    assert not list(tmp_path.glob("*.png"))


def test_a_network_without_a_null_class_or_with_other_classes(classifier, tmp_path):
    model = save(tmp_path / "model", null_class=False)
    with pytest.raises(ValueError, match="no null class"):
        draw(model, tmp_path / "drawn", "--guidance_scale 2")
    fewer = save(tmp_path / "fewer", num_classes=None, null_class=False)
    with pytest.raises(ValueError, match="no classes to steer to"):
        draw(fewer, tmp_path / "drawn", "--guidance_scale 2")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", ""),
        ("--guidance_scale 3", "classifier_free guidance of scale 3"),
        ("--guidance_scale 1", "classifier_free guidance of scale 1, which is none,"),
        (
            "--classifier c --guidance_scale 0",
            "classifier guidance of scale 0, which is none, by c",
        ),
        ("--weaker_model w", "auto guidance of scale 2 by w"),
        (
            "--classifier c --guidance_interval 0.5 inf",
            "classifier guidance of scale 1 by c at noise levels 0.5 to inf",
        ),
    ],
)
def test_what_steered_is_told_in_words(flags, words):
    parser = argparse.ArgumentParser()
    add_guidance_arguments(parser)
    assert told_guide(parser.parse_args(flags.split())) == words


def test_flags_alone_say_which_guide():

    parser = argparse.ArgumentParser()
    add_guidance_arguments(parser)
    chosen = {
        "": None,
        "--classifier x": "classifier",
        "--weaker_model x": "auto",
        "--guidance_scale 2": "classifier_free",
        "--guidance_scale 2 --guidance_interval 0.2 5": "classifier_free",
        "--guidance classifier_free": "classifier_free",
    }
    for flags, name in chosen.items():
        assert chosen_guide(parser.parse_args(flags.split())) == name


# ------------------------------------------------------------------------------------------ edited
def test_images_are_changed_and_filled_in(trained, pictures, tmp_path):
    given = np.stack([np.asarray(Image.open(path)) for path in sorted(pictures.glob("images/*"))])
    images = to_model_range(torch.from_numpy(given)[:, None])[torch.arange(5) % 3]
    model, diffusion = load_folder(trained)
    common = f"--num_images 5 --edit {pictures}/images"
    options = {"steps": 5, "labels": torch.arange(5), "seed": 0}
    content = draw(trained, tmp_path / "changed", common, "--strength 0.6")
    expected = ddpm.image_to_image(model, images, diffusion, strength=0.6, **options)
    assert np.array_equal(content["arr_0"], pixels(expected))

    content = draw(trained, tmp_path / "filled", common, f"--mask {pictures}/mask.png")
    mask = torch.arange(8)[:, None] >= 4
    expected = ddpm.inpaint(model, images, mask.expand(8, 8), diffusion, **options)
    assert np.array_equal(content["arr_0"], pixels(expected))
    assert np.array_equal(content["arr_0"][:3, :4, :, 0], given[:, :4])
    np.save(tmp_path / "given.npy", given)
    again = draw(
        trained,
        tmp_path / "again",
        f"--num_images 5 --edit {tmp_path}/given.npy --mask {pictures}/mask.png --batch_size 2",
    )
    assert np.abs(again["arr_0"].astype(int) - content["arr_0"]).max() <= 1


def test_a_mask_is_cut_and_brought_to_size_as_the_images_are(trained, tmp_path):
    """The right quarter of a wide picture is cut off: a mask that is white there alone is empty."""
    wide = np.zeros((32, 64), dtype=np.uint8)
    wide[:, 28:40] = 255
    (tmp_path / "images").mkdir()
    Image.fromarray(wide).save(tmp_path / "images" / "0.png")
    Image.fromarray(wide).save(tmp_path / "mask.png")
    flags = f"--num_images 1 --edit {tmp_path}/images --mask {tmp_path}/mask.png"
    content = draw(trained, tmp_path / "filled", flags)["arr_0"][0, :, :, 0]
    kept = np.array([True] * 3 + [False] * 3 + [True] * 2)  # columns 12..24 of 32 were white
    assert np.array_equal(content[:, kept], np.zeros((8, 5)))
    edge = np.zeros((32, 64), dtype=np.uint8)
    edge[:, 48:] = 255
    Image.fromarray(edge).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match="nothing white"):
        draw(trained, tmp_path / "none", flags)


def test_images_to_edit_keep_the_classes_that_they_say(trained, tmp_path, capsys):
    given = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    for folder, names in (("sorted", "739"), ("other", "cdx")):
        for name, image in zip(names, given, strict=True):
            (tmp_path / folder / name).mkdir(parents=True)
            Image.fromarray(image).save(tmp_path / folder / name / "0.png")
    labels = [9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 9]
    np.savez(tmp_path / "all.npz", images=given[np.arange(12) % 3], labels=np.array(labels))

    def labels_of(what, *flags):
        edit = f"--num_images 12 --edit {tmp_path}/{what}"
        return draw(trained, tmp_path / "drawn", edit, *flags)["arr_1"].tolist()

    assert labels_of("all.npz") == labels
    assert labels_of("sorted") == [3, 7, 9] * 4  # by name, in the order of the folders
    assert labels_of("all.npz", "--class_name 4") == [4] * 12
    assert "does not say which" not in capsys.readouterr().err
    # of other classes than the model's: in turn, which is said
    assert labels_of("other") == [k % 10 for k in range(12)]
    assert "does not say which of the model's classes its images are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--strength 0.5", "got --strength without --edit"),
        ("--mask mask.png", "got --mask without --edit"),
        ("--edit FOLDER/images --num_passes 2", "got --num_passes without --mask"),
        ("--edit FOLDER/images --mask FOLDER/mask.png --strength 0.5", "--mask and --strength"),
        ("--edit FOLDER/images --height 16", "got --edit and --height"),
        ("--edit FOLDER/images --strength 2", "strength is 2.0"),
        ("--edit FOLDER/none", "there is no .*none; expected a folder of images"),
        ("--edit FOLDER/images --mask FOLDER/none.png", "none.png is no picture"),
        ("--edit FOLDER/images --mask FOLDER/black.png", "nothing white"),
    ],
)
def test_edits_that_cannot_be_made_are_refused(trained, pictures, tmp_path, flags, message):
    Image.new("L", (8, 8)).save(pictures / "black.png")
    with pytest.raises(ValueError, match=message):
        draw(trained, tmp_path, flags.replace("FOLDER", str(pictures)))
    assert not list(tmp_path.glob("*.png"))
