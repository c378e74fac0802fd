"""What a card says of a model that answers: how it is loaded and asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..training.local_paths import public
from .use_cards import name_on_the_hub

_ADAPTERS_LOADING = """\
The folder holds adapters beside the weights of BASE_NAME; `pip install peft` is needed.

```python
from ardm.hub import load_adapters

model, tokenizer = load_adapters("MODEL_NAME"BASE_FOLDER)
```
BASE_NOTE
"""
_LOCAL_BASE = """
That model was a folder: the second argument says where it lies. It is not needed where the training
left it.
"""
_USE = """\
Then:

```python
messages = [{"role": "user", "content": "..."}]
options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
inputs = tokenizer.apply_chat_template(messages, **options)
ids = model.generate(**inputs, max_new_tokens=LENGTH, block_length=BLOCK, order="confidence")
print(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```

An answer ends at its first EOS; what lies behind is padding. It was trained on answers of up to
LENGTH tokens, EOS included.
"""


def adapters_loading(base: str | None = None) -> str:
    """How a card says to load adapters alone.

    Args:
        base: the model that they belong to, a folder or a name on the Hub; None = it is not named.

    Returns:
        Markdown.
    """
    told, folder, note = "another model", "", ""
    if base is not None and name_on_the_hub(base):
        told = f"`{base}`"
    elif base is not None:
        name = public(Path(base))
        told, folder, note = f"`{name}`", f', "path/to/{name}"', _LOCAL_BASE
    text = _ADAPTERS_LOADING.replace("BASE_NAME", told)
    return text.replace("BASE_FOLDER", folder).replace("BASE_NOTE", note)


ADAPTERS_LOADING = adapters_loading()


def answer_card_texts(options: Mapping[str, Any], *, base: str | None = None) -> dict[str, Any]:
    """How a card says to load the model and to ask it.

    Args:
        options: of `generate`, with which it was asked: `max_new_tokens` and `block_length`.
        base: of adapters alone, the model that they belong to, a folder or a name on the Hub.

    Returns:
        Fields of [`ardm.hub.CardFigures`].
    """
    use = _USE.replace("LENGTH", str(options["max_new_tokens"]))
    return {
        "loading": None if base is None else adapters_loading(base),
        "use": use.replace("BLOCK", str(options["block_length"])),
    }
