"""evaluate_ardm: its figures are those of the library on windows cut by hand."""

import contextlib
import io
import json
import math
import os
import re

import pytest

import ardm


@pytest.fixture
def evaluated(recipe, tmp_path):
    """What is written to the file; what is printed says the same."""

    def evaluated(*words):
        file = tmp_path / "figures" / "figures.json"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            recipe("evaluate_ardm").main([*map(str, words), "--output_file", str(file)])
        report = json.loads(file.read_text(encoding="utf-8"), parse_constant=pytest.fail)
        check_printed(printed.getvalue(), report)
        return report

    return evaluated


def check_printed(printed, report):
    head, *lines = printed.splitlines()
    windows = f"{report['num_windows']} windows of {report['sequence_length']} tokens"
    read = f"{report['num_characters']:,} characters"
    assert head == f"{report['what']}: {windows} ({read}), {report['data']}"
    assert len(lines) == len(report["figures"])
    for line, (unit, figure) in zip(lines, report["figures"].items(), strict=True):
        value, text = re.fullmatch(rf"  ([\d.]+) {unit}, (.*) \({report['kind']}\)", line).groups()
        rounded = 0.51 * 10 ** -len(value.partition(".")[2])
        assert float(value) == pytest.approx(figure["value"], abs=rounded)
        assert ("no interval known" in text) == (figure["standard_error"] is None)


def assert_figures(report, nats, text):
    """Those of the windows' nats by hand, of a text whose every character is a token."""
    read = text[: nats.numel() * report["sequence_length"]]
    total = float(nats.sum()) / math.log(2)
    figures = report["figures"]
    assert (report["num_windows"], report["num_characters"]) == (len(nats), len(read))
    expected = {
        "bits per token": total / len(read),
        "bits per character": total / len(read),
        "bits per byte": total / len(read.encode()),
        "perplexity per token": 2 ** (total / len(read)),
    }
    found = {unit: figure["value"] for unit, figure in figures.items()}
    assert found == pytest.approx(expected, rel=1e-6)
    error = float(nats.std()) / math.sqrt(len(nats)) / report["sequence_length"] / math.log(2)
    assert figures["bits per token"]["standard_error"] == pytest.approx(error, rel=1e-4)
    low, high = figures["bits per token"]["interval"]
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=1e-4)
    assert len(read.encode()) > len(read)


@pytest.mark.parametrize("num_samples", [8, 3, "all"])
def test_the_bound_of_the_windows(saved, evaluated, windows_of, numbered, num_samples):
    words = [*saved.words, "--seed", 5]
    report = evaluated(*words, *([] if num_samples == 8 else ["--num_samples", num_samples]))
    model, ids = windows_of(saved.folder, saved.held_out)
    bound = ardm.nelbo(model, ids, num_samples=num_samples, **numbered(ids, 5))
    assert_figures(report, bound.nats, saved.held_out)
    assert (report["kind"], report["data"]) == ("upper bound", "held_out.txt")
    assert report["what"] == "NELBO over all orders"
    assert (report["num_samples"], report["seed"]) == (num_samples, 5)
    again = evaluated(*words, "--num_samples", num_samples)
    assert {**again, "seconds": 0} == {**report, "seconds": 0}


@pytest.mark.parametrize(
    ("order", "steps"),
    [("left_to_right", None), ("right_to_left", 3), ("confidence", None), ("confidence", 8)],
)
def test_the_exact_likelihood_in_one_order(saved, evaluated, windows_of, order, steps):
    asked = ["--order", order] if steps is None else ["--order", order, "--steps", steps]
    report = evaluated(*saved.words, *asked)
    model, ids = windows_of(saved.folder, saved.held_out)
    plan = {None: None, 3: [10, 11, 11], 8: [4] * 8}[steps]
    assert_figures(report, -ardm.log_prob(model, ids, order, plan=plan), saved.held_out)
    assert (report["kind"], report["num_samples"]) == ("exact", None)
    how = "one token at a time" if steps is None else f"in {steps} steps"
    assert report["what"] == f"-log p, {order}, {how}"


def test_the_end_of_the_training_text_in_shorter_and_fewer_windows(
    saved, evaluated, windows_of, numbered
):
    own = ["--model_name_or_path", saved.folder, "--train_file", saved.train_file]
    own += ["--validation_fraction", 0.1]
    report = evaluated(*own, "--sequence_length", 20, "--max_eval_windows", 7)
    end = saved.text[-round(len(saved.text) / 10) :]
    model, ids = windows_of(saved.folder, end, 20)
    assert_figures(report, ardm.nelbo(model, ids[:7], **numbered(ids[:7])).nats, end)
    assert report["data"] == "held-out part of text.txt"
    one = evaluated(*own, "--max_eval_windows", 1)
    assert all(figure["interval"] == [None, None] for figure in one["figures"].values())


NUM_SAMPLES = "expected an integer of at least 1 or 'all'"
BAD = {
    "steps is 4 without an order": ["--steps", 4],
    r"steps is 33; expected .*1\.\.32": ["--order", "confidence", "--steps", 33],
    r"steps is 0; expected .*1\.\.32": ["--order", "left_to_right", "--steps", 0],
    # and so before the text is read
    f"num_samples is 0; {NUM_SAMPLES}": ["--num_samples", 0, "--validation_file", "{tmp}/gone.txt"],
    f"num_samples is 'few'; {NUM_SAMPLES}": ["--num_samples", "few"],
    "num_samples is 4 with an order": ["--num_samples", 4, "--order", "confidence"],
    "max_windows is 0": ["--max_eval_windows", 0],
    r"sequence_length is 33; expected 1\.\.32": ["--sequence_length", 33],
    "sequence_length is 0": ["--sequence_length", 0],
    "no model can be loaded": ["--model_name_or_path", "{tmp}/nowhere"],
    "gone.txt": ["--validation_file", "{tmp}/gone.txt"],
    "expected at least 32 for one window": ["--validation_file", "{tmp}/short.txt"],
    "written to": ["--output_file", "{tmp}/short.txt/figures.json"],
}


@pytest.mark.parametrize("named", BAD)
def test_bad_input_is_named_before_the_network_is_called(
    saved, tmp_path, recipe, no_network, named
):
    (tmp_path / "short.txt").write_text("a dog")
    words = [str(word).replace("{tmp}", str(tmp_path)) for word in (*saved.words, *BAD[named])]
    before = sorted(os.listdir(saved.folder))
    with pytest.raises(ValueError, match=named):
        recipe("evaluate_ardm").main(words)
    assert sorted(os.listdir(saved.folder)) == before


@pytest.mark.slow
@pytest.mark.parametrize("asked", [["--num_samples", 2], ["--order", "confidence"]])
def test_the_same_figures_on_two_processes(saved, tmp_path, evaluated, launched, close, asked):
    long = tmp_path / "long.txt"
    long.write_text(saved.held_out * 5, encoding="utf-8")
    words = [*saved.words, "--validation_file", long, *asked]
    one = evaluated(*words)
    two = ["--num_processes", 2, "--cpu"]
    done = launched("evaluate_ardm", two, [*words, "--output_file", tmp_path / "two.json"])
    shared = json.loads((tmp_path / "two.json").read_text(encoding="utf-8"))
    assert one["num_windows"] == 70
    assert "scored 16 of this process's 35 windows" in done.stderr  # there were two
    assert done.stdout.count("bits per token") == 1  # and one of them spoke
    assert close(shared, one) and not close({**shared, "num_windows": 71}, one)
