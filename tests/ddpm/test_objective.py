"""The objective: what an example gets depends on its number, and its step's history, alone."""

import pytest
import torch

from ddpm.denoisers import to_model_range
from ddpm.diffusion import GaussianDiffusion
from ddpm.objective import DiffusionObjective
from ddpm.schedules import cosine_schedule
from ddpm.timesteps import LossSecondMomentTimesteps

DIFFUSION = GaussianDiffusion(cosine_schedule(10), variance="learned_range", loss="vlb")
IMAGES = torch.randint(
    256, (64, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


class Numbered(dict):
    """A batch as a training loop gives it."""

    def __init__(self, numbers, global_batch_size, **more):
        super().__init__(images=IMAGES[torch.tensor(numbers) % 64], **more)
        self.example_numbers = torch.tensor(numbers)
        self.global_batch_size = global_batch_size


class Spy:
    """Remembers what it was shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, x, t, labels=None):
        for row in range(len(x)):
            self.seen.append((x[row], int(t[row]), None if labels is None else int(labels[row])))
        return torch.cat((x / 2, x / 3), dim=1)


def shown(micro_batches, **settings):
    spy = Spy()
    objective = DiffusionObjective(DIFFUSION, **settings)
    losses = [objective(spy, Numbered(numbers, 8))["loss"] for numbers in micro_batches]
    return spy.seen, torch.stack(losses)


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("resampled", [False, True])
def test_micro_batches_of_a_step_are_one_batch(resampled):
    def timesteps():
        return LossSecondMomentTimesteps(10, 1) if resampled else None

    steps = 12
    whole, loss = shown(
        [range(8 * s, 8 * s + 8) for s in range(steps)], random_flip=True, timesteps=timesteps()
    )
    parts, losses = shown(
        [range(2 * m, 2 * m + 2) for m in range(4 * steps)], random_flip=True, timesteps=timesteps()
    )
    assert same(whole, parts)
    torch.testing.assert_close(losses.view(steps, 4).mean(1), loss)


def test_another_seed_gives_other_noise_timesteps_and_flips():
    one, other = (shown([range(8)], seed=seed)[0] for seed in (0, 1))
    assert not any(torch.allclose(a[0], b[0]) for a, b in zip(one, other, strict=True))


def test_timesteps_of_a_step_are_spread_evenly_and_uniform_over_steps():
    seen, _ = shown([range(8 * s, 8 * s + 8) for s in range(400)])
    times = torch.tensor([t for _, t, _ in seen]).view(400, 8)
    for step in times:  # 10 timesteps, 8 samples: none twice
        assert len(set(step.tolist())) == 8
    shares = torch.bincount(times.flatten(), minlength=10) / 3200
    assert float((shares - 0.1).abs().max()) < 0.012
    shares = torch.bincount(times[:, 3], minlength=10) / 400  # also at each place of a batch
    assert float((shares - 0.1).abs().max()) < 0.06


def test_images_are_noised_as_the_process_says():
    objective = DiffusionObjective(DIFFUSION)
    residuals = []

    def model(x, t):
        bar = DIFFUSION.alphas_cumprod[t].view(-1, 1, 1, 1)
        clean = IMAGES[:8].double() / 127.5 - 1
        residuals.append((x - bar.sqrt() * clean) / (1 - bar).sqrt())
        return torch.zeros(len(x), 2, 4, 4)

    for epoch in range(100):  # the numbers go on, the images are the same
        objective(model, Numbered([64 * epoch + place for place in range(8)], 8))
    noise = torch.cat(residuals)
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.03
    assert len({float(each) for each in noise[:, 0, 0, 0]}) == 800


def test_half_of_the_images_are_mirrored():
    plain = DiffusionObjective(DIFFUSION)._images(IMAGES, list(range(64)))
    flipped = DiffusionObjective(DIFFUSION, random_flip=True)._images(IMAGES, list(range(64)))
    mirrored = [torch.equal(a.flip(-1), b) for a, b in zip(plain, flipped, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True)) and 20 < sum(mirrored) < 44


def test_labels_are_dropped_as_often_as_asked():
    spy = Spy()
    objective = DiffusionObjective(DIFFUSION, label_dropout=0.25, null_label=10)
    for step in range(100):
        objective(spy, Numbered(range(8 * step, 8 * step + 8), 8, labels=torch.arange(8)))
    dropped = [label == 10 for _, _, label in spy.seen]
    assert 150 < sum(dropped) < 250
    assert all(
        gone or label == place % 8
        for place, (gone, (_, _, label)) in enumerate(zip(dropped, spy.seen, strict=True))
    )


def test_resumed_it_goes_on_with_its_history(tmp_path):
    batches = [range(8 * s, 8 * s + 8) for s in range(30)]
    whole, _ = shown(batches, timesteps=LossSecondMomentTimesteps(10, 1))
    first = DiffusionObjective(DIFFUSION, timesteps=LossSecondMomentTimesteps(10, 1))
    spy = Spy()
    for numbers in batches[:17]:
        first(spy, Numbered(numbers, 8))
    torch.save(first.state_dict(), tmp_path / "objective.pt")
    second = DiffusionObjective(DIFFUSION, timesteps=LossSecondMomentTimesteps(10, 1))
    second.load_state_dict(torch.load(tmp_path / "objective.pt", weights_only=True))
    for numbers in batches[17:]:
        second(spy, Numbered(numbers, 8))
    assert same(whole, spy.seen)
    probabilities = second.timesteps.probabilities()
    # it had learned something to go on with
    assert float(probabilities.max() / probabilities.min()) > 3


def test_resampling_lowers_the_variance_of_the_bound():
    """After warm-up, a step's loss varies less than with uniform timesteps, and means the same."""
    diffusion = GaussianDiffusion(cosine_schedule(60), variance="learned_range", loss="vlb")
    spreads = []
    means = []
    for timesteps in (None, LossSecondMomentTimesteps(60, 5)):
        objective = DiffusionObjective(diffusion, timesteps=timesteps)
        found = []
        for step in range(300):
            batch = Numbered([8 * step + place for place in range(8)], 8)
            batch["images"] = IMAGES[:8]
            figures = objective(lambda x, t: torch.zeros(len(x), 2, 4, 4), batch)
            if step >= 100:
                found.append(float(figures["loss"]))
        spreads.append(torch.tensor(found).std())
        means.append(torch.tensor(found).mean())
    assert spreads[1] < spreads[0] / 2
    assert abs(means[0] - means[1]) < 4 * spreads[0] / 200**0.5


def test_the_losses_of_the_last_step_are_in_the_saved_history():
    objective = DiffusionObjective(DIFFUSION, timesteps=LossSecondMomentTimesteps(10, 2))
    for step in range(3):
        objective(Spy(), Numbered(range(8 * step, 8 * step + 8), 8))
    assert int(objective.state_dict()["counts"].sum()) == 24
    assert int(objective.state_dict()["counts"].sum()) == 24  # asking changes nothing


def test_timesteps_are_of_the_diffusion():
    with pytest.raises(ValueError, match="20 steps and the diffusion of 10"):
        DiffusionObjective(DIFFUSION, timesteps=LossSecondMomentTimesteps(20))


def test_floats_are_taken_as_they_are():
    batch = Numbered(range(8), 8)
    batch["images"] = IMAGES[:8].float() / 127.5 - 1
    loss = DiffusionObjective(DIFFUSION)(Spy(), batch)["loss"]
    torch.testing.assert_close(loss, shown([range(8)])[1][0])
    batch["images"] = IMAGES[:8].float()
    with pytest.raises(ValueError, match=r"expected \[-1, 1\]"):
        DiffusionObjective(DIFFUSION)(Spy(), batch)


def test_bad_settings():
    for settings in (
        {"label_dropout": 1.0, "null_label": 3},
        {"label_dropout": -0.1},
        {"label_dropout": 0.1},
    ):
        with pytest.raises(ValueError, match="label_dropout"):
            DiffusionObjective(DIFFUSION, **settings)


def test_a_condition_sees_the_flipped_images_and_streams_of_the_examples_alone():
    def run(micro_batches):
        seen = []

        def condition(model, images, generators):
            drawn = [float(torch.rand((), generator=each)) for each in generators]
            seen.extend(zip(images, drawn, strict=True))
            return lambda x, t, labels=None: torch.cat((x - images, x), dim=1)

        objective = DiffusionObjective(DIFFUSION, random_flip=True, condition=condition)
        bound = [objective(None, Numbered(numbers, 8))["loss"] for numbers in micro_batches]
        return seen, torch.stack(bound)

    whole, loss = run([range(8)])
    parts, losses = run([range(4), range(4, 8)])
    torch.testing.assert_close(losses.mean(), loss[0])
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one[0], other[0]) and one[1] == other[1]
    assert len({drawn for _, drawn in whole}) == 8
    stored = [to_model_range(image) for image in IMAGES[:8]]
    flipped = [
        torch.equal(image, kept.flip(-1)) for (image, _), kept in zip(whole, stored, strict=True)
    ]
    kept = [torch.equal(image, kept) for (image, _), kept in zip(whole, stored, strict=True)]
    assert any(flipped) and any(kept)
    assert all(one != other for one, other in zip(flipped, kept, strict=True))
    assert run([range(8)])[1] == loss and shown([range(8)], random_flip=True)[1] != loss
