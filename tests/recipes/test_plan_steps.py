"""plan_steps: what it measures is the library's by hand, and `generate` plans by what it leaves."""

import json
import math
import os
import re

import pytest
import torch

import ardm


def group_sizes(order):
    return torch.bincount(order[order >= 0]).tolist()


def without_times(folder):
    """What was saved, but for the clock and the machine."""
    content = (folder / "per_step_losses.json").read_text(encoding="utf-8")
    saved = json.loads(content, parse_constant=pytest.fail)
    budgets = [{**row, "seconds": 0} for row in saved["budgets"]]
    return {**saved, "date": "", "machine": "", "budgets": budgets}


def check_table(printed, report, losses):
    """What is printed is in the report, and is what plain formulas give."""
    pattern = r"^ +(\d+) +[\d.]+ +[\d.]+ +([\d.]+) +([+-][\d.]+) ± [\d.]+ "
    rows = re.findall(pattern, printed, re.MULTILINE)
    budgets = report["budgets"]
    assert [int(steps) for steps, *_ in rows] == [row["steps"] for row in budgets]
    chosen_on, held_out = (ardm.StepLosses(losses.sequence_nats[half::2]) for half in (0, 1))
    for (_, bits, extra), row in zip(rows, budgets, strict=True):
        plan = ardm.optimal_plan(chosen_on.nats, row["steps"])
        cost = ardm.plan_cost(held_out.nats, plan) / 32 / math.log(2)
        assert row["optimal_plan"] == plan
        assert row["bits_per_token"]["optimal"] == pytest.approx(cost, rel=1e-6)
        assert float(bits) == pytest.approx(cost, abs=5.1e-4)
        assert float(extra) == pytest.approx(row["extra_bits"]["optimal"], abs=5.1e-4)


def test_it_measures_a_model_that_then_plans_by_it(
    saved, model_folder, recipe, windows_of, numbered, capsys
):
    words = ["--model_name_or_path", model_folder, "--validation_file", saved.held_out_file]
    words = [*map(str, words), "--repeats", "1", "--seed", "3"]
    recipe("plan_steps").main(words)
    printed = capsys.readouterr().out
    assert printed.startswith("14 windows of 32 tokens, held_out.txt.\n")
    assert 'generation_config.json: generate(plan="optimal", steps=N) uses them for up' in printed
    for name in ("per_step_losses", "quality_against_steps"):
        assert (model_folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    report = without_times(model_folder)
    model, ids = windows_of(model_folder, saved.held_out)
    by_hand = ardm.measure_step_losses(model, ids, **numbered(ids, 3))
    losses = model.generation_config.per_step_losses
    assert losses == report["nats_per_token"] == pytest.approx(by_hand.nats.tolist(), rel=1e-6)
    assert report["standard_error"] == pytest.approx(by_hand.standard_error.tolist(), rel=1e-4)
    assert [report[name] for name in ("num_sequences", "data", "seed")] == [14, "held_out.txt", 3]
    assert [row["steps"] for row in report["budgets"]] == [1, 2, 4, 8, 16, 32]
    check_table(printed, report, by_hand)

    out = model.generate(plan="optimal", steps=8, seed=0, return_dict_in_generate=True)
    assert group_sizes(out.order[0]) == ardm.optimal_plan(losses, 8)
    assert out.num_forward_passes == 8
    again = recipe("plan_steps")
    again.plot_step_losses = again.plot_quality_against_steps = lambda *drawn: None
    again.main(words)
    assert without_times(model_folder) == report  # though the model now has losses of its own


def test_it_leaves_the_model_alone_where_it_writes_elsewhere(
    saved, tmp_path, recipe, windows_of, numbered
):
    def content():
        return {path.name: path.read_bytes() for path in saved.folder.iterdir()}

    before = content()
    folder = tmp_path / "a" / "plan"
    words = [*saved.words, "--repeats", 1, "--output_dir", folder, "--sequence_length", 7]
    words += ["--num_orders", 2, "--max_eval_windows", 40]  # more than are scored at once
    recipe("plan_steps").main([*map(str, words)])
    assert content() == before
    assert sorted(os.listdir(folder)) == [
        "generation_config.json",
        "per_step_losses.json",
        "per_step_losses.png",
        "quality_against_steps.png",
    ]
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    report = without_times(folder)
    model, ids = windows_of(saved.folder, saved.held_out, 7)
    by_hand = ardm.measure_step_losses(model, ids[:40], num_orders=2, **numbered(ids[:40]))
    assert report["nats_per_token"] == pytest.approx(by_hand.nats.tolist(), rel=1e-6)
    assert [row["steps"] for row in report["budgets"]] == [1, 2, 4, 7]


BAD = {
    "there are 3 windows of 32 tokens; expected at least 4": ["--max_eval_windows", 3],
    "max_windows is 0": ["--max_eval_windows", 0],
    "num_orders is 0": ["--num_orders", 0],
    "repeats is 0": ["--repeats", 0],
    r"sequence_length is 33; expected 1\.\.32": ["--sequence_length", 33],
    "no model can be loaded": ["--model_name_or_path", "{tmp}/nowhere"],
    "expected at least 32 for one window": ["--validation_file", "{tmp}/short.txt"],
    "written to": ["--output_dir", "{tmp}/short.txt/plan"],
}


@pytest.mark.parametrize("named", BAD)
def test_bad_input_is_named_before_the_network_is_called(
    saved, tmp_path, recipe, no_network, named
):
    (tmp_path / "short.txt").write_text("a dog")
    words = [str(word).replace("{tmp}", str(tmp_path)) for word in (*saved.words, *BAD[named])]
    before = sorted(os.listdir(saved.folder))
    with pytest.raises(ValueError, match=named):
        recipe("plan_steps").main(words)
    assert sorted(os.listdir(saved.folder)) == before


@pytest.mark.slow
def test_the_same_on_two_processes(saved, tmp_path, recipe, launched, close):
    words = [*saved.words, "--repeats", 1, "--sequence_length", 8, "--output_dir"]
    recipe("plan_steps").main([*map(str, words), str(tmp_path / "one")])
    done = launched("plan_steps", ["--num_processes", 2, "--cpu"], [*words, tmp_path / "two"])
    assert "28 windows" in done.stderr  # its share of 56
    one, two = (without_times(tmp_path / name) for name in ("one", "two"))
    assert one["num_sequences"] == 56 and close(two, one)
