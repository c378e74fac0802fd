"""Drawing: every number once, whatever the batches and processes, and each image its own."""

from types import SimpleNamespace

import pytest
import torch

from ddpm.diffusion import GaussianDiffusion
from ddpm.drawing import (
    balanced_labels,
    chosen_labels,
    draw_edited,
    draw_images,
    draw_upsampled,
)
from ddpm.guidance import classifier_guidance
from ddpm.schedules import cosine_schedule
from ddpm.upsampling import upsample

DIFFUSION = GaussianDiffusion(cosine_schedule(20), variance="fixed_small")


def model(x, t, labels=None):
    shift = 0 if labels is None else labels.view(-1, 1, 1, 1) / 10
    return 0.5 * x + shift


def drawn(num_images=11, batch_size=64, num_processes=1, **options):
    found = {}
    for rank in range(num_processes):
        shares = {"process_index": rank, "num_processes": num_processes}
        for numbers, images in draw_images(
            model,
            DIFFUSION,
            num_images,
            (1, 2, 2),
            batch_size=batch_size,
            steps=5,
            **shares,
            **options,
        ):
            assert len(numbers) == len(images) <= batch_size
            assert all(number % num_processes == rank for number in numbers.tolist())
            assert not found.keys() & set(numbers.tolist())
            found |= dict(zip(numbers.tolist(), images, strict=True))
    assert sorted(found) == list(range(num_images))
    return torch.stack([found[number] for number in range(num_images)])


def test_images_are_the_same_in_any_batches_on_any_processes():
    labels = balanced_labels(11, 3)
    expected = drawn(labels=labels)
    for batch_size, num_processes in ((1, 1), (4, 1), (3, 2), (64, 4), (2, 16)):
        found = drawn(batch_size=batch_size, num_processes=num_processes, labels=labels)
        torch.testing.assert_close(found, expected)
    assert len({float(image.sum()) for image in drawn()}) == 11
    assert not torch.allclose(drawn(labels=labels, seed=1), expected)
    torch.testing.assert_close(drawn(5, labels=labels[:5]), expected[:5])


def test_labels_go_to_their_images():
    plain = drawn()
    shifted = drawn(labels=torch.tensor([0] * 10 + [1]))
    torch.testing.assert_close(plain[:10], shifted[:10])
    assert not torch.allclose(plain[10], shifted[10])


def test_balanced_labels():
    assert balanced_labels(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert balanced_labels(7, None) is None


@pytest.mark.parametrize(
    "bad", [{"num_images": 0}, {"batch_size": 0}, {"labels": torch.zeros(3, dtype=torch.long)}]
)
def test_bad_input(bad):
    with pytest.raises(ValueError, match="expected"):
        drawn(**bad)


class Upsampler:
    """x / 2 and the label, around the small image."""

    config = SimpleNamespace(image_size=4, in_channels=1, low_resolution=2)

    def __call__(self, x, t, labels=None, low_res=None):
        return model(x, t, labels) - low_res.mean((2, 3), keepdim=True)


def test_upsampled_images_are_those_of_upsample_in_any_batches_on_any_processes():
    low_res = torch.rand(7, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = balanced_labels(7, 3)
    common = {"labels": labels, "steps": 5, "seed": 9}
    expected = upsample(Upsampler(), low_res, DIFFUSION, **common)
    for num_processes, batch_size in ((1, 64), (1, 2), (3, 2), (9, 1)):
        found = torch.zeros_like(expected)
        for rank in range(num_processes):
            shares = {"process_index": rank, "num_processes": num_processes}
            for numbers, images in draw_upsampled(
                Upsampler(), DIFFUSION, low_res, batch_size=batch_size, **shares, **common
            ):
                found[numbers] = images
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected \(7,\)"):
        list(draw_upsampled(Upsampler(), DIFFUSION, low_res, labels=labels[:3]))


def brightness(x, t):
    return x.flatten(1).sum(1)


@pytest.mark.parametrize("what", ["drawn", "changed", "filled", "upsampled"])
def test_each_image_has_its_own_guide_in_any_batches_on_any_processes(what):
    """Scale and wish of image k are its own: that of a whole batch at once, or of one alone."""
    scales = torch.arange(7) / 10.0
    labels = balanced_labels(7, 3)
    given = torch.rand(7, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    lower = torch.tensor([[False], [True]])

    def batches(guidance_for, **shares):
        common = {"labels": labels, "steps": 5, "seed": 9, "guidance_for": guidance_for} | shares
        if what == "drawn":
            return draw_images(model, DIFFUSION, 7, (1, 2, 2), **common)
        if what == "upsampled":
            return draw_upsampled(Upsampler(), DIFFUSION, given, **common)
        mask = {"mask": lower} if what == "filled" else {}
        return draw_edited(model, DIFFUSION, given, **mask, **common)

    def of(scales_of, **shares):
        def guidance_for(numbers):
            return classifier_guidance(brightness, scale=scales_of[numbers])

        return {
            number: image
            for rank in range(shares.get("num_processes", 1))
            for numbers, images in batches(guidance_for, process_index=rank, **shares)
            for number, image in zip(numbers.tolist(), images, strict=True)
        }

    expected = of(scales)
    assert sorted(expected) == list(range(7))
    for num_processes, batch_size in ((1, 2), (3, 2), (9, 1)):
        found = of(scales, num_processes=num_processes, batch_size=batch_size)
        for number in range(7):
            torch.testing.assert_close(found[number], expected[number], rtol=0, atol=1e-6)
    unguided = of(torch.zeros(7))
    assert [torch.equal(unguided[k], expected[k]) for k in range(7)] == [True] + [False] * 6


def test_labels_of_one_class_or_of_all():
    assert chosen_labels(3, None) is None
    assert chosen_labels(3, ["a", "b"]).tolist() == [0, 1, 0]
    assert chosen_labels(2, ["a", "b"], "b").tolist() == [1, 1]
    for names in (None, ["a", "b"]):
        with pytest.raises(ValueError, match="class_name is 'c'"):
            chosen_labels(2, names, "c")
