"""The training objective: the bound without weights, a curriculum that ends at the bound."""

import pytest
import torch

from ardm.id_checks import IGNORED
from ardm.masking import keyed_random_ratio_mask
from ardm.objective import RandomRatioObjective, ratio_weights
from ardm.training import Batch

LENGTH, MASK = 6, 4


class Recorder(torch.nn.Module):
    """A model with fixed logits that remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(
            torch.randn(LENGTH, 5, generator=torch.Generator().manual_seed(0))
        )

    def forward(self, input_ids, attention_mask=None, logits_positions=None):
        self.input_ids = input_ids
        return type(
            "Output", (), {"logits": self.table.expand(len(input_ids), -1, -1)[logits_positions]}
        )


def batch_of(progress=0.0, **extra):
    ids = torch.arange(8 * LENGTH).reshape(8, LENGTH) % 4
    return Batch({"input_ids": ids, **extra}, torch.arange(16, 24), 8, progress)


def test_without_weights_the_loss_is_the_mean_over_rows_of_the_mean_over_masked_tokens():
    model, batch = Recorder(), batch_of()
    got = RandomRatioObjective(MASK, seed=3)(model, batch)
    _, labels = keyed_random_ratio_mask(
        batch["input_ids"], MASK, batch.example_numbers, seed=3, global_batch_size=8
    )
    expected = []
    for row in labels:
        nats = [-model.table[p].log_softmax(0)[row[p]] for p in range(LENGTH) if row[p] != IGNORED]
        expected.append(torch.stack(nats).mean())
    torch.testing.assert_close(got["loss"], torch.stack(expected).mean())
    torch.testing.assert_close(got["nats_per_token"], got["loss"])


def test_weight_power_one_counts_every_masked_token_alike():
    model, batch = Recorder(), batch_of()
    got = RandomRatioObjective(MASK, weight_power=1.0)(model, batch)["loss"]
    _, labels = keyed_random_ratio_mask(
        batch["input_ids"], MASK, batch.example_numbers, seed=0, global_batch_size=8
    )
    logits = model.table.expand(8, -1, -1)[labels != IGNORED]
    summed = torch.nn.functional.cross_entropy(logits, labels[labels != IGNORED], reduction="sum")
    torch.testing.assert_close(got, 2 * summed / (8 * LENGTH))  # (1 + p) * sum / (rows * maskable)


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 0.5), (0.4, 0.5), (0.6, 0.75), (0.8, 1.0), (1.0, 1.0)]
)
def test_the_curriculum_rises_from_start_to_one(progress, expected):
    assert RandomRatioObjective(MASK, start_ratio=0.5).max_ratio(progress) == pytest.approx(
        expected
    )


def test_no_more_than_the_highest_ratio_is_masked():
    model = Recorder()
    RandomRatioObjective(MASK, start_ratio=0.5)(model, batch_of())
    counts = (model.input_ids == MASK).sum(1)
    assert counts.min() >= 1 and counts.max() <= LENGTH // 2


def test_prompt_and_padding_are_never_masked_and_outside_the_ratio():
    prompt = torch.zeros(8, LENGTH, dtype=torch.long)
    prompt[:, :2] = 1
    real = torch.ones(8, LENGTH, dtype=torch.long)
    real[:, -1] = 0
    model = Recorder()
    weighted = RandomRatioObjective(MASK, weight_power=1.0)
    loss = weighted(model, batch_of(prompt_mask=prompt, attention_mask=real))["loss"]
    masked = model.input_ids == MASK
    assert not masked[:, :2].any() and not masked[:, -1].any()
    assert masked.sum(1).max() == 3 and loss.isfinite()


@pytest.mark.parametrize(
    "wrong", [{"start_ratio": 0.0}, {"start_ratio": 1.1}, {"ramp": (0.8, 0.4)}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RandomRatioObjective(MASK, **wrong)


def test_the_sum_over_micro_batches_does_not_depend_on_the_split():
    """Rows of different lengths: the gradient of 1 x 8, 2 x 4 and 8 x 1 is the same."""
    lengths = torch.tensor([6, 1, 3, 6, 2, 5, 4, 2])
    real = (torch.arange(LENGTH) < lengths[:, None]).long()
    given = torch.zeros_like(real)
    given[7] = 1  # a row of which nothing is asked
    whole = batch_of(attention_mask=real, prompt_mask=given)
    gradients = []
    for size in (8, 4, 1):
        model = Recorder()
        for begin in range(0, 8, size):
            rows = slice(begin, begin + size)
            part = Batch(
                {k: v[rows] for k, v in whole.items()}, whole.example_numbers[rows], 8, 0.0
            )
            (RandomRatioObjective(MASK)(model, part)["loss"] * size / 8).backward()
        gradients.append(model.table.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


def test_a_row_of_padding_alone_is_refused():
    real = torch.ones(8, LENGTH, dtype=torch.long)
    real[3] = 0
    with pytest.raises(ValueError, match="0 all over row 3"):
        RandomRatioObjective(MASK)(Recorder(), batch_of(attention_mask=real))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("max_ratio", [1.0, 0.3])
def test_ratio_weights_have_mean_one(power, max_ratio):
    ratios = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000 * max_ratio
    weights = ratio_weights(ratios, power, max_ratio)
    assert abs(float(weights.mean()) - 1) < 1e-4
    assert power == 0 or (weights.diff() > 0).all()
