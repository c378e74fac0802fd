"""A saved folder is whole and loads again, or stays as it was; the loss curve is in bits."""

import io
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from ardm.data.tokenization import build_tokenizer
from ardm.hub import CardFigures, load_folder, loss_curve, save_folder
from ardm.hub import folder as folder_module

HISTORY = [{"step": step, "loss": 3 / step} for step in range(1, 101)]
HISTORY[49] |= {"eval_loss": 0.1, "eval_standard_error": 0.01}
TOKENIZER = build_tokenizer("char", "abc ")
SAVED = {"model.safetensors", "tokenizer.json", "README.md"}


class Saved:
    """What `save_folder` asks of a model and of a tokenizer."""

    def __init__(self, name):
        self.name = name

    def save_pretrained(self, folder):
        Path(folder, self.name).write_text("saved")


class Broken(Saved):
    def save_pretrained(self, folder):
        raise OSError("no space left on device")


MODEL, WORDS = Saved("model.safetensors"), Saved("tokenizer.json")


@pytest.fixture
def model(tiny_model):
    return tiny_model(vocab_size=len(TOKENIZER), mask_token_id=TOKENIZER.mask_token_id)


def names(folder):
    return {file.name for file in folder.iterdir()}


# ------------------------------------------------------------------------------------------- save
def test_what_is_saved_loads_the_same_in_evaluation_mode(model, tmp_path):
    save_folder(tmp_path, model.train(), TOKENIZER, CardFigures(), HISTORY)
    for name in (tmp_path, str(tmp_path)):
        loaded, tokenizer = load_folder(name)
        assert not any(module.training for module in loaded.modules())
        assert tokenizer("cab").input_ids == TOKENIZER("cab").input_ids
        for key, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value)


def test_pictures_are_beside_the_card_that_shows_them(tmp_path):
    pictures = {"order.png": loss_curve(HISTORY), "dot.png": Image.new("L", (2, 3), 200)}
    figures = CardFigures(pictures=["old.png"], loss_curve="old.png")
    save_folder(tmp_path, MODEL, WORDS, figures, HISTORY, pictures)
    assert names(tmp_path) == SAVED | {"loss_curve.png", *pictures}
    assert (tmp_path / "order.png").read_bytes() == pictures["order.png"]
    assert (tmp_path / "loss_curve.png").read_bytes() == loss_curve(HISTORY)
    with Image.open(tmp_path / "dot.png") as dot:
        assert dot.size == (2, 3)
    card = (tmp_path / "README.md").read_text()
    assert all(card.count(f"]({name})") == 1 for name in ("loss_curve.png", *pictures))
    assert "old.png" not in card


def test_a_picture_does_not_leave_the_folder(tmp_path):
    with pytest.raises(ValueError, match=r"'\.\./a\.png'; expected a file name without folders"):
        save_folder(tmp_path / "run", MODEL, WORDS, CardFigures(), pictures={"../a.png": b""})
    assert not (tmp_path / "run").exists()


def test_a_missing_matplotlib_does_not_cost_the_model(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.warns(UserWarning, match="without its loss curve"):
        save_folder(tmp_path / "run", MODEL, WORDS, CardFigures(), HISTORY)
    assert names(tmp_path / "run") == SAVED
    assert names(tmp_path) == {"run"}


def test_a_failed_save_leaves_the_older_model_whole(tmp_path):
    save_folder(tmp_path, MODEL, WORDS, CardFigures(model_name="old"))
    with pytest.raises(OSError, match="no space"):
        save_folder(tmp_path, MODEL, Broken("tokenizer.json"), CardFigures(model_name="new"))
    assert names(tmp_path) == SAVED
    assert "# old" in (tmp_path / "README.md").read_text()


def test_what_a_killed_save_left_is_removed_and_other_files_stay(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # a killed process tidies nothing up
        with pytest.raises(OSError, match="no space"):
            save_folder(tmp_path, MODEL, Broken("tokenizer.json"), CardFigures())
    assert len(names(tmp_path)) == 1
    (tmp_path / "notes.txt").write_text("mine")
    save_folder(tmp_path, MODEL, WORDS, CardFigures())
    assert names(tmp_path) == SAVED | {"notes.txt"}


def test_measured_losses_stay_with_the_weights_that_they_are_of(model, tmp_path):
    def measured():
        return json.loads(settings.read_text()).get("per_step_losses")

    save_folder(tmp_path, model, TOKENIZER, CardFigures())
    settings = tmp_path / "generation_config.json"
    losses = {"losses": [2.0, 1.0]}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "per_step_losses": losses}))
    save_folder(tmp_path, model, TOKENIZER, CardFigures())
    assert measured() == losses
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.warns(UserWarning, match="per_step_losses of other weights"):
        save_folder(tmp_path, model, TOKENIZER, CardFigures())
    assert measured() is None


# ------------------------------------------------------------------------------------------- load
def test_a_model_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no model can be loaded from '.*nowhere'"):
        load_folder(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="there is no runs/ardm; make it with `make demo`"):
        load_folder(folder_module.DEMO_FOLDER)


def cut(file):
    file.write_bytes(file.read_bytes()[:100])


def misset(file):
    file.write_text(json.dumps({**json.loads(file.read_text()), "hidden_size": "wide"}))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", cut),
        ("config.json", cut),
        ("config.json", misset),
        ("tokenizer.json", cut),
        ("model.safetensors", Path.unlink),
    ],
)
def test_a_damaged_folder_is_an_error_that_names_it(model, tmp_path, name, damage):
    save_folder(tmp_path, model, TOKENIZER, CardFigures())
    damage(tmp_path / name)
    with pytest.raises(ValueError, match=f"no model can be loaded from '{tmp_path}'"):
        load_folder(tmp_path)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tiny_model, tmp_path):
    save_folder(tmp_path, tiny_model(vocab_size=5, mask_token_id=4), TOKENIZER, CardFigures())
    with pytest.raises(ValueError, match=r"has 7 tokens; expected at most the model's 5"):
        load_folder(tmp_path)


# ------------------------------------------------------------------------------------- loss curve
@pytest.fixture
def drawn(monkeypatch):
    """What is asked of the curve that both packages draw."""
    calls = []
    monkeypatch.setattr(
        folder_module, "draw_loss_curve", lambda history, **how: calls.append(how) or b"png"
    )
    return lambda history: (loss_curve(history), calls.pop())[1]


def test_the_curve_is_a_png():
    assert Image.open(io.BytesIO(loss_curve(HISTORY))).format == "PNG"
    with pytest.raises(ValueError, match="no finite loss"):
        loss_curve([{"step": 1}])


def test_the_curve_is_in_bits_per_token(drawn):
    how = drawn(HISTORY)
    assert how["scale"] * math.log(2) == pytest.approx(1) and how["unit"] == "bits per token"
    assert how["shaded"] is None


def test_the_curve_is_of_the_unweighted_loss_where_it_was_logged(drawn):
    assert drawn(HISTORY)["train_key"] == "loss"
    assert drawn([*HISTORY, {"step": 101, "nats_per_token": 2.0}])["train_key"] == "nats_per_token"


def test_the_curve_says_where_a_curriculum_capped_the_mask_ratio(drawn):
    rows = [{"step": step, "loss": 1.0, "max_ratio": step / 10} for step in range(1, 12)]
    last, note = drawn(rows)["shaded"]
    assert last == 9 and "curriculum" in note
    assert drawn([{"step": 1, "loss": 1.0, "max_ratio": 1.0}])["shaded"] is None
