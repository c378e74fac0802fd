"""Recipes on models that are adopted: a BERT and a Llama of transformers' own classes."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from ardm import log_prob, nelbo
from ardm.hub import load_folder

from ..command_line import RECIPES
from ..foreign_models import write_bert, write_llama
from .conftest import HELD_OUT, TEXT

KINDS = {
    "bert": (write_bert, AutoModelForMaskedLM),
    "llama": (write_llama, AutoModelForCausalLM),
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def adopted(request, tmp_path_factory, recipe):
    """One of each kind, and what a short training makes of it."""
    root = tmp_path_factory.mktemp(request.param)
    write, plain_class = KINDS[request.param]
    write(root / "own")
    files = {"train": root / "text.txt", "held_out": root / "held_out.txt"}
    for file, text in zip(files.values(), (TEXT, HELD_OUT), strict=True):
        file.write_text(text.replace("–", "-").replace("é", "e"), encoding="utf-8")
    words = ["--model_name_or_path", root / "own", "--train_file", files["train"]]
    words += ["--output_dir", root / "run", "--max_train_steps", 6, "--sequence_length", 24]
    words += ["--per_device_train_batch_size", 4, "--logging_steps", 2, "--eval_steps", 0]
    words += ["--max_eval_windows", 8, "--checkpointing_steps", 2, "--learning_rate", 3e-3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", root / "cache")
        patch.setattr("ardm.hub.folder.loss_curve", lambda history: b"not drawn")
        recipe("train_ardm").main([*map(str, words)])
    return SimpleNamespace(
        kind=request.param,
        plain_class=plain_class,
        own=root / "own",
        run=root / "run",
        words=[*map(str, words)],
        held_out=["--validation_file", str(files["held_out"]), "--sequence_length", "24"],
    )


def test_what_was_trained_generates_and_is_still_of_its_class(adopted):
    model, tokenizer = load_folder(adopted.run)
    before, _ = load_folder(adopted.own)
    assert adopted.plain_class.from_pretrained(adopted.run).num_parameters() > 0
    moved = [
        not torch.equal(value, other)
        for value, other in zip(model.parameters(), before.parameters(), strict=True)
    ]
    assert sum(moved) > 0.8 * len(moved)
    gap = tokenizer("the " + tokenizer.mask_token * 5 + " fox", return_tensors="pt").input_ids
    written = model.generate(gap, seed=0)
    hidden = gap == tokenizer.mask_token_id
    assert torch.equal(written[~hidden], gap[~hidden])
    assert not torch.isin(written[hidden], torch.tensor(tokenizer.all_special_ids[:-1])).any()


def test_the_special_tokens_around_windows_are_never_scored(adopted, recipe, tmp_path):
    words = ["--model_name_or_path", str(adopted.run), *adopted.held_out]
    file = str(tmp_path / "figures.json")
    recipe("evaluate_ardm").main([*words, "--num_samples", "all", "--output_file", file])
    report = json.loads((tmp_path / "figures.json").read_text())
    model, tokenizer = load_folder(adopted.run)
    around = 2 if adopted.kind == "bert" else 1
    text = (adopted.run.parent / "held_out.txt").read_text()
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]
    length = 24 - around
    rows = ids[: len(ids) // length * length].view(-1, length)
    framed = torch.tensor([tokenizer(tokenizer.decode(row)).input_ids for row in rows])
    assert framed.shape[1] == 24 and report["num_windows"] == len(rows)
    generator = torch.Generator().manual_seed(0)
    bound = nelbo(model, framed, num_samples="all", generator=generator)
    assert (bound.num_tokens == length).all()
    bits = report["figures"]["bits per token"]["value"]
    assert bits == pytest.approx(bound.bits_per_token.mean().item(), rel=1e-5)

    recipe("evaluate_ardm").main([*words, "--order", "left_to_right", "--output_file", file])
    exact = json.loads((tmp_path / "figures.json").read_text())["figures"]["bits per token"]
    by_hand = -log_prob(model, framed, "left_to_right").mean().item() / length
    assert exact["value"] == pytest.approx(by_hand / torch.log(torch.tensor(2.0)).item(), rel=1e-5)


def test_plans_are_measured_and_used(adopted, recipe, tmp_path):
    words = ["--model_name_or_path", str(adopted.run), *adopted.held_out, "--repeats", "1"]
    recipe("plan_steps").main([*words, "--output_dir", str(tmp_path)])
    losses = json.loads((tmp_path / "generation_config.json").read_text())["per_step_losses"]
    assert len(losses) == (22 if adopted.kind == "bert" else 23)


def test_the_harness_puts_special_tokens_around_its_texts(adopted):
    from lm_eval.api.instance import Instance

    from ardm.harness.model import ARDMHarness

    harness = ARDMHarness(str(adopted.run), num_samples="all", device="cpu")
    model, tokenizer = load_folder(adopted.run)
    request = Instance("loglikelihood", {}, ("the quick", " fox"), 0)
    ((value, _),) = harness.loglikelihood([request], disable_tqdm=True)
    ids = tokenizer("the quick fox", return_tensors="pt").input_ids
    exact = log_prob(model, ids, "left_to_right", prompt_mask=prompt_of(ids, "the quick"))
    assert value < 0 and abs(value - exact.item()) < 3  # a bound over all orders, and one order
    one = Instance("loglikelihood", {}, ("the quic", "k"), 0)  # of one token the bound is exact
    ((value, _),) = harness.loglikelihood([one], disable_tqdm=True)
    ids = tokenizer("the quick", return_tensors="pt").input_ids
    exact = log_prob(model, ids, "left_to_right", prompt_mask=prompt_of(ids, "the quic"))
    assert value == pytest.approx(exact.item(), abs=1e-5)
    settings = {"max_gen_toks": 4, "until": []}
    written = harness.generate_until([Instance("generate_until", {}, ("the ", settings), 0)])
    assert len(written[0]) == 4 and not {*tokenizer.all_special_tokens} & {written[0]}


def prompt_of(ids, context):
    """1 on the first special token and the context, a token a character."""
    return (torch.arange(ids.shape[1]) < len(context) + 1)[None].expand_as(ids).long()


@pytest.mark.slow
def test_another_process_goes_on_to_the_same_weights(adopted, tmp_path):
    """Of the Llama, too, whose mask has a row that no file holds."""
    environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    def train(folder):
        words = [str(folder) if word == str(adopted.run) else word for word in adopted.words]
        command = [sys.executable, str(RECIPES / "train_ardm.py"), *words]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return load_file(folder / "model.safetensors")

    before = train(whole)
    shutil.copytree(whole, stopped)
    shutil.rmtree(stopped / "checkpoints" / "step-00000006")
    (stopped / "model.safetensors").unlink()
    after = train(stopped)
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_same_command_takes_up_a_finished_run(adopted, recipe, capsys):
    before = {path.name: path.read_bytes() for path in adopted.run.glob("*.safetensors")}
    recipe("train_ardm").main(adopted.words)
    assert before == {path.name: path.read_bytes() for path in adopted.run.glob("*.safetensors")}
    assert "step 6/6" not in capsys.readouterr().out
