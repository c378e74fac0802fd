"""The classifier's objective: the diffusion's own noise, an example's number alone decides it."""

import math

import pytest
import torch
from torch.nn import functional as F

from ddpm.classification import AccuracyByNoise, ClassificationObjective, judged, quartiles
from ddpm.diffusion import GaussianDiffusion
from ddpm.objective import DiffusionObjective
from ddpm.schedules import cosine_schedule

DIFFUSION = GaussianDiffusion(cosine_schedule(12), variance="fixed_small", loss="simple")
IMAGES = torch.randint(
    256, (64, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
AUGMENTED = {"random_crop": True, "random_flip": True}


class Numbered(dict):
    """A batch as a training loop gives it."""

    def __init__(self, numbers, global_batch_size=8, **more):
        chosen = torch.tensor(numbers) % 64
        super().__init__(images=IMAGES[chosen], labels=chosen % 3, **more)
        self.example_numbers = torch.tensor(numbers)
        self.global_batch_size = global_batch_size


class Spy:
    """A classifier of three classes by mean brightness; remembers what it was shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, x, t, labels=None):
        self.seen += [(x[row], int(t[row])) for row in range(len(x))]
        mean = x.mean((1, 2, 3))
        return torch.stack((mean, 2 * mean, -mean), dim=1)


def shown(micro_batches, **settings):
    spy = Spy()
    objective = ClassificationObjective(DIFFUSION, **settings)
    figures = [objective(spy, Numbered(numbers)) for numbers in micro_batches]
    return spy.seen, {
        name: torch.stack([each[name] for each in figures]) for name in ("loss", "accuracy")
    }


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("settings", [{}, AUGMENTED, {"noised": False, **AUGMENTED}])
def test_micro_batches_of_a_step_are_one_batch(settings):
    whole, one = shown([range(8 * s, 8 * s + 8) for s in range(4)], **settings)
    parts, several = shown([range(2 * m, 2 * m + 2) for m in range(16)], **settings)
    assert same(whole, parts)
    for name, values in one.items():
        torch.testing.assert_close(several[name].view(4, 4).mean(1), values)


def test_noise_and_timesteps_are_those_of_the_diffusions_objective():
    class Denoiser(Spy):
        def __call__(self, x, t, labels=None):
            super().__call__(x, t)
            return torch.zeros_like(x)

    denoiser = Denoiser()
    batch = Numbered(range(16, 24))
    DiffusionObjective(DIFFUSION, seed=5, random_flip=True)(denoiser, batch)
    assert same(denoiser.seen, shown([range(16, 24)], seed=5, random_flip=True)[0])


def test_the_loss_is_the_cross_entropy_in_nats():
    spy = Spy()
    figures = ClassificationObjective(DIFFUSION)(spy, Numbered(range(8)))
    x = torch.stack([image for image, _ in spy.seen])
    logits = Spy()(x, torch.zeros(8))
    labels = torch.arange(8) % 3
    probabilities = logits.softmax(1)[torch.arange(8), labels]
    torch.testing.assert_close(figures["loss"], -probabilities.log().mean())
    shares = (logits.argmax(1) == labels).float().mean()
    torch.testing.assert_close(figures["accuracy"], shares)


def test_without_noise_images_are_shown_as_they_are_at_no_timestep():
    seen, _ = shown([range(8)], noised=False)
    assert all(t == 0 for _, t in seen)
    assert torch.equal(torch.stack([x for x, _ in seen]), IMAGES[:8].float() / 127.5 - 1)


def test_crops_and_flips_are_of_the_example():
    plain, _ = shown([range(64)], noised=False)
    for settings in ({"random_crop": True}, {"random_flip": True}):
        first, _ = shown([range(64)], noised=False, **settings)
        again, _ = shown([[number] for number in range(64)], noised=False, **settings)
        assert same(first, again)
        changed = [not torch.equal(a[0], b[0]) for a, b in zip(first, plain, strict=True)]
        assert 10 < sum(changed) < 60
        later, _ = shown([range(64, 128)], noised=False, **settings)  # the same images
        assert not same(first, later)


def test_the_network_is_told_the_original_timesteps():
    respaced = DIFFUSION.respace("3")
    spy = Spy()
    ClassificationObjective(respaced)(spy, Numbered(range(8)))
    assert {t for _, t in spy.seen} <= set(respaced.timesteps.tolist())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": torch.tensor([0, 1, 3, 0])}, "from 0 to 3; expected 0..2"),
        ({"labels": torch.tensor([0, 1, -1, 0])}, "from -1 to 1; expected 0..2"),
        ({"labels": torch.tensor([0, 1])}, r"labels are torch.int64 \(2,\)"),
        ({"labels": torch.zeros(4)}, "labels are torch.float32"),
        ({"labels": None}, "labels are a NoneType"),
        ({"images": torch.full((4, 1, 8, 8), 7.0)}, r"expected \[-1, 1\]"),
    ],
)
def test_bad_batches_are_named(wrong, message):
    batch = Numbered(range(4), 4)
    batch.update(wrong)
    with pytest.raises(ValueError, match=message):
        ClassificationObjective(DIFFUSION)(Spy(), batch)


def test_labels_must_be_there_and_so_must_logits():
    batch = Numbered(range(4), 4)
    with pytest.raises(ValueError, match=r"gave \(4, 1, 8, 8\); expected logits"):
        ClassificationObjective(DIFFUSION)(lambda x, t: x, batch)
    del batch["labels"]
    with pytest.raises(ValueError, match="no labels"):
        ClassificationObjective(DIFFUSION)(Spy(), batch)


def test_answers_are_judged_by_cross_entropy_and_rank():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(3))
    labels = torch.randint(7, (50,), generator=torch.Generator().manual_seed(4))
    losses, ranks = judged(logits, labels)
    torch.testing.assert_close(losses, F.cross_entropy(logits, labels, reduction="none"))
    order = logits.argsort(1, descending=True)
    assert ranks.tolist() == [
        row.tolist().index(label) for row, label in zip(order, labels.tolist(), strict=True)
    ]


def test_quarters_and_middles():
    assert quartiles([1, 3, 2, 2, 0, 0, 5, 7]) == [2, 2, 0, 6]
    shares = {name: [0.5] * 4 for name in ("accuracy", "cross_entropy", "top5_accuracy")}
    clean = {"clean_accuracy": 1, "clean_cross_entropy": 0, "clean_top5_accuracy": 1}
    counts = {"num_timesteps": 8, "num_classes": 2, "num_images": 3}
    figures = AccuracyByNoise(**counts, **shares, **clean)
    assert figures.middles == [0.5, 2.5, 4.5, 6.5]  # of t = 0, 1; 2, 3; ...
    assert math.isclose(sum(figures.middles) / 4, 3.5)
