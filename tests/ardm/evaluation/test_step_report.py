"""Plans are priced as a plain loop prices them, and a model's files hand its losses on whole."""

import json
import math
import os
import re
from itertools import combinations, pairwise

import pytest
import torch

from ardm import ARDMForMaskedLM, StepLosses, measure_step_losses, optimal_plan, plan_cost
from ardm.evaluation import (
    compare_plans,
    describe_plan,
    plot_quality_against_steps,
    plot_step_losses,
    save_step_losses,
    step_report,
    table,
)
from ardm.plans import cosine_plan, monotone_fit, uniform_plan
from ardm.training import png

KINDS = ("optimal", "cosine", "uniform")


def step_losses(num_sequences, length, seed=0, noise=0.3):
    """A falling curve of 3 to 0.5 nats, and every sequence's own noise around it."""
    falling = 0.5 + 2.5 * torch.linspace(1, 0, length, dtype=torch.float64) ** 3
    generator = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(num_sequences, length, dtype=torch.float64, generator=generator)
    return StepLosses(falling + noise * uniforms)


def smooth(losses):
    """The same mean curve without a rise: two sequences, 0.2 above and below it."""
    curve = torch.tensor(monotone_fit(losses.nats), dtype=torch.float64)
    return StepLosses(torch.stack((curve + 0.2, curve - 0.2)))


def compositions(length, steps):
    """All lists of `steps` positive numbers that sum to `length`."""
    for cuts in combinations(range(1, length), steps - 1):
        yield [after - before for before, after in pairwise((0, *cuts, length))]


def budgets(length):
    return [steps for steps in (1, 2, 4, 8, 16, 32, 64) if steps < length] + [length]


# ------------------------------------------------------------------------------------ compare_plans
@pytest.mark.parametrize("length", [1, 7, 32, 45])
def test_plans_are_priced_on_each_held_out_sequence(length):
    chosen_on, held_out = step_losses(4, length), step_losses(5, length, seed=1)
    for steps in budgets(length):
        row = compare_plans(steps, chosen_on, held_out)
        assert row["steps"] == steps
        assert [*row["bits_per_token"]] == [*row["extra_bits"]] == [*KINDS]
        assert row["optimal_plan"] == optimal_plan(chosen_on.nats, steps)
        plans = {"optimal": row["optimal_plan"], "cosine": cosine_plan(length, steps)}
        plans["uniform"] = uniform_plan(length, steps)
        for kind, plan in plans.items():
            assert sum(plan) == length and len(plan) == steps and min(plan) >= 1
            costs, extra = [], []
            for losses in held_out.sequence_nats.tolist():
                known, cost = 0, 0.0
                for size in plan:
                    cost, known = cost + size * losses[known], known + size
                costs.append(cost / length / math.log(2))
                extra.append((cost - sum(losses)) / length / math.log(2))
            mean = sum(extra) / 5
            error = math.sqrt(sum((value - mean) ** 2 for value in extra) / 4 / 5)
            found = [row[key][kind] for key in ("bits_per_token", "extra_bits", "standard_error")]
            assert found == pytest.approx([sum(costs) / 5, mean, error], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("length", [1, 7, 32])
def test_one_token_a_step_is_the_bound(length):
    held_out = step_losses(5, length, seed=1)
    row = compare_plans(length, step_losses(4, length), held_out)
    bound = float(held_out.sequence_nats.sum(1).mean()) / length / math.log(2)
    assert row["bits_per_token"] == pytest.approx(dict.fromkeys(KINDS, bound))
    assert row["extra_bits"] == row["standard_error"] == dict.fromkeys(KINDS, 0.0)
    assert row["optimal_plan"] == [1] * length


@pytest.mark.parametrize("length", [7, 32, 45])
def test_no_plan_beats_the_optimal_one_on_the_curve_it_was_chosen_on(length):
    losses = smooth(step_losses(3, length))
    bits = []
    for steps in range(1, length + 1):
        row = compare_plans(steps, losses, losses)
        cost = row["bits_per_token"]
        assert cost["optimal"] <= min(cost["cosine"], cost["uniform"]) + 1e-12
        assert row["extra_bits"]["optimal"] >= -1e-12
        if length == 7:
            best = min(plan_cost(losses.nats, plan) for plan in compositions(length, steps))
            assert cost["optimal"] == pytest.approx(best / length / math.log(2))
        bits.append(cost["optimal"])
    assert all(more <= fewer + 1e-12 for fewer, more in pairwise(bits)) and bits[0] > bits[-1] + 0.1


def test_the_plan_is_chosen_on_one_half_and_priced_on_the_other():
    early, late = torch.ones(2, 8, dtype=torch.float64), torch.ones(2, 8, dtype=torch.float64)
    early[:, 0], late[:, :7] = 9.0, 9.0  # one token known helps at once, or only the last one does
    row = compare_plans(2, StepLosses(early), StepLosses(late))
    assert row["optimal_plan"] == [1, 7]
    assert row["bits_per_token"]["optimal"] == pytest.approx(9 / math.log(2))
    other = compare_plans(2, StepLosses(late), StepLosses(early))
    assert other["optimal_plan"] == [7, 1]
    assert other["bits_per_token"]["optimal"] == pytest.approx(8 / math.log(2))


def test_a_single_held_out_sequence_has_no_error():
    row = compare_plans(2, step_losses(3, 7), step_losses(1, 7))
    assert all(math.isnan(error) for error in row["standard_error"].values())
    assert all(math.isfinite(value) for value in row["bits_per_token"].values())


@pytest.mark.parametrize("steps", [0, 8, -1])
def test_steps_that_there_cannot_be_are_refused(steps):
    with pytest.raises(ValueError, match=rf"steps is {steps}; expected .*1\.\.7"):
        compare_plans(steps, step_losses(2, 7), step_losses(2, 7))


def test_sequences_of_unequal_lengths_are_refused():
    ragged = step_losses(2, 7)
    ragged.sequence_nats[1, 5:] = math.nan
    with pytest.raises(ValueError, match="equal lengths"):
        compare_plans(2, step_losses(2, 7), ragged)
    with pytest.raises(ValueError, match="plan sums to 7; expected 6"):
        compare_plans(2, step_losses(2, 7), step_losses(2, 6))


# ------------------------------------------------------------------------------------------ as text
def parsed_plan(text):
    """The inverse of `describe_plan`."""
    return [
        int(size)
        for run in text.split()
        for times, size in [run.split("x")]
        for _ in range(int(times))
    ]


def test_a_described_plan_can_be_read_back():
    for length in range(1, 9):
        for steps in range(1, length + 1):
            for plan in compositions(length, steps):
                runs = describe_plan(plan).split(" ")
                assert parsed_plan(describe_plan(plan)) == plan
                sizes = [run.split("x")[1] for run in runs]
                assert all(before != after for before, after in pairwise(sizes))
    assert describe_plan([1] * 12 + [4, 4, 4]) == "12x1 3x4"


def rows_of(length, num_sequences=5):
    chosen_on, held_out = step_losses(4, length), step_losses(num_sequences, length, seed=1)
    return [
        {**compare_plans(k, chosen_on, held_out), "seconds": 0.0125 * k + 0.004}
        for k in budgets(length)
    ]


@pytest.mark.parametrize("length", [1, 45, 64])
def test_the_table_can_be_read_back(length):
    rows = rows_of(length)
    lines = table(rows, length).splitlines()
    header, body, plans = lines[1], lines[2 : 2 + len(rows)], lines[4 + len(rows) :]
    ends = [word.end() for word in re.finditer(r"\S+( \S+)*", header)]
    for row, line, plan in zip(rows, body, plans, strict=True):
        columns = re.findall(r"\S+(?: \S+)*", line)
        # each under its title
        assert [word.end() for word in re.finditer(r"\S+( \S+)*", line)] == ends
        steps, at_once, seconds, optimal, over, cosine, uniform = columns
        assert int(steps) == row["steps"]
        assert float(at_once) == pytest.approx(length / row["steps"], rel=1e-3)
        bits = row["bits_per_token"]
        expected = [row["seconds"], bits["optimal"], bits["cosine"], bits["uniform"]]
        assert [float(value) for value in (seconds, optimal, cosine, uniform)] == pytest.approx(
            expected, abs=5.1e-4
        )
        extra, error = over.split(" ± ")
        assert extra[0] in "+-"
        read = [row["extra_bits"]["optimal"], row["standard_error"]["optimal"]]
        assert [float(extra), float(error)] == pytest.approx(read, abs=5.1e-4)
        steps, described = plan.split(maxsplit=1)
        assert (int(steps), parsed_plan(described)) == (row["steps"], row["optimal_plan"])
    assert lines[2 + len(rows)] == "" and lines[3 + len(rows)].startswith("steps  optimal plan")


# -------------------------------------------------------------------------------------------- files
@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(scale=0.8)


@pytest.fixture(scope="module")
def measured(model):
    ids = torch.randint(0, 3, (6, 8), generator=torch.Generator().manual_seed(0))
    return measure_step_losses(model, ids, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path)
    return tmp_path


def strictly(path):
    """JSON as every reader takes it: Python's own also takes NaN and Infinity."""
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def group_sizes(order):
    """How many positions each step wrote, of a row of `ARDMGenerationOutput.order`."""
    return torch.bincount(order[order >= 0]).tolist()


def test_generate_plans_by_the_losses_in_the_models_folder(folder, model, measured):
    config = ARDMForMaskedLM.from_pretrained(folder).generation_config
    config.order = "confidence"
    save_step_losses(folder, config, measured, {"data": "a text"})
    loaded = ARDMForMaskedLM.from_pretrained(folder)
    assert loaded.generation_config.per_step_losses == measured.nats.tolist()  # to the last bit
    assert loaded.generation_config.order == "confidence"  # other settings stay
    masks = torch.full((2, 8), 3)
    plans = []
    for steps in range(1, 9):
        settings = {"plan": "optimal", "steps": steps, "return_dict_in_generate": True}
        out = loaded.generate(masks, seed=0, **settings)
        plans.append(optimal_plan(measured.nats, steps))
        assert [group_sizes(row) for row in out.order] == [plans[-1]] * 2
        assert out.num_forward_passes == steps
    assert any(plan != uniform_plan(8, steps) for steps, plan in enumerate(plans, 1))
    masks[1, :3] = torch.tensor([0, 2, 1])  # a row with less to write has the end of the curve
    out = loaded.generate(masks, plan="optimal", steps=3, seed=0, return_dict_in_generate=True)
    tail = optimal_plan(measured.nats[3:], 3)
    assert [group_sizes(row) for row in out.order] == [optimal_plan(measured.nats, 3), tail]
    assert torch.equal(
        loaded.generate(masks, seed=0), loaded.generate(masks, seed=0, tokens_per_step=1)
    )


def test_the_losses_lie_beside_it_with_their_errors_and_what_they_are_of(folder, model, measured):
    about = {"data": "naïve", "budgets": rows_of(7)}
    save_step_losses(folder, model.generation_config, measured, about)
    saved = strictly(folder / "per_step_losses.json")
    assert saved["nats_per_token"] == measured.nats.tolist() and saved["num_sequences"] == 6
    assert saved["standard_error"] == measured.standard_error.tolist()
    assert saved["data"] == "naïve" and saved["budgets"] == rows_of(7)


def test_unknown_errors_are_null(folder, model, measured):
    alone = StepLosses(measured.sequence_nats[:1])
    about = {"budgets": rows_of(7, num_sequences=1)}
    save_step_losses(folder, model.generation_config, alone, about)
    saved = strictly(folder / "per_step_losses.json")
    assert saved["standard_error"] == [None] * 8 and saved["nats_per_token"] == alone.nats.tolist()
    assert saved["budgets"][0]["standard_error"] == dict.fromkeys(KINDS)
    # unset settings stay unset
    assert None not in strictly(folder / "generation_config.json").values()


@pytest.mark.parametrize("failing", [1, 2])
def test_when_writing_fails_the_old_files_stay_whole(folder, model, measured, monkeypatch, failing):
    old = StepLosses(measured.sequence_nats + 1)
    save_step_losses(folder, model.generation_config, old, {"data": "old"})
    names, flush, calls = sorted(os.listdir(folder)), os.fsync, []

    def full_disk(descriptor):
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_step_losses(folder, model.generation_config, measured, {"data": "new"})
    assert sorted(os.listdir(folder)) == names
    assert strictly(folder / "per_step_losses.json")["data"] == ("old" if failing == 1 else "new")
    losses = ARDMForMaskedLM.from_pretrained(folder).generation_config.per_step_losses
    assert losses == old.nats.tolist()


# ----------------------------------------------------------------------------------------- pictures
@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written from now on."""
    figures = []

    def kept(figure):
        figures.append(figure)
        return png(figure)

    monkeypatch.setattr(step_report, "png", kept)
    return figures


def in_bits(nats):
    return pytest.approx([float(value) / math.log(2) for value in nats])


@pytest.mark.parametrize(("length", "num_sequences"), [(1, 1), (2, 5), (45, 1), (45, 5)])
def test_the_curve_is_drawn_with_its_error(tmp_path, drawn, length, num_sequences):
    losses = step_losses(num_sequences, length)
    path = tmp_path / "curve.png"
    plot_step_losses(losses.nats, losses.standard_error, path)
    assert path.read_bytes().startswith(b"\x89PNG") and os.listdir(tmp_path) == ["curve.png"]
    (axes,) = drawn[0].axes
    measured, fitted = axes.lines
    assert [*measured.get_xdata()] == [*fitted.get_xdata()] == [*range(length)]
    assert [*measured.get_ydata()] == in_bits(losses.nats)
    assert [*fitted.get_ydata()] == in_bits(monotone_fit(losses.nats))
    band = axes.collections[0].get_paths()[0].vertices
    for known, error in enumerate(losses.standard_error.nan_to_num()):  # one sequence has none
        heights = {float(height) for place, height in band if place == known}
        limits = [losses.nats[known] - error, losses.nats[known] + error]
        assert [min(heights), max(heights)] == in_bits(limits)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "num_sequences"), [(1, 5), (45, 5), (64, 1)])
def test_quality_and_time_are_drawn_against_steps(tmp_path, drawn, length, num_sequences):
    rows = rows_of(length, num_sequences)
    path = tmp_path / "quality.png"
    plot_quality_against_steps(rows, length, path, "a title")
    assert path.read_bytes().startswith(b"\x89PNG")
    bound, time = drawn[0].axes
    assert bound.get_title() == "a title"
    curves = {bars.get_label(): bars.lines[0] for bars in bound.containers}
    for kind in KINDS:
        curve = curves[f"{kind} plan"]
        assert [*curve.get_xdata()] == [row["steps"] for row in rows]
        assert [*curve.get_ydata()] == [row["bits_per_token"][kind] for row in rows]
    assert [*time.lines[0].get_ydata()] == [row["seconds"] for row in rows]
