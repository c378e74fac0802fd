"""Images as tokens: raster order, quantised and back, classes as given tokens."""

import pytest
import torch

from ardm import ARDMConfig
from ardm.data.images import ImageFormat, ImageTokens


def images(form, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *form.shape), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 2, 2), (1, 1, 1)])
def test_256_values_are_the_pixels_in_raster_order_with_channels_last(shape):
    form = ImageFormat(shape)
    pictures = images(form)
    rows = form.encode(pictures)
    channels, height, width = shape
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                position = (row * width + column) * channels + channel
                assert torch.equal(rows[:, position], pictures[:, channel, row, column].long())
    assert torch.equal(form.decode(rows), pictures)


@pytest.mark.parametrize("num_values", [2, 3, 16, 17, 255, 256])
def test_values_survive_their_own_image(num_values):
    form = ImageFormat((1, 1, num_values), num_values)
    values = torch.arange(num_values)[None]
    assert torch.equal(form.encode(form.decode(values)), values)
    every = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    coarse = ImageFormat((1, 1, 1), num_values)
    ids = coarse.encode(every)[:, 0]
    assert (ids.diff() >= 0).all() and ids.unique().tolist() == [*range(num_values)]
    # as even as can be: no value stands for twice as many greys as another
    counts = ids.bincount()
    assert counts.max() - counts.min() <= 1
    error = coarse.decode(ids[:, None]).view(-1).int() - every.view(-1).int()
    assert error.abs().max() <= 256 / num_values


def test_coarse_values_lie_between():
    form = ImageFormat((1, 1, 2), 17)
    assert form.decode(torch.tensor([[0.5, 15.5]])).flatten().tolist() == [8, 247]


def test_classes_are_tokens_behind_the_pixels_that_are_given():
    form = ImageFormat((1, 2, 2), 4, num_classes=3)
    ids = form.encode(images(form), torch.tensor([0, 2, 1]))
    assert ids.shape == (3, 5) and ids[:, -1].tolist() == [5, 7, 6]
    assert form.prompt_mask(2).tolist() == [[0, 0, 0, 0, 1]] * 2
    assert form.canvas(2, [1, 0]).tolist() == [[4, 4, 4, 4, 6], [4, 4, 4, 4, 5]]
    assert torch.equal(form.decode(ids), form.decode(ids[:, :-1]))
    config = ARDMConfig(**form.model_settings, hidden_size=8, num_attention_heads=2)
    assert config.vocab_size == 8 and config.max_position_embeddings == 5
    plain = ImageFormat((1, 2, 2), 4)
    assert plain.prompt_mask(2) is None and plain.canvas(1).tolist() == [[4] * 4]


def test_rows_of_a_training():
    form = ImageFormat((1, 2, 2), 4, num_classes=3)
    ids = form.encode(images(form), torch.tensor([0, 2, 1]))
    rows = ImageTokens(ids, form)
    assert len(rows) == len([*rows]) == 3
    for row, expected in zip(rows, ids, strict=True):
        assert torch.equal(row["input_ids"], expected) and row["input_ids"].dtype == torch.int64
        assert row["prompt_mask"].tolist() == [0, 0, 0, 0, 1]
    assert rows.input_ids.dtype == torch.int16
    many = ImageFormat((1, 2, 2), 4, num_classes=2**15)
    last = many.encode(images(many, 1), torch.tensor([2**15 - 1]))
    assert int(ImageTokens(last, many)[0]["input_ids"][-1]) == 4 + 2**15
    with pytest.raises(IndexError):
        rows[3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageFormat((1, 0, 2)), "height is 0"),
        (lambda: ImageFormat((1, 2, 2), 1), "num_values is 1"),
        (lambda: ImageFormat((1, 2, 2), 257), "num_values is 257"),
        (lambda: ImageFormat((1, 2, 2), 4, -1), "num_classes is -1"),
        (lambda: ImageFormat((1, 2, 2)).encode(torch.zeros(1, 1, 2, 2)), "float32"),
        (lambda: ImageFormat((1, 2, 2)).encode(torch.zeros(1, 1, 2, 3).byte()), r"\(1, 1, 2, 3\)"),
        (
            lambda: ImageFormat((1, 2, 2), 4, 2).encode(torch.zeros(1, 1, 2, 2).byte()),
            "labels are missing",
        ),
        (
            lambda: ImageFormat((1, 2, 2)).encode(torch.zeros(1, 1, 2, 2).byte(), torch.zeros(1)),
            "labels are given",
        ),
        (lambda: ImageFormat((1, 2, 2), 4, 2).canvas(1, [2]), "labels are in 2..2"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_labels_shapes_and_values_are_checked():
    form = ImageFormat((1, 2, 2), 17, 10)
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    for labels, message in (
        (torch.tensor([1.7]), "dtype torch.float32; expected integers"),
        (torch.tensor([True]), "dtype torch.bool"),
        ([1, 2], "there are 2 labels; expected 1"),
        (None, "labels are missing"),
    ):
        with pytest.raises(ValueError, match=message):
            form.encode(images, labels)
        with pytest.raises(ValueError, match=message):
            form.canvas(1, labels)
    for values in ([[0, 1, 2, 17]], [[-1, 0, 0, 0]], [[1, 2, 3]]):
        with pytest.raises(ValueError, match=r"expected 4 an image, in 0\.\.16"):
            form.decode(torch.tensor(values))
    with pytest.raises(ValueError, match=r"expected \(channels, height, width\)"):
        ImageFormat((2, 2), 17)
