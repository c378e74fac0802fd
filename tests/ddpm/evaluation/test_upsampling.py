"""What is shown of an upsampler: images of all classes in turn, and what is made of them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ddpm.conditioning import OwnLowResolution, downsample
from ddpm.denoisers import to_model_range
from ddpm.diffusion import GaussianDiffusion
from ddpm.evaluation import BoundEvaluation, shown_images, upsampling_rows
from ddpm.schedules import cosine_schedule

DIFFUSION = GaussianDiffusion(cosine_schedule(10), variance="fixed_small", loss="simple")


def dataset(labels, num_images=7):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (num_images, 1, 4, 4), dtype=torch.uint8, generator=generator)
    items = [{"images": image} for image in pixels]
    if labels is not None:
        for item, label in zip(items, labels, strict=True):
            item["labels"] = torch.tensor(label)
    return items


class Exact(nn.Module):
    """Knows the images whose small versions it is given, and says what their noise is."""

    def __init__(self, images):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        self.images = images
        self.config = SimpleNamespace(
            image_size=4,
            in_channels=1,
            low_resolution=2,
            noise_augmentation=True,
            num_classes=None,
        )

    def forward(self, x, t, labels=None, low_res=None, noise_level=None):
        distances = (downsample(self.images, 2)[None] - low_res[:, None]).flatten(2).norm(dim=2)
        image = self.images[distances.argmin(1)]
        bar = DIFFUSION.alphas_cumprod[t].float().view(-1, 1, 1, 1)
        return (x - bar.sqrt() * image) / (1 - bar).sqrt()


def test_images_of_all_classes_come_in_turn():
    labels = [2, 0, 0, 2, 1, 0, 1]
    shown = shown_images(dataset(labels), 2, ["a", "b", "c"], num_images=5)
    assert shown.labels.tolist() == [0, 1, 2, 0, 1]
    assert [title.strip() for title in shown.titles] == ["a", "b", "c", "a", "b"]
    assert len(set(shown.titles)) == 5
    expected = torch.stack([dataset(labels)[number]["images"] for number in (1, 4, 0, 2, 6)])
    assert torch.equal(shown.images, to_model_range(expected))
    assert torch.equal(shown.low_res, downsample(shown.images, 2))


def test_images_without_classes_come_in_their_order():
    shown = shown_images(dataset(None), 2, num_images=20)
    assert shown.labels is None and shown.titles == list("1234567") and len(shown.images) == 7


@pytest.mark.parametrize("with_base", [False, True])
def test_rows_are_small_upsampled_and_real(with_base):
    shown = shown_images(dataset(None), 2)
    model = Exact(shown.images)
    base = None
    if with_base:  # draws the small images of the shown ones

        def draw(x, t, labels=None):
            bar = DIFFUSION.alphas_cumprod[t].float().view(-1, 1, 1, 1)
            return (x - bar.sqrt() * shown.low_res) / (1 - bar).sqrt()

        base = (draw, DIFFUSION)
    found = upsampling_rows(model, DIFFUSION, shown, base, max_noise_level=4)
    assert list(found) == ["upsampled.png"] + ["cascade.png"] * with_base
    rows = {
        label: torch.cat(list(cells.values())) for label, cells in found["upsampled.png"].items()
    }
    assert list(rows) == ["small image", "bilinear", "upsampled", "another seed", "real"]
    assert torch.equal(rows["small image"], shown.low_res) and torch.equal(
        rows["real"], shown.images
    )
    assert rows["bilinear"].shape == shown.images.shape
    for label in ("upsampled", "another seed"):
        torch.testing.assert_close(rows[label], shown.images, atol=1e-4, rtol=0)
    if with_base:
        rows = found["cascade.png"]
        assert list(rows) == ["drawn small", "noise level 0", "noise level 1"]
        cells = torch.cat(list(rows["noise level 0"].values()))
        torch.testing.assert_close(cells, shown.images, atol=1e-4, rtol=0)


def test_the_bound_is_of_images_given_their_small_versions():
    data = dataset(None)
    images = torch.stack([to_model_range(item["images"]) for item in data])
    evaluation = BoundEvaluation(data, DIFFUSION, condition=OwnLowResolution(2))
    figures = evaluation(Exact(images))
    assert figures["eval_loss"] < 1e-6  # who knows the image knows the noise
    wrong = Exact(images.flip(3))
    assert evaluation(wrong)["bits_per_dim"] > figures["bits_per_dim"] + 1
