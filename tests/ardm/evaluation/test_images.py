"""What a model of pixels shows: coarse values as means, halves, films, stages."""

import pytest
import torch

from ardm import ARDMConfig, ARDMForMaskedLM
from ardm.data.images import ImageFormat
from ardm.evaluation.images import drawings, film, halves, node_values, sharpening, show

UNTOUCHED = [70, 110, 180]


def model_of(form, **stages):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ARDMConfig(**form.model_settings, **sizes, intermediate_size=8, **stages)
    model = ARDMForMaskedLM(config).eval()
    torch.nn.init.normal_(model.lm_head.weight)
    return model


def staged(form):
    return model_of(form, num_stages=2, branching_factor=4)


def test_a_coarse_value_is_the_mean_of_those_below_it():
    form = ImageFormat((1, 2, 2), 10, num_classes=2)
    stages = staged(form).stages
    values = node_values(stages, 10)
    assert values[:10].tolist() == [*range(10)] and values[10:13].isnan().all()
    assert values[13:].tolist() == [1.5, 5.5, 8.5]  # 0-3, 4-7, 8-9
    assert node_values(model_of(form).stages, 10)[10:].isnan().all()


def test_what_is_shown_of_a_canvas():
    form = ImageFormat((1, 1, 3), 16)
    stages = staged(form).stages
    coarse = int(stages.coarsen(torch.tensor([15]), 1))
    shown = show(torch.tensor([[16, coarse, 15]]), form, stages)
    assert shown.shape == (1, 3, 1, 3) and shown[0, :, 0, 0].tolist() == UNTOUCHED
    assert shown[0, :, 0, 1].tolist() == [230] * 3  # 13.5 of 15
    assert shown[0, :, 0, 2].tolist() == [255] * 3


def test_one_untouched_channel_makes_a_pixel_untouched():
    form = ImageFormat((3, 1, 2), 4)
    stages = model_of(form).stages
    shown = show(torch.tensor([[3, 0, 1, 3, 4, 0]]), form, stages)
    assert shown[0, :, 0, 0].tolist() == [255, 0, 85]
    assert shown[0, :, 0, 1].tolist() == UNTOUCHED


@pytest.mark.parametrize(("height", "given"), [(4, 2), (3, 2), (1, 1)])
def test_the_lower_half_is_hidden_and_the_class_is_not(height, given):
    form = ImageFormat((1, height, 2), 4, num_classes=2)
    ids = torch.zeros(1, form.sequence_length, dtype=torch.long)
    hidden = halves(ids, form)
    pixels = hidden[0, :-1].view(height, 2)
    assert (pixels[:given] == 0).all() and (pixels[given:] == 4).all() and hidden[0, -1] == 0


def test_a_film_goes_from_nothing_to_the_image_in_at_most_sixty_frames():
    form = ImageFormat((1, 8, 8), 16)
    model = staged(form)
    canvas = form.canvas(2)
    frames = film(model, form, canvas, seed=0)
    assert len(frames) <= 60 and all(frame.shape == (2, 3, 8, 8) for frame in frames)
    last = form.decode(model.generate(canvas, seed=0)).expand(-1, 3, -1, -1)
    assert torch.equal(frames[-1], last)
    few = film(model, form, canvas, seed=0, steps=4)
    assert len(few) == 5 and few[0][0, :, 0, 0].tolist() == UNTOUCHED


def test_each_stage_refines_the_one_before():
    form = ImageFormat((1, 3, 3), 16)
    model = staged(form)
    canvas = form.canvas(2)
    canvas[:, 0] = 5  # given
    first, last = sharpening(model, form, canvas, seed=0)
    values = form.decode(model.generate(canvas, seed=0))[:, :1].int()
    assert torch.equal(last[:, :1].int(), values)
    coarse = first[:, :1].int()
    assert (coarse - values).abs().max() <= 255 / 15 * 1.5 + 1
    assert coarse[0, 0, 0, 0] == values[0, 0, 0, 0] == 85


def test_drawings_of_every_kind():
    form = ImageFormat((1, 2, 2), 16, num_classes=2)
    given = form.encode(torch.zeros(3, 1, 2, 2).byte(), torch.tensor([0, 1, 0]))
    shown = drawings(staged(form), form, given, 3, guidance_scale=1.5)
    assert shown["samples"].shape == (12, 1, 2, 2)
    assert [*shown["inpainting"]][:3] == ["real", "given", "drawn, seed 0"]
    assert [*shown["sharpening"]] == ["stage 1", "stage 2"]
    for row in shown["inpainting"].values():  # what is given stays
        assert row.shape == (3, 3, 2, 2) and (row[:, :, 0] == 0).all()
    assert "sharpening" not in drawings(model_of(form), form, given, 2)
