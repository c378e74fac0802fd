"""Chats: what a row of a data set says, as messages; and a template that turns messages into text.

    [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]

is what every form of row becomes: `messages`, a prompt and its completion, an instruction and its
output. Text is what the tokenizer's own chat template makes of it; one without gets a plain one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]

ASSISTANT = "assistant"
_EOS = "[EOS]"
_CHATS = ("messages", "conversations", "conversation")
_PAIRS = (
    ("prompt", "completion"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
)
_ROLES = {"human": "user", "gpt": ASSISTANT, "bot": ASSISTANT}  # of `from` and `value`

PLAIN_TEMPLATE = """\
{%- if cls_token is defined and cls_token %}{{ cls_token }}
{%- elif bos_token is defined and bos_token %}{{ bos_token }}{% endif %}
{%- for message in messages %}
{{- message['role'] | capitalize + ': ' + message['content'] }}
{{- eos_token if message['role'] == 'assistant' else '' }}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"""
RAW_TEMPLATE = "{%- for message in messages %}{{ message['content'] }}{%- endfor %}"
_NAMED = {"plain": PLAIN_TEMPLATE, "raw": RAW_TEMPLATE}


class Unusable(ValueError):
    """A row that tells nothing to learn from: it is left out, and counted."""


def messages_of(row: Mapping[str, Any], where: str = "the row") -> list[Message]:
    """What a row says, as messages.

    Args:
        row: with `messages` (also `conversations`, and messages of `from` and `value`), or with
            `prompt` and `completion`, each a text or messages, or with `instruction` (and `input`)
            and `output`, or `question` and `answer`. Contents are texts, or lists of parts of type
            "text", which are joined.
        where: what the row is, for messages.

    Returns:
        Messages with `role`, `content` and what else they have.

    Raises:
        Unusable: if a text is missing.
        ValueError: if it has no such columns, or they hold something else.
    """
    for name in _CHATS:
        if name in row:
            return _chat(row[name], f"{name} of {where}")
    for asked, answered in _PAIRS:
        if asked in row and answered in row:
            prompt = _side(row[asked], "user", f"{asked} of {where}")
            if asked == "instruction" and row.get("input"):
                prompt[-1]["content"] += f"\n\n{row['input']}"
            return prompt + _side(row[answered], ASSISTANT, f"{answered} of {where}")
    pairs = ", ".join(" and ".join(pair) for pair in _PAIRS)
    raise ValueError(f"{where} has {sorted(row)}; expected messages, or {pairs}.")


def _side(said: Any, role: str, where: str) -> list[Message]:
    """One side of a pair: a text is a message of that role."""
    if isinstance(said, str) and said:
        return [{"role": role, "content": said}]
    if said is None or said == "":
        raise Unusable(f"no {where.partition(' of ')[0]}")
    return _chat(said, where)


def _chat(said: Any, where: str) -> list[Message]:
    if said is None:
        raise Unusable(f"no {where.partition(' of ')[0]}")
    if not isinstance(said, list) or not all(isinstance(each, Mapping) for each in said):
        raise ValueError(f"{where} is {str(said)[:60]!r}; expected a list of messages.")
    return [_message(each, where) for each in said]


def _message(said: Mapping[str, Any], where: str) -> Message:
    # a table has every key in every row
    message = {name: value for name, value in said.items() if value is not None}
    if "from" in message and "value" in message:
        role = message.pop("from")
        message = {"role": _ROLES.get(role, role), "content": message.pop("value")} | message
    # a call of tools has no content, but something else
    if not isinstance(message.get("role"), str) or len(message) < 2:
        raise ValueError(f"{where} holds {str(said)[:60]}; expected role and content in each.")
    if "content" in message:
        message["content"] = _text(message["content"], where)
    return message


def _text(content: Any, where: str) -> str:
    """A content, which may come in parts as `{"type": "text", "text": ...}`."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        is_text = isinstance(part, Mapping) and part.get("type") == "text"
        if not is_text or not isinstance(part.get("text"), str):
            raise ValueError(
                f"{where} has the content {str(part)[:60]!r}; expected a text, or a list of parts"
                ' as {"type": "text", "text": ...}.'
            )
    return "".join(part["text"] for part in parts)


# ------------------------------------------------------------------------------------- templates
def set_chat_template(
    tokenizer: "PreTrainedTokenizerBase", template: str | None = None
) -> str | None:
    """Gives a tokenizer a chat template; it is saved with the tokenizer.

    Args:
        tokenizer: changed in place.
        template: "plain", "raw" (contents one after the other, without roles), a file of Jinja, or
            None: its own, and if it has none, the plain one.

    Returns:
        What was done, in words; None if nothing was.

    Raises:
        ValueError: if there is no such file.
    """
    if template is None and tokenizer.chat_template is not None:
        return None
    if template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
        return 'the tokenizer has no chat template: it gets a plain one, "User: ... Assistant: ..."'
    if template not in _NAMED and not Path(template).is_file():
        raise ValueError(f"chat_template is {template!r}; expected plain, raw or a file of Jinja.")
    text = _NAMED.get(template) or Path(template).read_text(encoding="utf-8")
    tokenizer.chat_template = text
    return f"the tokenizer gets the chat template {Path(template).name!r}"


def set_eos_token(tokenizer: "PreTrainedTokenizerBase", token: str | None = None) -> bool:
    """Makes sure that a tokenizer has a token that ends an answer.

    Args:
        tokenizer: changed in place.
        token: of its vocabulary; None = its EOS, and if it has none a new one.

    Returns:
        Whether it has a new token, for which the network needs a row.

    Raises:
        ValueError: if there is no such token.
    """
    if token is not None:
        if token not in tokenizer.get_vocab():
            raise ValueError(f"eos_token is {token!r}; expected a token of the tokenizer.")
        tokenizer.eos_token = token
        return False
    if tokenizer.eos_token is not None:
        return False
    return tokenizer.add_special_tokens({"eos_token": _EOS}) > 0
