"""What is asked of saved models in an interpreter in which the package cannot be imported.

    python without_package.py FOLDER        # FOLDER/cases.json, and a model with answers.json each

Prints the number of models that gave the package's own answers, bit for bit.
"""

import importlib.abc
import json
import re
import sys
import warnings
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertForMaskedLM,
)

SETTINGS = [
    {"order": "random", "tokens_per_step": 4},
    {"order": "confidence", "steps": 3, "plan": "cosine"},
    {"order": "random", "tokens_per_step": 1, "threshold": 0.5},
    {"order": "margin", "tokens_per_step": 2, "resample_steps": 2, "block_length": 4},
    {"order": "left_to_right", "temperature": 0.7, "top_k": 5},
    {},  # those of generation_config.json
]


def answers(model):
    """Ids, logits and likelihoods of a model, as lists: JSON keeps every bit of a float."""
    length = model.config.max_position_embeddings
    text = (torch.arange(2 * length) % 3).view(2, length)
    masked = text.clone()
    masked[:, ::2] = model.config.mask_token_id
    bound = model.nelbo(text, num_samples=4, generator=torch.Generator().manual_seed(1))
    # direct logits are of the children, and stay as they are
    return {
        "ids": [model.generate(seed=seed, **these).tolist() for seed, these in enumerate(SETTINGS)],
        "logits": model(masked).logits.float().nan_to_num(neginf=-1e9).tolist(),
        "nelbo": [bound.nats.tolist(), bound.standard_error.tolist()],
        "log_prob": model.log_prob(text, "right_to_left").tolist(),
        "steps": model.measure_step_losses(text, generator=torch.Generator().manual_seed(2))
        .nats.flatten()
        .tolist(),
    }


class Nowhere(importlib.abc.MetaPathFinder):
    """Finds the package nowhere, wherever it is."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in ("ardm", "ddpm"):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def load(auto_class, folder, **settings):
    loaded = auto_class.from_pretrained(folder, trust_remote_code=True, **settings)
    assert type(loaded).__module__.startswith("transformers_modules."), type(loaded)
    return loaded


def check(folder):
    expected = json.loads((folder / "answers.json").read_text())
    model = load(AutoModelForMaskedLM, folder)
    assert answers(model) == expected, folder
    assert type(model.generation_config).__name__ == "ARDMGenerationConfig"
    base = load(AutoModel, folder)
    assert type(base).__name__ == "ARDMModel"
    theirs = model.model.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in base.state_dict().items())
    assert load(AutoConfig, folder).to_dict() == model.config.to_dict()
    # and once more, from there
    again = folder.with_name(f"{folder.name} again")
    model.save_pretrained(again)
    code = {file.name: file.read_bytes() for file in folder.glob("*.py")}
    assert {file.name: file.read_bytes() for file in again.glob("*.py")} == code
    kept = json.loads((again / "config.json").read_text())["auto_map"]
    assert kept == json.loads((folder / "config.json").read_text())["auto_map"]
    assert answers(load(AutoModelForMaskedLM, again)) == expected
    base.save_pretrained(again)
    assert type(load(AutoModel, again)).__name__ == "ARDMModel"


def check_adopted(folder):
    """A model of transformers' own class, which becomes an ARDM by the code beside it."""
    model = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__mro__[1].__module__.startswith("transformers_modules.")
    expected = json.loads((folder / "answers.json").read_text())
    assert answers(model) == expected
    model.save_pretrained(folder.with_name("adopted again"))
    again = folder.with_name("adopted again")
    model = AutoModelForMaskedLM.from_pretrained(again, trust_remote_code=True)
    assert answers(model) == expected
    plain = AutoModelForMaskedLM.from_pretrained(again, trust_remote_code=False)
    assert type(plain) is BertForMaskedLM


def check_settings(folder):
    """Everything that `from_pretrained` takes."""
    whole = load(AutoModelForMaskedLM, folder)
    ids = torch.arange(8)[None] % 3
    half = load(AutoModelForMaskedLM, folder, dtype="bfloat16")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert (half.generate(seed=0) < half.config.mask_token_id).all()
    assert torch.equal(half(ids).logits, whole.bfloat16()(ids).logits)
    whole = load(AutoModelForMaskedLM, folder)
    spread = load(AutoModelForMaskedLM, folder, device_map="auto")
    assert torch.equal(spread.generate(seed=0).cpu(), whole.generate(seed=0))
    for kernel in ("eager", "sdpa"):
        model = load(AutoModelForMaskedLM, folder, attn_implementation=kernel)
        assert model.config._attn_implementation == kernel
        assert torch.allclose(model(ids).logits[..., :-1], whole(ids).logits[..., :-1], atol=1e-5)
    for trust in (True, False):  # None: transformers asks on the terminal, needlessly
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
        assert tokenizer.decode([0, 1]) == "ab" and tokenizer.mask_token_id is not None


def check_newer(folder):
    """A configuration of a newer version: the package's own warning, the package's own error."""
    file = folder / "config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"coming_soon": 1}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(AutoModelForMaskedLM, folder)
    assert any("does not know, which are left out: coming_soon" in str(w.message) for w in caught)
    for wrong, words in (
        ({"value_tree": "a new kind"}, "value_tree is .*; expected rows of labels"),
        ({"parametrization": "new"}, "parametrization is 'new'; expected"),
    ):
        file.write_text(json.dumps(content | wrong))
        try:
            load(AutoModelForMaskedLM, folder)
        except Exception as error:
            assert re.search(words, str(error)), error
        else:
            raise AssertionError(f"{wrong} was loaded")
    file.write_text(json.dumps(content))


def main(root):
    sys.meta_path.insert(0, Nowhere())
    try:
        import ardm  # noqa: F401
    except ModuleNotFoundError:
        pass
    else:
        raise AssertionError("the package was imported")
    folders = [root / name for name in json.loads((root / "cases.json").read_text())]
    for folder in folders:
        check(folder)
    check_adopted(root / "adopted")
    check_settings(folders[0])
    check_newer(folders[0])
    print(len(folders))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
