"""What the Hub gets: a saved model carries its own code, and runs where the package is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, BertForMaskedLM

import ardm
from ardm.data.tokenization import build_tokenizer

from .without_package import answers

ROOT = Path(__file__).parent.parent
# folders have all kinds of names, of which transformers makes names of modules
CASES = {
    "plain": {},
    "model.v1-rc 2": {"vocab_size": 9, "mask_token_id": 8, "num_stages": 3, "branching_factor": 2}
    | {"stage_order": "interleaved"},
    "3-stages": {"vocab_size": 5, "mask_token_id": 4, "value_tree": [[0, 1, 1, 0]]}
    | {"parametrization": "direct"},
}


def save(model, folder, **how):
    losses = model.measure_step_losses(torch.arange(8)[None] % 3)
    model.generation_config.per_step_losses = losses.for_plans.tolist()
    model.generation_config.update(order="right_to_left", steps=3, plan="optimal")
    model.save_pretrained(folder, **how)


def run_without_the_package(root: Path) -> str:
    home = root / "home"
    environment = os.environ | {"HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules")}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, str(ROOT / "tests" / "without_package.py"), str(root)]
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow  # an interpreter
def test_saved_models_give_the_same_bits_without_the_package(tmp_path, tiny_model):
    for name, settings in CASES.items():
        folder = tmp_path / name
        # the plain one in many files
        how = {"max_shard_size": "1KB"} if name == "plain" else {}
        save(tiny_model(**settings), folder, **how)
        # of this interpreter, as loaded: a saved model is in evaluation mode
        model = AutoModelForMaskedLM.from_pretrained(folder)
        assert type(model) is ardm.ARDMForMaskedLM
        (folder / "answers.json").write_text(json.dumps(answers(model)))
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=5, hidden_size=8, max_position_embeddings=8, pad_token_id=4)
    config.update(sizes)
    adopted = ardm.adopt(BertForMaskedLM(config).eval(), mask_token_id=3)
    save(adopted, tmp_path / "adopted")
    (tmp_path / "adopted" / "answers.json").write_text(json.dumps(answers(adopted)))
    build_tokenizer("char", "ab").save_pretrained(tmp_path / "plain")
    assert len([*(tmp_path / "plain").glob("*.safetensors")]) > 1
    (tmp_path / "cases.json").write_text(json.dumps([*CASES]))
    assert run_without_the_package(tmp_path).split() == [str(len(CASES))]
    # nothing of it is pickled
    kinds = {file.suffix for name in CASES for file in (tmp_path / name).iterdir()}
    assert kinds == {".json", ".py", ".safetensors"}


@pytest.mark.parametrize("trust", [None, True])
def test_where_the_package_is_the_folders_code_is_not_run(tmp_path, tiny_model, trust):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    for file in tmp_path.glob("*.py"):
        file.write_text("raise AssertionError('it was run')\n")
    for auto_class, kind in (
        (AutoModelForMaskedLM, ardm.ARDMForMaskedLM),
        (AutoModel, ardm.ARDMModel),
    ):
        loaded = auto_class.from_pretrained(tmp_path, trust_remote_code=trust)
        assert type(loaded) is kind
