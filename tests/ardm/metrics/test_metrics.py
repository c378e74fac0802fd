"""The metric of the `evaluate` library: its folder loads offline and gives the plain figures."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import evaluate
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import ardm.metrics
from ardm.data.tokenization import build_tokenizer
from ardm.metrics.bits import bits_per_unit, perplexity
from ardm.metrics.generative_perplexity import generative_perplexity
from ardm.metrics.metrics import FIGURES
from ardm.metrics.sample_statistics import sample_statistics

FOLDER = ardm.metrics.__path__[0]
NATS = [60.0, 130.5, 20.25]
UNITS = [40, 90, 12]
IDS = torch.arange(10).view(2, 5) % 3
BOUNDS = {
    "bits_per_token": ("num_tokens", bits_per_unit),
    "bits_per_character": ("num_characters", bits_per_unit),
    "bits_per_byte": ("num_bytes", bits_per_unit),
    "perplexity": ("num_tokens", perplexity),
}


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory):
    """evaluate's caches: empty, not in the home directory, and with no network to fill them."""
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", folder / "modules")
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", folder / "metrics")
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(socket.socket, "connect", refuse)
        yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


def refuse(*args, **kwargs):
    raise AssertionError("the network was asked")


def load(*args, **kwargs):
    return evaluate.load(FOLDER, *args, **kwargs)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_gives_the_figure_of_the_plain_function(name):
    count, formula = BOUNDS[name]
    expected = formula(torch.tensor(NATS), torch.tensor(UNITS))
    results = load(name).compute(nats=NATS, **{count: UNITS})
    assert (results["value"], results["standard_error"]) == expected
    assert (results["interval_low"], results["interval_high"]) == expected.interval
    assert results["kind"] == "upper bound"
    assert results["unit"].replace(" ", "_").startswith(name)


def test_tensors_arrive_in_full_precision():
    nats = torch.tensor([1 / 3, 2 / 7], dtype=torch.float64)
    results = load("bits_per_token").compute(nats=nats, num_tokens=torch.tensor([3, 4]))
    assert results["value"] == bits_per_unit(nats, torch.tensor([3, 4])).value


def test_batches_are_joined():
    metric = load("bits_per_character")
    metric.add_batch(nats=NATS[:1], num_characters=UNITS[:1])
    metric.add_batch(nats=NATS[1:], num_characters=UNITS[1:])
    assert metric.compute() == load("bits_per_character").compute(nats=NATS, num_characters=UNITS)


@pytest.mark.parametrize("name", ["bits_per_character", "bits_per_byte"])
@pytest.mark.parametrize("untold", ["num_unknown", "num_changed"])
def test_characters_that_the_tokens_do_not_tell_are_refused(name, untold):
    columns = {"nats": NATS, BOUNDS[name][0]: UNITS}
    plain = load(name).compute(**columns)
    assert load(name).compute(**columns, **{untold: [0, 0, 0]}) == plain
    for counts in ([0, 2, 0], torch.tensor([0, 2, 0]), 2):
        with pytest.raises(ValueError, match=f"{untold} is 2; expected 0 for bits per"):
            load(name).compute(**columns, **{untold: counts})


def test_without_a_configuration_it_is_bits_per_token():
    assert load().compute(nats=NATS, num_tokens=UNITS)["unit"] == "bits per token"


def test_a_single_sequence_has_no_interval():
    results = load("bits_per_byte").compute(nats=[3.0], num_bytes=[2])
    assert math.isnan(results["standard_error"]) and math.isnan(results["interval_low"])


# ------------------------------------------------------------------------------------- the folder
@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """What an interpreter of its own finds, without network and with empty caches."""
    code = """
import json, sys
from ardm.metrics import bits_per_unit, generative_perplexity
early = sorted({"evaluate", "datasets"} & set(sys.modules))
import evaluate
metrics = [evaluate.load(sys.argv[1], name) for name in sys.argv[2:]]
files = {metric.config_name: sys.modules[type(metric).__module__].__file__ for metric in metrics}
print(json.dumps({"early": early, "files": files}))
"""
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-c", code, FOLDER, *FIGURES]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return {"home": home, **json.loads(done.stdout)}


@pytest.mark.slow
def test_every_configuration_loads_offline_into_an_empty_cache(fresh):
    assert list(fresh["files"]) == list(FIGURES)
    assert all(Path(file).is_relative_to(fresh["home"]) for file in fresh["files"].values())


@pytest.mark.slow  # an interpreter of its own
def test_plain_functions_need_neither_evaluate_nor_datasets(fresh):
    assert fresh["early"] == []


def test_the_path_in_a_checkout_is_enough(monkeypatch):
    monkeypatch.chdir(Path(FOLDER).parents[1])
    metric = evaluate.load("ardm/metrics", "perplexity")
    assert metric.compute(nats=NATS, num_tokens=UNITS)["value"] > 1


@pytest.mark.parametrize("name", FIGURES)
def test_a_copy_of_the_folder_loads_as_well(name, tmp_path):
    copy = shutil.copytree(FOLDER, tmp_path / "metrics")
    assert evaluate.load(str(copy), name).inputs_description == FIGURES[name].usage


def test_what_evaluate_copies_is_whole_and_in_the_cache_that_was_named(caches):
    module = sys.modules[type(load()).__module__]
    folder = Path(module.__file__).parent
    assert folder.is_relative_to(caches / "modules")
    written = {path.name for path in Path(FOLDER).glob("*.py")}
    assert {path.name for path in folder.glob("*.py")} == written
    reached = {getattr(value, "__module__", None) for value in vars(module).values()}
    assert not any(str(name).startswith("ardm") for name in reached)


# ------------------------------------------------------------------------------------ the samples
@pytest.mark.parametrize(
    ("predictions", "options", "samples"),
    [
        (["a b a", "c d e f g"], {}, [["a", "b", "a"], ["c", "d", "e", "f", "g"]]),
        (["abca", "bc"], {"tokenizer": list}, [list("abca"), list("bc")]),
        ([[1, 2, 1, 1, 5], [3]], {}, [[1, 2, 1, 1, 5], [3]]),
        (IDS, {"self_bleu_order": 2}, IDS.tolist()),
    ],
)
def test_sample_statistics_take_texts_or_ids(predictions, options, samples):
    expected = sample_statistics(samples, self_bleu_order=options.get("self_bleu_order"))
    assert load("sample_statistics").compute(predictions=predictions, **options) == pytest.approx(
        expected, nan_ok=True
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("scorer")
    sizes = {"n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 16}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=8, bos_token_id=None, eos_token_id=None, **sizes))
    model.save_pretrained(path)
    build_tokenizer("char", "abcd ").save_pretrained(path)
    return str(path)


def test_generative_perplexity_of_a_named_scorer(folder):
    texts = ["abcd aaaa", "bad cabab"]
    real = ["abcd dcba", "dab bcadc"]
    results = load("generative_perplexity").compute(
        predictions=texts, model_name_or_path=folder, reference_texts=real
    )
    expected = generative_perplexity(texts, folder, reference_texts=real)
    assert (results["value"], results["standard_error"]) == expected.perplexity
    assert (results["interval_low"], results["interval_high"]) == expected.perplexity.interval
    assert results["mean_unigram_entropy_nats"] == expected.mean_unigram_entropy_nats.value
    assert results["reference_value"] == expected.reference.perplexity.value
    entropy = expected.reference.mean_unigram_entropy_nats.value
    assert results["reference_mean_unigram_entropy_nats"] == entropy
    assert results["kind"] == "generative perplexity" and results["has_low_entropy"] is True
    assert results["note"] == expected.note


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("bits_per_token", {"nats": NATS, "num_characters": UNITS}, "num_tokens is None"),
        ("bits_per_token", {"nats": NATS}, "num_tokens is None"),
        ("bits_per_token", {"nats": [], "num_tokens": []}, "nats is"),
        ("bits_per_token", {"nats": NATS, "num_tokens": UNITS[:2]}, "Mismatch"),
        ("bits_per_token", {"nats": NATS, "num_tokens": [0, 0, 0]}, "at least one unit"),
        ("bits_per_token", {"nats": NATS, "num_tokens": [1, 1, -1]}, "negative"),
        ("bits_per_token", {"nats": [1.0, math.nan, 1.0], "num_tokens": UNITS}, "nats is NaN"),
        ("bits_per_token", {"nats": NATS, "num_tokens": UNITS, "base": 2}, "base"),
        ("sample_statistics", {"predictions": []}, "predictions is"),
        ("sample_statistics", {"predictions": "one text"}, "predictions is"),
        ("sample_statistics", {"predictions": [1, 2]}, "predictions holds 1"),
        (
            "sample_statistics",
            {"predictions": ["a"], "tokenizer": lambda text: {"input_ids": [1]}},
            "sample 0 is",
        ),
        ("generative_perplexity", {"predictions": ["a"]}, "there is no scorer"),
        (
            "generative_perplexity",
            {"predictions": [[1]], "model_name_or_path": "x"},
            "expected format",
        ),
    ],
)
def test_bad_input_is_refused(name, inputs, message, tmp_path):
    # an error leaves evaluate's lock behind, which others would wait for
    metric = load(name, cache_dir=tmp_path)
    with pytest.raises(ValueError, match=message):
        metric.compute(**inputs)


def test_an_unknown_configuration_is_refused():
    with pytest.raises(ValueError, match=r"'bits_per_dim'; expected one of 'bits_per_token'"):
        load("bits_per_dim")


def test_a_metric_works_again_after_bad_input():
    metric = load("bits_per_token")
    with pytest.raises(ValueError, match="num_tokens"):
        metric.compute(nats=NATS, num_tokens=None)
    assert metric.compute(nats=NATS, num_tokens=UNITS) == load("bits_per_token").compute(
        nats=NATS, num_tokens=UNITS
    )


def test_nothing_of_this_needs_the_home_directory(caches):
    assert os.listdir(caches / "metrics") == ["reported_figure"]
