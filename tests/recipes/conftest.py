"""What tests of recipes share: recipes as a user runs them, but small, and one trained model."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ..command_line import recipe as recipe_module

ROOT = Path(__file__).parents[2]
NETWORK = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SMALL = {
    "max_train_steps": 6,
    "per_device_train_batch_size": 4,
    "logging_steps": 2,
    "eval_steps": 0,
    "sequence_length": 32,
    "max_eval_windows": 20,
    "checkpointing_steps": 2,
}
TEXT = "the quick brown fox – a café's – jumps over the lazy dog. " * 150
# 14 windows of 32 characters, and a rest
HELD_OUT = "a dog jumps over the café – lazy quick and brown. " * 9


def small_words(folder, *more):
    saved = any(str(word).startswith("--model_name_or_path") for word in more)
    sizes = {} if saved else NETWORK  # a saved model has its own
    small = [word for name, value in (SMALL | sizes).items() for word in (f"--{name}", value)]
    return [*map(str, [*small, "--output_dir", folder, *more])]


@pytest.fixture(scope="session")
def recipe():
    """The module of a recipe, by its name, anew each time."""
    return recipe_module


@pytest.fixture(scope="session")
def small():
    """The flags of a small training: folder, more words -> words."""
    return small_words


@pytest.fixture(scope="session")
def train():
    """Trains a small model: folder, more words."""

    def train(folder, *more):
        recipe_module("train_ardm").main(small_words(folder, *more))

    return train


@pytest.fixture(scope="session")
def launched():
    """A recipe in processes of its own, by `accelerate launch`: name, flags, words -> result."""

    def launched(name, flags, words):
        ranks = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        inherited = {key: value for key, value in os.environ.items() if key not in ranks}
        launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
        command = [*launcher, *flags, ROOT / "recipes" / f"{name}.py", *words]
        done = subprocess.run(
            [*map(str, command)],
            env=inherited | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return launched


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Every test has its own cache of windows, and no loss curve, half of a small training."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("ardm.hub.folder.loss_curve", lambda history: b"not drawn")


# ----------------------------------------------------------------------------- a trained model
@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A trained model, its texts and what its training `printed`, all to be left as they are.

    `run` is the folder with its checkpoints, `folder` one without them.
    """
    root = tmp_path_factory.mktemp("saved")
    train_file = root / "text.txt"
    held_out_file = root / "held_out.txt"
    train_file.write_text(TEXT, encoding="utf-8")
    held_out_file.write_text(HELD_OUT, encoding="utf-8")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr("datasets.config.HF_DATASETS_CACHE", root / "cache")
        words = small_words(root / "run", "--train_file", train_file)
        recipe_module("train_ardm").main(words)
    without = shutil.ignore_patterns("checkpoints")
    shutil.copytree(root / "run", root / "model", ignore=without)
    return SimpleNamespace(
        folder=root / "model",
        run=root / "run",
        printed=printed.getvalue(),
        train_file=train_file,
        held_out_file=held_out_file,
        text=TEXT,
        held_out=HELD_OUT,
        words=["--model_name_or_path", root / "model", "--validation_file", held_out_file],
    )


@pytest.fixture
def model_folder(saved, tmp_path):
    """A copy of the trained model that may be written to."""
    return shutil.copytree(saved.folder, tmp_path / "model")


@pytest.fixture(scope="session")
def windows_of():
    """folder, text, length -> the model there, and the text cut by hand."""

    def windows_of(folder, text, length=32):
        model = AutoModelForMaskedLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = torch.tensor(tokenizer(text, add_special_tokens=False).input_ids)
        assert len(ids) == len(text)
        return model, ids[: len(ids) // length * length].view(-1, length)

    return windows_of


@pytest.fixture(scope="session")
def numbered():
    """ids, seed -> what keys the masks of each row by its number."""

    def numbered(ids, seed=0):
        source = torch.Generator().manual_seed(seed)
        return {"row_numbers": torch.arange(len(ids)), "generator": source}

    return numbered


@pytest.fixture
def no_network(monkeypatch):
    """From now on calling the text model fails."""
    import ardm

    def no_call(*args, **kwargs):
        pytest.fail("the network was called")

    monkeypatch.setattr(ardm.ARDMForMaskedLM, "forward", no_call)


# ------------------------------------------------------------------------- figures of two runs
@pytest.fixture(scope="session")
def close():
    """Equal but for the clock and 1e-6 of each number."""

    def close(found, expected):
        if isinstance(expected, dict):
            same = (key == "seconds" or close(found[key], expected[key]) for key in expected)
            return found.keys() == expected.keys() and all(same)
        if isinstance(expected, list):
            return len(found) == len(expected) and all(map(close, found, expected))
        if isinstance(expected, float):
            return found == pytest.approx(expected, rel=1e-6, abs=1e-9)
        return found == expected

    return close
