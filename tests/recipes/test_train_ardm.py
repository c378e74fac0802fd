"""train_ardm: from a text to a model that scores, generates and loads; and what goes wrong."""

import json
import math
import re
import shutil
import sys

import datasets
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

import ardm
from ardm.data import build_tokenizer
from ardm.hub import CardFigures, load_folder, save_folder


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 200)
    return path


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_it_leaves_a_model_that_scores_generates_and_reloads(saved):
    folder = saved.folder
    names = {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "generation_config.json",
        "README.md",
        "loss_curve.png",
    }
    assert names <= {file.name for file in folder.iterdir()}
    model = AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(model, ardm.ARDMForMaskedLM)
    text = tokenizer.decode(model.generate(tokens_per_step=4, seed=0)[0])
    assert len(text) == 32 and tokenizer.mask_token not in text
    gap = tokenizer("the quick [MASK][MASK][MASK][MASK][MASK] fox", return_tensors="pt")
    filled = tokenizer.decode(model.generate(gap.input_ids)[0])
    assert filled.startswith("the quick ") and filled.endswith(" fox")
    # the figure on the screen is the one on the card, and the model's own
    value, error = re.search(r"([\d.]+) \+- ([\d.]+) bits per character", saved.printed).groups()
    card = (folder / "README.md").read_text()
    on_card = re.search(r"\| bits per character \| ([\d.]+) ±", card)[1]
    assert float(on_card) == pytest.approx(float(value), abs=6e-4)
    assert 0 < float(error) < 1 and 0 < float(value) < 2 * math.log2(32)


def test_the_same_command_again_changes_nothing(tmp_path, saved, train):
    folder = shutil.copytree(saved.run, tmp_path / "run")
    train(folder, "--train_file", saved.train_file)
    before = weights(saved.run)
    after = weights(folder)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_other_tokenizers(tmp_path, text_file, train, kind):
    size = ["--vocab_size", 300] if kind == "bpe" else []
    train(tmp_path / "run", "--train_file", text_file, "--tokenizer", kind, *size)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert (
        len(tokenizer) == AutoModelForMaskedLM.from_pretrained(tmp_path / "run").config.vocab_size
    )


def test_a_stream_is_read_while_training(tmp_path, train):
    rows = tmp_path / "rows.jsonl"
    documents = ({"text": f"row {i} of a stream of words"} for i in range(200))
    rows.write_text("".join(json.dumps(document) + "\n" for document in documents))
    train(tmp_path / "run", "--train_file", rows, "--validation_file", rows, "--streaming")
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_saved_model_goes_on_learning_with_its_own_sizes(tmp_path, saved, train):
    given = ["--model_name_or_path", saved.folder, "--sequence_length", 16]
    train(tmp_path / "run", "--train_file", saved.train_file, *given)
    first = weights(saved.folder)
    second = weights(tmp_path / "run")
    assert {name: each.shape for name, each in first.items()} == {
        name: each.shape for name, each in second.items()
    }
    assert any(not torch.equal(first[name], second[name]) for name in first)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| hidden_size | 32 |" in card and "| sequence_length | 16 |" in card


@pytest.mark.parametrize(
    "flags", [["--hidden_size", "192"], ["--tokenizer", "char", "--vocab_size", "8192"]]
)
def test_what_a_saved_model_overrules_is_refused(tmp_path, saved, train, no_network, flags):
    """With the flags' own default values, too."""
    with pytest.raises(ValueError, match=f"got {flags[0]} .*and a model_name_or_path"):
        train(tmp_path / "run", "--model_name_or_path", saved.folder, *flags)


def test_a_model_saved_in_bfloat16_learns_in_float32(tmp_path, model_folder, saved, train):
    ardm.ARDMForMaskedLM.from_pretrained(model_folder).bfloat16().save_pretrained(model_folder)
    words = ["--model_name_or_path", model_folder, "--train_file", saved.train_file]
    train(tmp_path / "run", *words, "--max_train_steps", 1)
    assert {each.dtype for each in weights(tmp_path / "run").values()} == {torch.float32}


# ----------------------------------------------------------------------------- local paths
PATHS = {
    "train_file",
    "validation_file",
    "output_dir",
    "tokenizer",
    "model_name_or_path",
    "dataset_name",
    "resume_from_checkpoint",
}
NO_PATHS = {
    "dataset_config_name",
    "text_column",
    "vocab_size",
    "lr_scheduler_type",
    "mixed_precision",
    "report_to",
    "hub_model_id",
    "license",
    "language",
    "run_name",
    "tracker_project_name",
    "include",
    "exclude",
    "branching_factor",
    "value_tree",
    "parametrization",
    "stage_order",
}


@pytest.fixture
def places(tmp_path, saved):
    """A value below tmp_path for every flag that can hold a path."""
    root = tmp_path / "hidden place"
    root.mkdir()
    rows = datasets.Dataset.from_dict({"text": [saved.text]})
    rows.save_to_disk(root / "set")
    (root / "text.txt").write_text(saved.text, encoding="utf-8")
    (root / "held_out.txt").write_text(saved.held_out, encoding="utf-8")
    build_tokenizer("char", saved.text + "\n").save_pretrained(root / "tokenizer")
    shutil.copytree(saved.folder, root / "model")
    return {
        "train_file": root / "text.txt",
        "validation_file": root / "held_out.txt",
        "output_dir": root / "run",
        "tokenizer": root / "tokenizer",
        "model_name_or_path": root / "model",
        "dataset_name": root / "set",
        "resume_from_checkpoint": root / "run" / "checkpoints" / "step-00000006",
    }


def told_of(folder, root):
    """The parts of a path that a folder's files tell, checkpoints apart."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    files = [path for path in files if "checkpoints" not in path.parts]
    assert {"README.md", "config.json", "tokenizer_config.json"} <= {path.name for path in files}
    contents = {path.name: path.read_bytes() for path in files}
    texts = {name: each for name, each in contents.items() if name.endswith((".md", ".json"))}
    found = [(name, str(root)) for name in contents if str(root).encode() in contents[name]]
    for part in root.parts[1:]:
        found += [(name, part) for name, content in texts.items() if part.encode() in content]
    return found


@pytest.mark.slow
def test_what_is_saved_tells_no_local_path(tmp_path, recipe, small, places, monkeypatch):
    root = tmp_path / "hidden place"
    main = recipe("train_ardm").main
    folder = places["output_dir"]
    once = ("train_file", "validation_file", "tokenizer")
    resumed = (*once, "resume_from_checkpoint")
    further = ("dataset_name", "validation_file", "model_name_or_path")
    assert {"output_dir", *resumed, *further} == PATHS
    for names in (once, resumed, further):  # the second goes on from the first
        if names == once:
            given = [word for name in names for word in (f"--{name}", places[name])]
        else:
            given = [f"--{name}={places[name]}" for name in names]
        if names == further:
            shutil.rmtree(folder)
        script = str(root / "recipes" / "train_ardm.py")
        monkeypatch.setattr(sys, "argv", [script, *small(folder, *given)])
        main()
        assert told_of(folder, root) == []
        card = (folder / "README.md").read_text()
        data = places["dataset_name" if names == further else "train_file"]
        assert f"## Training data\n\n{data.name}\n" in card
        command = card.partition("accelerate launch recipes/train_ardm.py ")[2].partition("```")[0]
        assert "--max_train_steps 6" in command
        assert ("--hidden_size 32" in command) == (names != further)
        assert "held_out.txt" in card
        assert ("| tokenizer | tokenizer |" in card) == (names != further)


def test_every_flag_that_can_hold_a_path_is_known(recipe):
    """So that a new one is set in the test above."""
    flags = vars(recipe("train_ardm").parse_args([]))
    texts = {name for name, value in flags.items() if value is None or isinstance(value, str)}
    assert texts == PATHS | NO_PATHS


# ----------------------------------------------------------------------------- bad input
BAD = {
    "missing.txt": ["--train_file", "{tmp}/missing.txt"],
    "empty": ["--train_file", "{tmp}/empty.txt"],
    "tokens, expected at least": ["--train_file", "{tmp}/short.txt"],
    "UTF-8": ["--train_file", "{tmp}/latin.txt"],
    "nothing": ["--train_file", "{tmp}/nothing"],
    "written to": ["--output_dir", "{tmp}/short.txt/run"],
    "sequence_length": ["--sequence_length", 0],
    "max_train_steps": ["--max_train_steps", 0],
    "start_ratio": ["--start_ratio", 2],
    "hidden_size": ["--hidden_size", 33],
    "hub_model_id": ["--push_to_hub"],
    r"license is 'MIT' \(did you mean mit\?\)": ["--license", "MIT"],
    "language is 'english'; expected codes of ISO 639": ["--language", "en", "english"],
    "lr_scheduler_type": ["--lr_scheduler_type", "sine"],
    "saved tokenizer": ["--tokenizer", "{tmp}/nowhere"],
    "no model can be loaded": ["--model_name_or_path", "{tmp}/nowhere"],
    "vocab_size": ["--vocab_size", 7],
    "weight_power": ["--weight_power", -1],
    "--stage_order with num_stages=1": ["--stage_order", "interleaved"],
}


@pytest.mark.parametrize("named", BAD)
def test_bad_input_is_an_error_that_names_it(tmp_path, train, no_network, named):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("ab")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 500)
    (tmp_path / "nothing").mkdir()
    words = [str(word).replace("{tmp}", str(tmp_path)) for word in BAD[named]]
    with pytest.raises(ValueError, match=named):
        train(tmp_path / "run", *words)


def test_what_would_make_the_upload_fail_is_said_before_the_training(
    tmp_path, train, no_network, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ValueError, match="log in"):
        train(tmp_path / "run", "--push_to_hub", "--hub_model_id", "someone/something")


def test_windows_longer_than_a_saved_model_are_refused(tmp_path, saved, train, no_network):
    words = ["--model_name_or_path", saved.folder, "--sequence_length", 64]
    with pytest.raises(ValueError, match=r"sequence_length is 64; .*max_position_embeddings"):
        train(tmp_path / "run", "--train_file", saved.train_file, *words)


# ----------------------------------------------------------------------------- afterwards
def test_measured_losses_stay_with_the_weights_that_they_are_of(model_folder):
    model = AutoModelForMaskedLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    config = model_folder / "generation_config.json"
    plain = json.loads(config.read_text())
    losses = [3.0 - i / 16 for i in range(32)]
    config.write_text(json.dumps(plain | {"per_step_losses": losses}))
    # as the same command does after a finished run
    save_folder(model_folder, model, tokenizer, CardFigures())
    assert json.loads(config.read_text()) == plain | {"per_step_losses": losses}
    again = AutoModelForMaskedLM.from_pretrained(model_folder)
    assert again.generate(plan="optimal", steps=4, seed=0).shape == (1, 32)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    with pytest.warns(UserWarning, match="per_step_losses of other weights"):
        save_folder(model_folder, model, tokenizer, CardFigures())
    assert json.loads(config.read_text()) == plain


@pytest.mark.slow
def test_one_and_two_processes_give_the_same_losses(tmp_path, text_file, small, train, launched):
    given = ["--train_file", text_file]
    train(tmp_path / "one", *given)
    halves = small(tmp_path / "two", *given, "--per_device_train_batch_size", 2)
    launched("train_ardm", ["--num_processes", 2, "--cpu"], halves)
    state = "checkpoints/step-00000006/run.json"
    one, two = (json.loads((tmp_path / name / state).read_text()) for name in ("one", "two"))
    of_the_second = tmp_path / "two" / "checkpoints" / "step-00000006" / "random_1.safetensors"
    assert of_the_second.is_file()  # there were two
    assert one["identity"] == two["identity"]
    for a, b in zip(one["history"], two["history"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)


@pytest.mark.parametrize("flags", [["--value_tree", "classes"], ["--num_stages", 2]])
def test_a_model_with_stages_trains_saves_and_is_planned(tmp_path, train, recipe, flags):
    more = ["--branching_factor", 16, "--stage_order", "interleaved"] if flags[1] == 2 else []
    train(tmp_path / "run", *flags, *more)
    model, tokenizer = load_folder(tmp_path / "run")
    assert model.stages.num_stages >= 2 and model.stages.interleaved == (flags[1] == 2)
    assert "stages" in (tmp_path / "run" / "README.md").read_text()
    words = ["--model_name_or_path", tmp_path / "run", "--train_file", tmp_path / "run.txt"]
    (tmp_path / "run.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    words += ["--max_eval_windows", 4, "--repeats", 1]
    recipe("plan_steps").main([*map(str, words)])
    planned, _ = load_folder(tmp_path / "run")
    written = planned.generate(plan="optimal", steps=9, seed=0, return_dict_in_generate=True)
    assert written.num_forward_passes == 9
    assert tokenizer.mask_token_id not in written.sequences
