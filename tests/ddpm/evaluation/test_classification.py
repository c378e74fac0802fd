"""The evaluation of a classifier: every quarter its own timesteps, the same noise in any batch."""

import math

import pytest
import torch
from torch import nn

from ddpm.denoisers import to_model_range
from ddpm.diffusion import GaussianDiffusion
from ddpm.evaluation.classification import ClassifierEvaluation
from ddpm.schedules import cosine_schedule


def dataset(count, labels=True, num_classes=7):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return [
        {"images": image} | ({"labels": torch.tensor(k % num_classes)} if labels else {})
        for k, image in enumerate(images)
    ]


class Knowing(nn.Module):
    """Knows the class while t is below a limit, and holds all for equally likely from there on."""

    def __init__(self, answers, limit, num_classes=7):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.dropout = nn.Dropout(0.5)
        self.answers = answers
        self.limit = limit
        self.num_classes = num_classes
        self.seen = []

    def forward(self, x, t, labels=None):
        self.seen += list(zip(x, t.tolist(), strict=True))
        logits = torch.zeros(len(x), self.num_classes)
        known = t < self.limit
        logits[known, self.answers[: len(x)][known]] = 5.0
        return self.dropout(logits)


def evaluation(data, num_timesteps=100, **settings):
    process = GaussianDiffusion(cosine_schedule(num_timesteps))
    return ClassifierEvaluation(data, process, **({"num_classes": 7} | settings))


def test_quarters_are_those_of_the_timesteps():
    data = dataset(21)
    labels = torch.tensor([int(item["labels"]) for item in data])
    model = Knowing(labels, limit=50).train()
    figures = evaluation(data)(model)
    sure = math.log(1 + 6 * math.exp(-5))
    assert [figures[f"eval_accuracy_q{q}"] for q in (1, 2)] == [1, 1]
    # ties are nobody's: none of seven equal logits is larger than its own
    assert figures["eval_accuracy_clean"] == 1
    assert figures["eval_loss"] == pytest.approx((sure + math.log(7)) / 2, rel=1e-6)
    assert figures["eval_standard_error"] == pytest.approx(0, abs=1e-6)
    assert model.training and figures.keys() >= {"eval_accuracy", "eval_top5_accuracy"}
    assert "eval_top5_accuracy" not in evaluation(data, num_classes=5)(model)


@pytest.mark.parametrize("num_timesteps", [2, 7, 12, 100, 1000])
def test_each_image_is_noised_once_in_each_of_twenty_strata(num_timesteps):
    data = dataset(30)
    model = Knowing(torch.zeros(30, dtype=torch.long), limit=0)
    evaluation(data, num_timesteps)(model)
    times = torch.tensor([t for _, t in model.seen]).view(21, 30)
    assert not times[0].any()  # without noise
    assert torch.equal(
        torch.stack([x for x, _ in model.seen[:30]]),
        to_model_range(torch.stack([item["images"] for item in data])),
    )
    for stratum, drawn in enumerate(times[1:]):
        low, high = stratum * num_timesteps / 20, (stratum + 1) * num_timesteps / 20
        assert math.floor(low) <= int(drawn.min()) and int(drawn.max()) <= math.ceil(high) - 1
    assert times[1:].float().mean() == pytest.approx((num_timesteps - 1) / 2, rel=0.1, abs=0.1)


def test_each_image_has_its_own_timesteps_and_noise():
    data = dataset(1) * 30  # copies
    model = Knowing(torch.zeros(30, dtype=torch.long), limit=0)
    evaluation(data, 1000)(model)
    seen = model.seen[30:]
    assert len({t for _, t in seen}) > 300
    assert len({float(x[0, 0, 0]) for x, _ in seen}) == 600


def test_figures_do_not_depend_on_batches():
    data = dataset(10)

    class Net(Knowing):
        def forward(self, x, t, labels=None):
            return self.dropout(x.flatten(1)[:, :7] - t[:, None] / 100)

    model = Net(None, 0).train()
    figures = [evaluation(data, batch_size=size)(model) for size in (1, 3, 256)]
    for other in figures[1:]:
        assert other == pytest.approx(figures[0], rel=1e-6)
    assert evaluation(data, seed=1)(model) != figures[0]
    assert len(evaluation(data, max_images=4)) == 4


def test_a_loss_of_clean_images_is_of_clean_images():
    data = dataset(14)
    labels = torch.tensor([int(item["labels"]) for item in data])
    model = Knowing(labels, limit=1)
    figures = evaluation(data, noised=False)(model)
    assert figures["eval_loss"] == pytest.approx(math.log(1 + 6 * math.exp(-5)), rel=1e-5)
    by_noise = evaluation(data, noised=False).by_noise(model)
    assert by_noise.cross_entropy[-1] == pytest.approx(math.log(7))  # but noise is told of
    assert len(by_noise.accuracy) == 20 and by_noise.num_images == 14


def test_images_without_labels_are_refused():
    with pytest.raises(ValueError, match="no labels"):
        evaluation(dataset(3, labels=False))
