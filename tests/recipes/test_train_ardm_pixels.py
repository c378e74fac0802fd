"""The recipe for pixels as a user runs it: digits, resumed, continued, other images, bad flags."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ardm import nelbo
from ardm.data.images import ImageFormat
from ardm.hub import load_image_classes, load_image_folder

from ..command_line import recipe, words

pytestmark = pytest.mark.usefixtures("data_cache")

NETWORK = "--hidden_size 16 --num_hidden_layers 1 --num_attention_heads 2 --intermediate_size 16"
STEPS = "--max_train_steps 6 --per_device_train_batch_size 4 --logging_steps 2 --eval_steps 0"
STEPS += " --max_eval_images 8 --checkpointing_steps 2"


def train(folder, *more, network=NETWORK):
    recipe("train_ardm_pixels").main(words(network, STEPS, "--output_dir", folder, *more))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixels") / "run"
    train(folder, "--guidance_scale 1.5")
    return folder


def test_the_digits_come_with_card_pictures_and_everything_to_draw_them_again(trained):
    model, pixels = load_image_folder(trained)
    assert pixels == ImageFormat((1, 8, 8), 17, 10)
    assert load_image_classes(trained) == [str(digit) for digit in range(10)]
    assert model.config.num_stages == 2 and model.config.position_shape == [8, 8, 1]
    card = (trained / "README.md").read_text()
    for told in ("bits per dimension, given its class", "2 stages, digits in base 5", "17 values"):
        assert told in card
    with Image.open(trained / "order.gif") as film:
        assert 2 <= film.n_frames <= 60
    for name in ("samples", "inpainting", "sharpening", "loss_curve"):
        with Image.open(trained / f"{name}.png") as picture:
            assert picture.width > 200 and f"{name}.png" in card


@pytest.mark.slow
def test_what_its_card_says_to_do_works(trained):
    card = (trained / "README.md").read_text()
    program = (
        card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(trained))
    )
    found = {}
    exec(program, found)
    assert found["images"].shape == (8, 1, 8, 8) and found["completed"].shape == (4, 1, 8, 8)
    assert torch.equal(
        found["completed"][:, :, :4], found["images"][:1, :, :4].expand(4, -1, -1, -1)
    )


def test_the_figure_is_the_bound_of_the_held_out_images_given_their_class(trained):
    model, form = load_image_folder(trained)
    module = recipe("train_ardm_pixels")
    held_out = module.load_images()["validation"]
    ids = module.tokens_of(held_out, form, 8).input_ids.long()
    bound = nelbo(
        model,
        ids,
        prompt_mask=form.prompt_mask(8),
        num_samples=16,
        generator=torch.Generator().manual_seed(0),
    )
    assert bound.num_tokens.tolist() == [64] * 8
    said = f"{float(bound.bits_per_token.mean()):.3f}"
    assert said in (trained / "README.md").read_text()


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(trained, tmp_path):
    half = STEPS.replace("--max_train_steps 6", "--max_train_steps 6 --logging_steps 1")
    module = recipe("train_ardm_pixels")
    flags = words(NETWORK, half, "--output_dir", tmp_path, "--guidance_scale 1.5")
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        objective = module.RandomRatioObjective.__call__

        def stops(self, model, batch):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return objective(self, model, batch)

        patch.setattr(module.RandomRatioObjective, "__call__", stops)
        with pytest.raises(KeyboardInterrupt):
            module.main(flags)
    module.main(flags)
    one, other = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_saved_model_goes_on_with_its_own_format(trained, tmp_path):
    train(tmp_path, "--model_name_or_path", trained, network="")
    assert json.loads((tmp_path / "images.json").read_text())["num_values"] == 17
    with pytest.raises(ValueError, match="--num_stages and a model_name_or_path"):
        train(tmp_path, "--model_name_or_path", trained, "--num_stages 3", network="")


@pytest.mark.slow
def test_colour_images_without_classes_in_direct_interleaved_stages(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    flags = "--num_values 256 --num_stages 4 --branching_factor 4 --stage_order interleaved"
    file = tmp_path / "images.npy"
    train(tmp_path / "run", "--train_file", file, flags, "--parametrization direct")
    model, pixels = load_image_folder(tmp_path / "run")
    assert pixels == ImageFormat((3, 4, 4), 256)
    assert model.stages.interleaved and model.lm_head.out_features == 16
    assert (tmp_path / "run" / "sharpening.png").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--num_stages 1 --branching_factor 4", "--branching_factor with num_stages=1"),
        ("--num_stages 2 --branching_factor 4", "cover 16 values; expected at least 17"),
        ("--num_values 300", "num_values is 300"),
        ("--hidden_size 15", "hidden_size is 15"),
        ("--prompt_dropout 1", "prompt_dropout is 1"),
        ("--push_to_hub", "hub_model_id"),
    ],
)
def test_bad_flags_are_refused_before_any_training(tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", flags)
    assert not (tmp_path / "run" / "model.safetensors").exists()
