"""Code comes to a model that was saved without, or with that of another version; nothing else."""

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM

import ardm
from ardm.hub import export_code
from ardm.pretrained_ardm import AUTO_MAP


@pytest.fixture
def folder(tiny_model, tmp_path):
    """As versions saved it that left the code out."""
    folder = tmp_path / "model"
    tiny_model().save_pretrained(folder)
    for file in folder.glob("*.py"):
        file.unlink()
    config = json.loads((folder / "config.json").read_text())
    del config["auto_map"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_folder_gets_what_a_save_writes(folder, tiny_model, tmp_path):
    before = contents(folder)
    export_code(folder)
    after = contents(folder)
    tiny_model().save_pretrained(tmp_path / "fresh")
    assert after == contents(tmp_path / "fresh")
    assert {name: after[name] for name in before if name != "config.json"} == {
        name: content for name, content in before.items() if name != "config.json"
    }
    export_code(str(folder))
    assert contents(folder) == after
    loaded = AutoModelForMaskedLM.from_pretrained(folder)
    assert torch.equal(loaded.generate(seed=1), tiny_model().generate(seed=1))


def test_code_of_another_version_is_replaced(folder):
    export_code(folder)
    good = contents(folder)
    (folder / "masking.py").write_text("# older\n")
    (folder / "mine.py").write_text("# somebody's\n")
    export_code(folder)
    assert contents(folder) == good | {"mine.py": b"# somebody's\n"}


def test_of_another_architecture_what_came_with_it_is_renewed(folder):
    export_code(folder)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "bert"}
    theirs = {"AutoTokenizer": [None, "t.T"]}
    config["auto_map"] = {"AutoModelForMaskedLM": "me/x--orders.Thing"} | theirs
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "ranking.py").write_text("# older\n")
    (folder / "masking.py").write_text("# not reached\n")
    export_code(folder)
    after = json.loads((folder / "config.json").read_text())
    assert after == config | {"auto_map": {"AutoModelForMaskedLM": "orders.Thing"} | theirs}
    assert b"comes with a saved model" in (folder / "ranking.py").read_bytes()
    assert (folder / "masking.py").read_text() == "# not reached\n"


def test_a_model_says_so_from_then_on(tiny_model):
    model = tiny_model()
    ardm.export_code(model)
    assert model.config.auto_map == AUTO_MAP


def test_what_is_no_model_of_ours_is_refused_and_stays(folder, tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json; expected the folder of a saved"):
        export_code(tmp_path)
    with pytest.raises(ValueError, match="got a Linear; expected a model of this package"):
        export_code(torch.nn.Linear(1, 1))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    before = contents(folder)
    with pytest.raises(ValueError, match="a model of type 'bert', expected 'ardm'"):
        export_code(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        export_code(folder)
    assert contents(folder) == before | {"config.json": b"{"}
