"""`import ardm` knows the architecture and loads no model; what asks for a class gets the class."""

import copy
import inspect
import pickle
import subprocess
import sys

import pytest
from transformers import AutoModel, AutoModelForMaskedLM

import ardm

LOADS_NOTHING = """
import sys
{first}
loaded = [name for name in ("ardm.modeling_ardm", "ardm.likelihood") if name in sys.modules]
assert not loaded, loaded
from transformers import AutoModelForMaskedLM
sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
import ardm
model = AutoModelForMaskedLM.from_config(ardm.ARDMConfig(**sizes))
assert type(model) is ardm.ARDMForMaskedLM
assert AutoModelForMaskedLM._model_mapping[ardm.ARDMConfig] is ardm.ARDMForMaskedLM
"""


@pytest.mark.slow  # an interpreter each
@pytest.mark.parametrize("first", ["import ardm", "import ddpm", "from ardm.training import train"])
def test_the_model_is_loaded_when_it_is_asked_for(first):
    program = LOADS_NOTHING.format(first=first)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("auto_class", "name"), [(AutoModel, "ARDMModel"), (AutoModelForMaskedLM, "ARDMForMaskedLM")]
)
def test_what_stands_for_a_class_is_as_good_as_the_class(auto_class, name):
    model_class = getattr(ardm, name)
    stand_in = ardm._Deferred(auto_class, name)
    assert stand_in == model_class and hash(stand_in) == hash(model_class)
    assert stand_in.__name__ == name and stand_in.config_class is ardm.ARDMConfig
    assert inspect.signature(stand_in.forward) == inspect.signature(model_class.forward)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    assert type(stand_in(ardm.ARDMConfig(**sizes, intermediate_size=8))) is model_class
    for again in (copy.deepcopy(stand_in), pickle.loads(pickle.dumps(stand_in))):
        assert again == model_class
    assert auto_class._model_mapping[ardm.ARDMConfig] == model_class


def test_every_public_name_and_folder_is_there():
    assert all(getattr(ardm, name) is not None for name in ardm.__all__)
    assert set(ardm.__all__) <= set(dir(ardm))
    assert ardm.training.train and ardm.metrics.describe and ardm.id_checks.IGNORED == -100


@pytest.mark.parametrize("name", ["nothing", "", ".", "a.b", ".recipes"])
def test_a_name_that_is_not_there_is_an_attribute_error(name):
    assert not hasattr(ardm, name)
    with pytest.raises(AttributeError, match="has no attribute"):
        getattr(ardm, name)
