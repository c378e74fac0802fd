"""A run tells what it did: another text, tokenizer or setting in its folder is refused, nothing of
its model is written over, and no bound leaves out part of a text.
"""

import json
import re
import shutil

import pytest

CHINESE = "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。" * 200


@pytest.fixture
def run(saved, tmp_path):
    """A finished run of its own."""
    return shutil.copytree(saved.run, tmp_path / "run")


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files if path.name != ".lock"}


OTHERS = {
    "data": ["--train_file", "{reordered}"],
    "tokenizer": ["--train_file", "{other_letters}"],
    "learning_rate": ["--learning_rate", 0.5],
    "muon|lr": ["--muon_learning_rate", 0.5],
    "objective": ["--weight_power", 0.25],
    "start_ratio": ["--start_ratio", 1.0],
    "num_hidden_layers": ["--num_hidden_layers", 2],
    "lr_scheduler_type": ["--lr_scheduler_type", "constant"],
    "seed": ["--seed", 5],
    "initial_weights": ["--model_name_or_path", "{model}"],
}


@pytest.mark.parametrize("named", OTHERS)
def test_what_would_be_another_run_is_refused_and_changes_nothing(
    run, saved, train, tmp_path, no_network, named
):
    reordered = tmp_path / "reordered.txt"
    reordered.write_text(saved.text[7:] + saved.text[:7], encoding="utf-8")
    other_letters = tmp_path / "other_letters.txt"
    other_letters.write_text(saved.text.replace("q", "Q"), encoding="utf-8")
    places = {"reordered": reordered, "other_letters": other_letters, "model": saved.folder}
    words = [str(word).format(**places) for word in OTHERS[named]]
    before = contents(run)
    with pytest.raises(ValueError, match=rf"({named})(.|\n)*output_dir"):
        train(run, "--train_file", saved.train_file, *words)
    assert contents(run) == before


def test_a_longer_training_goes_on_and_the_card_tells_its_length(run, saved, train):
    train(run, "--train_file", saved.train_file, "--max_train_steps", 8, "--logging_steps", 1)
    card = (run / "README.md").read_text()
    assert "| max_train_steps | 8 |" in card and (run / "checkpoints" / "step-00000008").is_dir()


def test_a_model_without_checkpoints_is_not_trained_over(
    model_folder, saved, train, no_network, tmp_path
):
    before = contents(model_folder)
    with pytest.raises(ValueError, match="holds a model without checkpoints"):
        train(model_folder, "--train_file", saved.train_file)
    assert contents(model_folder) == before


def test_a_saved_model_learns_and_scores_at_its_own_length(saved, train, recipe, small, tmp_path):
    given = ("--train_file", saved.train_file, "--model_name_or_path", saved.folder)
    words = small(tmp_path / "run", *given)
    place = words.index("--sequence_length")
    del words[place : place + 2]
    recipe("train_ardm").main(words)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| sequence_length | 32 |" in card and "| initial_weights | model |" in card
    assert "| tokenizer |" not in card


# --------------------------------------------------------------------- text that is not told
def test_a_text_in_other_letters_has_no_bound_by_character(saved, train, tmp_path, capsys):
    chinese = tmp_path / "chinese.txt"
    chinese.write_text(CHINESE, encoding="utf-8")
    train(tmp_path / "run", "--model_name_or_path", saved.folder, "--train_file", chinese)
    told = capsys.readouterr().out
    assert "The tokens do not tell all of the training text: of" in told
    assert "(100 %) are unknown to the tokenizer ([UNK])" in told
    assert re.search(r"[\d.]+ bits per token: upper bound", told)
    assert not re.search(r"\d bits per character", told)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "are unknown to the tokenizer" in card and "| bits per character |" not in card


@pytest.mark.parametrize("exact", [False, True])
def test_such_a_text_is_scored_by_token_alone(saved, recipe, tmp_path, capsys, exact):
    mixed = tmp_path / "mixed.txt"
    mixed.write_text("東京" + saved.held_out, encoding="utf-8")
    words = ["--model_name_or_path", saved.folder, "--validation_file", mixed]
    words += ["--sequence_length", 16, "--output_file", tmp_path / "figures.json"]
    words += ["--order", "left_to_right"] if exact else ["--num_samples", 1]
    recipe("evaluate_ardm").main([*map(str, words)])
    told = capsys.readouterr().out
    assert "unknown to the tokenizer ([UNK])" in told and "of the tokens alone)" in told
    assert not re.search(r"\d bits per (character|byte)", told)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["lost_text"]["num_unknown"] == 2
    assert [*figures["figures"]] == ["bits per token", "perplexity per token"]


def test_per_step_losses_of_such_a_text_say_so(model_folder, saved, recipe, tmp_path, capsys):
    mixed = tmp_path / "mixed.txt"
    mixed.write_text("東" + saved.held_out, encoding="utf-8")
    words = ["--model_name_or_path", model_folder, "--validation_file", mixed]
    words += ["--max_eval_windows", 4, "--repeats", 1, "--sequence_length", 8]
    recipe("plan_steps").main([*map(str, words)])
    assert "The losses are of the tokens alone: of 32 characters 1" in capsys.readouterr().out
    measured = json.loads((model_folder / "per_step_losses.json").read_text())
    assert measured["lost_text"] == {"num_characters": 32, "num_unknown": 1, "num_changed": 0}
