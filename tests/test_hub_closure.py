"""What the Hub gets: a saved model carries its own code, and runs where the package is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SAVE = """
import json, sys
import torch
from ardm import ARDMConfig, ARDMForMaskedLM, ARDMModel
from ardm.configuration_ardm import ARDMConfig

ARDMConfig.register_for_auto_class()
ARDMModel.register_for_auto_class("AutoModel")
ARDMForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
torch.manual_seed(0)
sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
stages = json.loads(sys.argv[2])
model = ARDMForMaskedLM(ARDMConfig(max_position_embeddings=16, **sizes, **stages)).eval()
for parameter in model.parameters():
    torch.nn.init.normal_(parameter, 0.0, 0.5)
model.save_pretrained(sys.argv[1])
"""

USE = """
import json, sys
from transformers import AutoModelForMaskedLM

if sys.argv[2] == "without":
    sys.modules["ardm"] = None  # any import of the package fails
    model = AutoModelForMaskedLM.from_pretrained(sys.argv[1], trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules.")
else:
    import ardm
    model = AutoModelForMaskedLM.from_pretrained(sys.argv[1])
    assert type(model) is ardm.ARDMForMaskedLM
settings = [{"order": "random", "tokens_per_step": 3}, {"order": "confidence"},
            {"order": "margin", "resample_steps": 2, "block_length": 4}]
ids = [model.generate(seed=seed, **these).tolist() for seed, these in enumerate(settings)]
print(json.dumps(ids))
"""


def run(program: str, *arguments: object, home: Path) -> str:
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


STAGES = {"num_stages": 2, "branching_factor": 6, "stage_order": "interleaved"}


@pytest.mark.slow  # three interpreters
@pytest.mark.parametrize("stages", [{}, STAGES], ids=["plain", "stages"])
def test_a_saved_model_with_its_code_gives_the_same_ids_without_the_package(tmp_path, stages):
    folder = tmp_path / "model"
    run(SAVE, folder, json.dumps(stages), home=tmp_path)
    code = {file.name for file in folder.glob("*.py")}
    # the model and all that it reaches lies beside it, flat, and nothing else of the package
    assert {"modeling_ardm.py", "generation_ardm.py", "decoding.py", "stages.py"} <= code
    assert code <= {file.name for file in (ROOT / "ardm").glob("*.py")}
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForMaskedLM"] == "modeling_ardm.ARDMForMaskedLM"
    here = json.loads(run(USE, folder, "with", home=tmp_path))
    there = json.loads(run(USE, folder, "without", home=tmp_path))
    assert here == there
    assert len(here) == 3 and all(0 <= token < 27 for rows in here for row in rows for token in row)
