"""What a card says of a model that answers: how it is loaded and asked."""

from collections.abc import Mapping
from typing import Any

ADAPTERS_LOADING = """\
The folder holds adapters beside the weights of another model; `pip install peft` is needed.

```python
from ardm.hub import load_adapters

model, tokenizer = load_adapters("MODEL_NAME")
```

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


def answer_card_texts(options: Mapping[str, Any], *, adapters: bool) -> dict[str, Any]:
    """How a card says to load the model and to ask it.

    Args:
        options: of `generate`, with which it was asked: `max_new_tokens` and `block_length`.
        adapters: whether the folder holds adapters alone.

    Returns:
        Fields of [`ardm.hub.CardFigures`].
    """
    use = _USE.replace("LENGTH", str(options["max_new_tokens"]))
    return {
        "loading": ADAPTERS_LOADING if adapters else None,
        "use": use.replace("BLOCK", str(options["block_length"])),
    }
