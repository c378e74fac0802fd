"""A saved model of pixels is whole and loads again; what is no such folder is told in one line."""

import json

import pytest
import torch

from ardm import ARDMConfig, ARDMForMaskedLM
from ardm.data.images import ImageFormat
from ardm.hub import (
    ImageCardFigures,
    image_model_card,
    load_image_classes,
    load_image_folder,
    save_image_folder,
)

FORM = ImageFormat((1, 2, 2), 4, num_classes=2)
FACTS = {"shape": (1, 2, 2), "num_values": 4, "class_names": ["cat", "dog"]}


def model_of(form=FORM):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    stages = {"num_stages": 2, "branching_factor": 2}
    config = ARDMConfig(**form.model_settings, **sizes, **stages, intermediate_size=8)
    return ARDMForMaskedLM(config).eval()


@pytest.fixture
def saved(tmp_path):
    model = model_of()
    model.generation_config.per_step_losses = [[2.0, 1.0, 0.5, 0.1]] * 2
    save_image_folder(tmp_path, model, ImageCardFigures(**FACTS))
    return tmp_path, model


def test_what_is_saved_loads_as_it_was(saved):
    folder, model = saved
    loaded, pixels = load_image_folder(folder)
    assert pixels == FORM and load_image_classes(folder) == ["cat", "dog"]
    canvas = FORM.canvas(2, [0, 1])
    assert torch.equal(loaded.generate(canvas, seed=0), model.generate(canvas, seed=0))
    few = loaded.generate(canvas, seed=0, plan="optimal", steps=4, return_dict_in_generate=True)
    assert few.num_forward_passes == 4


def test_measured_losses_stay_with_the_same_weights(saved):
    folder, model = saved
    model.generation_config.per_step_losses = None
    save_image_folder(folder, model, ImageCardFigures(**FACTS))
    assert load_image_folder(folder)[0].generation_config.per_step_losses is not None


@pytest.mark.parametrize("missing", ["images.json", "model.safetensors", "config.json"])
def test_a_folder_that_lacks_a_file_is_told(saved, missing):
    folder, _ = saved
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=r"no model") as error:
        load_image_folder(folder)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_told(saved):
    folder, _ = saved
    (folder / "images.json").write_text(json.dumps({"shape": [1, 2, 2]}))
    with pytest.raises(ValueError, match="no model of images can be loaded"):
        load_image_folder(folder)


def test_a_card_says_what_it_is_told_and_no_more():
    bare = image_model_card(ImageCardFigures(shape=(3, 4, 5), num_values=256))
    assert "4 x 5 pixels, 3 channels of 256 values" in bare
    for absent in ("None", "Classes", "bits per dimension", "revealed", "guidance_scale"):
        assert absent not in bare.split("```")[0] + bare.split("## Versions")[1]
    figures = ImageCardFigures(
        **FACTS,
        model_name="me/pixels",
        stages="in 2 stages",
        held_out="/home/me/images",
        num_scored=1234,
        bits_per_dimension=(1.25, 0.02),
    )
    card = image_model_card(figures)
    for told in (
        "cat, dog",
        "in 2 stages",
        "1,234 images of images",
        "1.2500 ± 0.0200",
        "me/pixels",
    ):
        assert told in card
    assert "/home/me" not in card and "value: 1.25" in card and "guidance_scale" in card


@pytest.mark.parametrize("classes", [0, 2])
def test_the_card_tells_how_to_draw_without_the_package(tmp_path, classes):
    form = ImageFormat((3, 2, 4), 4, num_classes=classes)
    names = ["cat", "dog"] if classes else None
    figures = ImageCardFigures(
        model_name=str(tmp_path), shape=form.shape, num_values=4, class_names=names
    )
    save_image_folder(tmp_path, model_of(form), figures)
    card = (tmp_path / "README.md").read_text()
    _, with_package, without = (block.split("```")[0] for block in card.split("```python\n"))
    assert "load_image_folder" in with_package and "ardm" not in without.replace(str(tmp_path), "")
    found = {}
    exec(without, found)
    images = form.decode(found["ids"])
    assert found["values"].shape == (8, 2, 4, 3) and found["values"].max() < 4
    assert torch.equal(found["values"].permute(0, 3, 1, 2) * 85, images.long())
    if classes:
        assert torch.equal(found["canvas"], form.canvas(8, [0] * 8))
