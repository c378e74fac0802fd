"""What a card says of a model itself: its class, what it was made from, how it is loaded and used.

A model that was adopted gets its special tokens around each text, and its own class reads it, too.
"""

import os
from typing import Any

from ..adopted_ardm import AdoptedLanguageModel
from ..training.card_parts import WITH_PACKAGE, WITHOUT_PACKAGE
from ..training.hub_names import may_be_on_the_hub
from ..vocabulary import eos_ids


def model_facts(model: Any) -> dict[str, Any]:
    """What a card can tell by looking at a model.

    Args:
        model: of text: an ARDM, an adopted one, or peft's wrapper of either.

    Returns:
        Fields of [`ardm.hub.CardFigures`]: `adopted_class`, `base_model`, `loading`, `use`.
    """
    own = model.get_base_model() if hasattr(model, "get_base_model") else model
    adopted = isinstance(own, AdoptedLanguageModel)
    name = type(own).__name__
    return {
        "adopted_class": name if adopted else None,
        "base_model": name_on_the_hub(getattr(own, "name_or_path", None)),
        "loading": LOADING + _OWN_CLASS.replace("CLASS", name) if adopted else LOADING,
        "use": usage(own),
    }


def name_on_the_hub(name: str | os.PathLike[str] | None) -> str | None:
    """A model's name if it is one on the Hub; None of a folder of this machine, and of None."""
    name = os.fspath(name or "")
    return name if may_be_on_the_hub(name) and not os.path.lexists(name) else None


def usage(model: Any = None) -> str:
    """How a card says to use a model.

    Args:
        model: of text; None: an ARDM of which nothing is known.

    Returns:
        Markdown.
    """
    adopted = isinstance(model, AdoptedLanguageModel)
    config: Any = getattr(model, "config", None)
    ends = bool(eos_ids(config))
    bare = ", skip_special_tokens=True" if adopted or ends else ""
    begin = _CANVAS if adopted else _NEW_TEXT
    plain = "" if adopted else "add_special_tokens=False, "
    return (begin + _USE).replace("PLAIN", plain).replace("BARE", bare)


LOADING = f"""\
{WITH_PACKAGE}

```python
from ardm.hub import load_folder

model, tokenizer = load_folder("MODEL_NAME")
```

{WITHOUT_PACKAGE}
```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("MODEL_NAME", trust_remote_code=True)
model = AutoModelForMaskedLM.from_pretrained("MODEL_NAME", trust_remote_code=True)
```

"""

_OWN_CLASS = """\
`CLASS.from_pretrained("MODEL_NAME")` reads the repository, too, as a plain model of its own class.

"""

_NEW_TEXT = """\
Then, either way:

```python
# a new text, in random order, four tokens a step
ids = model.generate(order="random", tokens_per_step=4)
print(tokenizer.decode(ids[0]BARE))
"""

_CANVAS = """\
Then, either way:

```python
# a new text of 20 tokens, in random order, four a step; special tokens around it are given
inputs = tokenizer(tokenizer.mask_token * 20, return_tensors="pt")
ids = model.generate(inputs.input_ids, order="random", tokens_per_step=4)
print(tokenizer.decode(ids[0]BARE))
"""

_USE = """
# a gap filled between known ends: each mask is generated, nothing else is touched
text = "The first part, " + tokenizer.mask_token * 20 + " and the end."
inputs = tokenizer(text, PLAINreturn_tensors="pt")
print(tokenizer.decode(model.generate(inputs.input_ids)[0]BARE))

# what a text costs: an upper bound on its bits per token
scored = tokenizer("The first part, and the end.", PLAINreturn_tensors="pt")
print(model.nelbo(scored.input_ids).bits_per_token)
```
"""
