"""A saved model's folder holds its code: all that is needed, whole, and the same however copied."""

import ast
import importlib
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.dynamic_module_utils import get_relative_imports

import ardm
from ardm import code_files
from ardm.code_files import write_code
from ardm.pretrained_ardm import AUTO_MAP

CORE = Path(ardm.__file__).parent


def code_of(folder):
    return {file.name: file.read_bytes() for file in Path(folder).glob("*.py")}


def auto_map_of(folder):
    return json.loads((folder / "config.json").read_text())["auto_map"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write_code(folder, AUTO_MAP)
    return folder


# -------------------------------------------------------------------------------------- the files
def test_the_code_is_the_packages_below_a_header_that_says_whose(written):
    assert {"modeling_ardm.py", "generation_ardm.py", "likelihood_ardm.py", "code_files.py"} <= set(
        code_of(written)
    )
    for name, content in code_of(written).items():
        first, second, rest = content.decode().split("\n", 2)
        assert first.startswith(
            f"# ardm {ardm.__version__} (https://github.com/ardm-ddpm/ardm-ddpm"
        )
        assert first.endswith("Apache-2.0.") and "comes with a saved model" in second
        assert rest == (CORE / name).read_text(encoding="utf-8")
        assert len(first) <= 100 and len(second) <= 100
    assert {*os.listdir(written)} == {*code_of(written)}  # nothing aside is left


def test_all_that_is_reached_is_there_and_found_by_transformers_rule(written):
    for name, content in code_of(written).items():
        reached = {
            node.module
            for node in ast.walk(ast.parse(content))
            if isinstance(node, ast.ImportFrom) and node.level
        }
        # its rule is a pattern of lines: it takes a line of a docstring for an import, too
        assert {*get_relative_imports(written / name)} == reached, name
        assert all((written / f"{module}.py").is_file() for module in reached), name


def test_the_code_unpickles_and_evaluates_nothing(written):
    for name, content in code_of(written).items():
        tree = ast.parse(content)
        calls = {
            ast.unparse(node.func).removeprefix("torch.").removeprefix("builtins.")
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        assert not calls & {"load", "eval", "exec", "compile", "__import__"}, name
        modules = {
            name
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in [getattr(node, "module", None) or "", *(a.name for a in node.names)]
        }
        assert not modules & {"pickle", "dill", "joblib", "marshal", "shelve", "subprocess"}, name


def test_a_copy_of_a_copy_is_the_copy(written, tmp_path, monkeypatch):
    """What a model that was loaded from such a folder writes, in the folder of its own modules."""
    (tmp_path / "loaded").mkdir()
    for name, content in code_of(written).items():
        (tmp_path / "loaded" / name).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        there = importlib.import_module("loaded.code_files")
        there.write_code(tmp_path / "again", AUTO_MAP)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "loaded"]:
            del sys.modules[name]
    assert code_of(tmp_path / "again") == code_of(written)


def test_nothing_changes_where_writing_fails(tmp_path, monkeypatch):
    (tmp_path / "modeling_ardm.py").write_text("as it was")
    broken = code_files._with_header

    def fails(source):
        if "class ARDMForMaskedLM" in source:
            raise OSError("no space left on device")
        return broken(source)

    monkeypatch.setattr(code_files, "_with_header", fails)
    with pytest.raises(OSError, match="no space left"):
        write_code(tmp_path, AUTO_MAP)
    assert os.listdir(tmp_path) == ["modeling_ardm.py"]
    assert (tmp_path / "modeling_ardm.py").read_text() == "as it was"


def test_a_module_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no module 'other' in .*; expected one there"):
        write_code(tmp_path / "folder", {"AutoModel": "other.Model"})
    assert not (tmp_path / "folder").exists()


# --------------------------------------------------------------------------------- saving a model
@pytest.mark.parametrize("part", ["whole", "base"])
def test_every_save_has_the_code_and_says_where_it_is(tiny_model, tmp_path, written, part):
    model = tiny_model()
    # of a model from the Hub, saved again: this folder's code, not that repository's
    model.config.auto_map = {"AutoModel": "user/name--modeling_ardm.ARDMModel", "AutoX": "x.X"}
    (model if part == "whole" else model.model).save_pretrained(tmp_path)
    assert code_of(tmp_path) == code_of(written)
    assert auto_map_of(tmp_path) == {**AUTO_MAP, "AutoX": "x.X"}
    for reference in AUTO_MAP.values():
        module, name = reference.split(".")
        assert name in vars(importlib.import_module(f"ardm.{module}"))


def test_other_processes_and_adapters_write_no_code(tiny_model, tmp_path, monkeypatch):
    model = tiny_model()
    model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not code_of(tmp_path / "other")
    model.save_pretrained(tmp_path / "main", True, max_shard_size="1KB", variant="v")
    assert code_of(tmp_path / "main") and [*(tmp_path / "main").glob("model.v-00001-of-*")]
    # transformers' peft integration: only adapters are saved
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", lambda *_, **__: None)
    model._hf_peft_config_loaded = True
    model.save_pretrained(tmp_path / "adapters")
    assert not (tmp_path / "adapters").exists()


def test_a_file_in_the_folders_place_is_an_error(tiny_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        tiny_model().save_pretrained(tmp_path / "file")


@pytest.mark.parametrize("how", ["push_to_hub", "save_pretrained"])
def test_the_code_is_uploaded_with_the_model(tiny_model, tmp_path, monkeypatch, written, how):
    sent = []
    hub = SimpleNamespace(
        create_repo=lambda name, **_: SimpleNamespace(repo_id=name),
        create_branch=lambda *_, **__: None,
        create_commit=lambda operations, **_: sent.extend(o.path_in_repo for o in operations),
    )
    card = SimpleNamespace(save=lambda path: Path(path).write_text("a card"))
    for module in ("transformers.modeling_utils", "transformers.utils.hub"):
        monkeypatch.setattr(f"{module}.hf_api", lambda: hub)
        monkeypatch.setattr(f"{module}.create_and_tag_model_card", lambda *_, **__: card)
    model = tiny_model()
    if how == "push_to_hub":
        model.push_to_hub("me/model")
    else:  # into a folder that has it already
        model.save_pretrained(tmp_path)
        model.save_pretrained(tmp_path, push_to_hub=True, repo_id="me/model")
    assert {*code_of(written), "config.json", "model.safetensors", "README.md"} <= {*sent}


def test_trainer_saves_the_code(tiny_model, tmp_path):
    arguments = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    Trainer(tiny_model(), arguments).save_model(str(tmp_path / "saved"))
    assert code_of(tmp_path / "saved") and auto_map_of(tmp_path / "saved") == AUTO_MAP


def test_the_version_is_the_packages():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", ardm.__version__)
    assert importlib.import_module("ardm.version").__version__ is ardm.__version__
