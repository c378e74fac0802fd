"""Shares of the windows add up to what one process scores; figures are nats by what is counted."""

import logging
import math
import types

import accelerate
import pytest
import torch

from ardm import nelbo
from ardm.data import build_tokenizer, make_windows
from ardm.evaluation import BoundEvaluation, HeldOutWindows, write_samples
from ardm.metrics.bits import bits_per_unit, perplexity

PROCESSES = [(r, count) for count in (1, 2, 3, 7) for r in range(count)]


def rows(number, length=6, units=("num_characters", "num_bytes"), seed=0):
    ids = torch.randint(0, 3, (number, length), generator=torch.Generator().manual_seed(seed))
    counts = {"num_characters": torch.arange(number) + 3, "num_bytes": 2 * torch.arange(number) + 5}
    return [
        {"input_ids": row, **{name: counts[name][i] for name in units}} for i, row in enumerate(ids)
    ]


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model(scale=0.8)


def be_process(monkeypatch, index, number):
    """Process `index` of `number`, before the others' shares are added to its own."""

    def reduce(tensor, reduction):
        assert reduction == "sum"
        return tensor

    state = types.SimpleNamespace(
        process_index=index, num_processes=number, is_main_process=index == 0
    )
    monkeypatch.setattr(accelerate, "PartialState", lambda: state)
    monkeypatch.setattr(accelerate.utils, "reduce", reduce)


# ------------------------------------------------------------------------------------------- shares
@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("num_windows", [1, 5, 40])  # fewer than processes; several parts a process
def test_shares_partition_the_windows_and_sum_to_what_one_process_scores(
    monkeypatch, model, num_windows, number
):
    evaluate = BoundEvaluation(rows(num_windows), num_samples=2, seed=4)
    alone = evaluate.nats(model)
    shares = []
    for index in range(number):
        be_process(monkeypatch, index, number)
        shares.append(evaluate.nats(model))
    assert all(share.dtype == torch.float64 and share.shape == (num_windows,) for share in shares)
    owners = torch.stack([share != 0 for share in shares])  # a window's nats are never 0
    assert (owners.sum(0) == 1).all()
    assert owners.sum(1).max() - owners.sum(1).min() <= 1  # and nobody has more to do than another
    torch.testing.assert_close(torch.stack(shares).sum(0), alone, rtol=1e-6, atol=0)


def test_each_row_is_the_bound_of_the_window_with_its_number(monkeypatch, model):
    windows = rows(20)
    evaluate = BoundEvaluation(windows, num_samples=3, seed=9)
    be_process(monkeypatch, 1, 3)
    share = evaluate.nats(model)
    for number, row in enumerate(windows):
        source = torch.Generator().manual_seed(9)
        numbered = {"row_numbers": torch.tensor([number]), "generator": source}
        alone = nelbo(model, row["input_ids"][None], num_samples=3, **numbered).nats[0]
        expected = alone if number % 3 == 1 else 0.0
        assert float(share[number]) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(("index", "number"), PROCESSES)
def test_nats_may_have_any_shape_and_sees_each_window_once(monkeypatch, model, index, number):
    windows, seen = HeldOutWindows(rows(50)), []

    def nats_of(given, input_ids, numbers):
        assert given is model and input_ids.dtype == numbers.dtype == torch.int64
        assert torch.equal(input_ids, windows.input_ids[numbers])
        seen.extend(numbers.tolist())
        return torch.stack((numbers, input_ids.sum(1), 7 * numbers), 1)[:, None].double()

    be_process(monkeypatch, index, number)
    out = windows.measure(model, nats_of, (1, 3))
    assert seen == list(range(index, 50, number))
    expected = torch.zeros(50, 1, 3, dtype=torch.float64)
    for i in seen:
        expected[i, 0] = torch.tensor([i, int(windows.input_ids[i].sum()), 7 * i])
    assert torch.equal(out, expected)


def test_a_process_without_windows_still_takes_part(monkeypatch, model):
    be_process(monkeypatch, 6, 7)
    out = HeldOutWindows(rows(5)).measure(model, None, (2,))  # nothing is called
    assert torch.equal(out, torch.zeros(5, 2, dtype=torch.float64))


def test_the_first_windows_alone_are_read():
    read = []
    stream = (read.append(i) or row for i, row in enumerate(rows(10)))
    windows = HeldOutWindows(stream, max_windows=4)
    assert len(windows) == 4 and read == [0, 1, 2, 3]
    assert torch.equal(windows.input_ids, torch.stack([row["input_ids"] for row in rows(10)[:4]]))
    assert windows.units["num_bytes"].tolist() == [5, 7, 9, 11]
    assert len(HeldOutWindows(rows(10), 100)) == len(HeldOutWindows(rows(10))) == 10
    assert windows.sequence_length == 6


def test_nothing_to_score_is_refused():
    for wrong in (0, -3):
        with pytest.raises(
            ValueError, match=f"max_windows is {wrong}; expected an integer of at least 1"
        ):
            HeldOutWindows(rows(3), wrong)
    with pytest.raises(ValueError, match="no windows to score"):
        BoundEvaluation([])


# ------------------------------------------------------------------------------------------ figures
@pytest.fixture
def text_windows(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    text = "naïve café – 日本 😀 and plain words. " * 7
    tokenizer = build_tokenizer("char", [text])
    return text, make_windows(datasets.Dataset.from_list([{"text": text}]), tokenizer, 20)


def test_figures_divide_the_nats_by_what_the_windows_stand_for(text_windows):
    text, made = text_windows
    windows = HeldOutWindows(made)
    nats = torch.rand(len(windows), dtype=torch.float64) * 50 + 10
    figures = windows.figures(nats)
    read = text[: 20 * len(windows)]
    assert len(read.encode()) > len(read) > 100
    total = float(nats.sum()) / math.log(2)
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(
        {
            "bits per token": total / len(read),
            "bits per character": total / len(read),
            "bits per byte": total / len(read.encode()),
            "perplexity per token": 2 ** (total / len(read)),
        }
    )
    num_bytes = torch.tensor([len(read[i : i + 20].encode()) for i in range(0, len(read), 20)])
    tokens = torch.full((len(windows),), 20)
    assert num_bytes.unique().numel() > 1
    assert figures["bits per byte"] == pytest.approx(bits_per_unit(nats, num_bytes))
    assert figures["bits per character"] == pytest.approx(bits_per_unit(nats, tokens))
    assert figures["perplexity per token"] == pytest.approx(perplexity(nats, tokens))
    assert all(
        figure.interval[0] < figure.value < figure.interval[1] for figure in figures.values()
    )


@pytest.mark.parametrize(
    "units", [(), ("num_characters",), ("num_bytes",), ("num_characters", "num_bytes")]
)
def test_units_that_were_not_counted_have_no_figure(units):
    figures = HeldOutWindows(rows(5, units=units)).figures(torch.rand(5, dtype=torch.float64))
    counted = [f"bits per {name.removeprefix('num_').removesuffix('s')}" for name in units]
    assert [*figures] == ["bits per token", *counted, "perplexity per token"]


@pytest.mark.parametrize("name", ["num_unknown", "num_changed"])
def test_what_the_tokens_do_not_tell_leaves_figures_by_token_alone(model, name):
    told = rows(5)
    untold = [{**row, name: 2 if number == 3 else 0} for number, row in enumerate(told)]
    nats = torch.rand(5, dtype=torch.float64)
    windows = BoundEvaluation(untold)
    assert windows.lost.num_characters == sum(int(row["num_characters"]) for row in told)
    assert "2 (8 %)" in windows.lost.refusal
    assert [*windows.figures(nats)] == ["bits per token", "perplexity per token"]
    assert (
        windows.figures(nats)["bits per token"]
        == HeldOutWindows(told).figures(nats)["bits per token"]
    )
    logged = windows(model)
    share = {"num_unknown": "unknown_share", "num_changed": "changed_share"}[name]
    assert logged[share] == 2 / 25 and "bits_per_character" not in logged
    assert logged["eval_loss"] == BoundEvaluation(told)(model)["eval_loss"]
    without = HeldOutWindows(untold, 3)  # the windows that are scored count, not the others
    assert not without.lost and "bits per character" in without.figures(nats[:3])


def test_one_window_has_no_interval():
    for figure in HeldOutWindows(rows(1)).figures(torch.tensor([3.0])).values():
        assert math.isfinite(figure.value) and math.isnan(figure.standard_error)


# ---------------------------------------------------------------------------------- BoundEvaluation
def test_what_a_run_logs(model):
    windows = rows(12)
    evaluate = BoundEvaluation(windows, num_samples=2, seed=3)
    logged = evaluate(model)
    nats = evaluate.nats(model)
    characters = torch.tensor([int(row["num_characters"]) for row in windows])
    assert [*logged] == [
        "eval_loss",
        "eval_standard_error",
        "bits_per_character",
        "bits_per_character_standard_error",
    ]
    assert logged["eval_loss"] == pytest.approx(float(nats.mean()) / 6)
    assert logged["eval_standard_error"] == pytest.approx(float(nats.std()) / 6 / math.sqrt(12))
    assert logged["bits_per_character"] == pytest.approx(
        float(nats.sum() / characters.sum()) / math.log(2)
    )
    error = bits_per_unit(nats, characters).standard_error
    assert logged["bits_per_character_standard_error"] == pytest.approx(error)


def test_the_same_masks_each_time_and_others_for_another_seed(model):
    evaluate = BoundEvaluation(rows(12), num_samples=2, seed=3)
    first = evaluate.nats(model)
    torch.rand(5)  # what else draws random numbers does not matter
    assert torch.equal(evaluate.nats(model), first)
    other = BoundEvaluation(rows(12), num_samples=2, seed=4).nats(model)
    assert not torch.isclose(other, first, rtol=1e-4).any()


def test_the_number_of_draws_can_be_another_for_once(model):
    few = BoundEvaluation(rows(6), num_samples=2)
    for number in (8, "all"):
        many = BoundEvaluation(rows(6), num_samples=number)
        torch.testing.assert_close(few.nats(model, number), many.nats(model), rtol=1e-12, atol=0)
        assert few(model, number) == pytest.approx(many(model), rel=1e-12)
    assert few.num_samples == 2
    with pytest.raises(ValueError, match="num_samples is 0"):
        few(model, 0)


def test_the_model_is_scored_without_dropout_and_left_as_it_was(tiny_model):
    model = tiny_model(hidden_dropout=0.5)
    evaluate = BoundEvaluation(rows(6))
    quiet = evaluate.nats(model)
    model.train()
    model.get_input_embeddings().eval()
    before = [module.training for module in model.modules()]
    assert torch.equal(evaluate.nats(model), quiet)
    assert [module.training for module in model.modules()] == before and len({*before}) == 2


# ----------------------------------------------------------------------------------------- how many
def logged_lines(caplog, number, shown=True):
    caplog.clear()
    model = torch.nn.Linear(1, 1)
    with caplog.at_level(logging.INFO, logger="ardm.training.processes"):
        score = lambda model, input_ids, numbers: numbers.double()  # noqa: E731
        HeldOutWindows(rows(number)).measure(model, score, show_progress=shown)
    return [record.getMessage() for record in caplog.records]


def test_without_a_terminal_each_quarter_is_a_line_of_the_log(caplog, capsys, monkeypatch):
    # a recipe that ran before writes to a stream that is closed
    for name in ("ardm", ""):
        kept = [h for h in logging.getLogger(name).handlers if type(h) is not logging.StreamHandler]
        monkeypatch.setattr(logging.getLogger(name), "handlers", kept)
    told = logged_lines(caplog, 100)  # 16 at a time
    told = [line.partition(", ")[0] for line in told]  # and how fast
    assert told == [f"scored {done} of this process's 100 windows" for done in (32, 64, 80)]
    assert logged_lines(caplog, 16) == []
    assert logged_lines(caplog, 100, shown=False) == []
    assert capsys.readouterr().err == ""  # no bar


@pytest.mark.parametrize(
    ("num_windows", "number", "expected"),
    [(5, 1, [5]), (40, 1, [16, 16, 8]), (801, 1, [17] * 47 + [2]), (1600, 2, [16] * 50)],
)
def test_at_most_fifty_parts_of_at_least_16_windows(
    monkeypatch, model, num_windows, number, expected
):
    seen = []

    def score(model, input_ids, numbers):
        seen.append(len(numbers))
        return numbers.double()

    be_process(monkeypatch, 0, number)
    HeldOutWindows(rows(num_windows)).measure(model, score)
    assert seen == expected


# ------------------------------------------------------------------------------------------ samples
def test_samples_are_those_of_generate_and_the_middle_third_is_filled_in(tiny_model):
    tokenizer = build_tokenizer("char", ["abcd "])
    ids = {"vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id}
    model = tiny_model(**ids, pad_token_id=tokenizer.pad_token_id, max_position_embeddings=9)
    passage = tokenizer("dcba abcd", return_tensors="pt").input_ids[0]
    before = passage.clone()
    samples, filled = write_samples(model, tokenizer, passage, num_samples=2, seed=5)
    written = model.generate(order="random", num_return_sequences=2, seed=5)
    assert samples == tokenizer.batch_decode(written)
    assert len({*samples}) == 2
    assert filled.startswith("dcb[[") and filled.endswith("]]bcd")
    gap = torch.cat((passage[:3], torch.full((3,), tokenizer.mask_token_id), passage[6:]))[None]
    assert filled[5:-5] == tokenizer.decode(model.generate(gap, seed=6)[0, 3:6])
    assert tokenizer.mask_token not in filled and torch.equal(passage, before)
    assert write_samples(model, tokenizer, passage, num_samples=2, seed=5) == (samples, filled)


def test_what_was_generated_ends_before_its_first_eos(tiny_model, monkeypatch):
    tokenizer = build_tokenizer("char", ["abcd "])
    tokenizer.add_special_tokens({"eos_token": "[EOS]"})
    ids = {"vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id}
    model = tiny_model(**ids, pad_token_id=tokenizer.pad_token_id, eos_token_id=len(tokenizer) - 1)
    passage = tokenizer("dcba abcd", return_tensors="pt").input_ids[0]
    texts = ["abc[EOS][PAD][PAD][PAD][PAD][PAD]", "dcb[EOS][PAD][PAD]bcd"]
    written = iter(tokenizer(text, return_tensors="pt").input_ids for text in texts)
    monkeypatch.setattr(type(model), "generate", lambda *args, **options: next(written))
    assert write_samples(model, tokenizer, passage, num_samples=1) == (["abc"], "dcb[[]]bcd")
