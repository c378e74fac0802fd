"""Chats: every form of row says the same messages; a template and an EOS where there are none."""

import pytest
from transformers import AutoTokenizer

from ardm.data import build_tokenizer
from ardm.data.chats import Unusable, messages_of, set_chat_template, set_eos_token

ASKED = {"role": "user", "content": "2 + 2?"}
ANSWERED = {"role": "assistant", "content": "4"}
FORMS = {
    "messages": {"messages": [ASKED, ANSWERED]},
    "keys of other rows": {"messages": [ASKED | {"name": None}, ANSWERED | {"name": None}]},
    "texts": {"prompt": "2 + 2?", "completion": "4"},
    "lists": {"prompt": [ASKED], "completion": [ANSWERED]},
    "mixed": {"prompt": [ASKED], "completion": "4"},
    "alpaca": {"instruction": "2 + 2?", "input": "", "output": "4"},
    "response": {"instruction": "2 + 2?", "response": "4", "category": "qa"},
    "question": {"question": "2 + 2?", "answer": "4"},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form):
    assert messages_of(FORMS[form]) == [ASKED, ANSWERED]


def test_an_input_stands_behind_its_instruction():
    row = {"instruction": "Add.", "input": "2, 2", "output": "4"}
    assert messages_of(row)[0]["content"] == "Add.\n\n2, 2"


def test_parts_of_a_text_are_one_text():
    parts = [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2?", "image": None}]
    asked = {"role": "user", "content": parts}
    assert messages_of({"messages": [asked, ANSWERED]}) == [ASKED, ANSWERED]
    assert messages_of({"messages": [{"from": "human", "value": parts}]}) == [ASKED]


@pytest.mark.parametrize("row", [{"prompt": None, "completion": "4"}, {"messages": None}])
def test_a_row_without_a_text_is_no_error_of_the_data(row):
    with pytest.raises(Unusable, match=r"^no (prompt|messages)$"):
        messages_of(row)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"text": "a"}, r"the row has \['text'\]; expected messages, or prompt and completion"),
        ({"messages": "a"}, "messages of the row is 'a'; expected a list of messages"),
        ({"messages": [{"text": "a"}]}, "expected role and content in each"),
        (
            {"messages": [ASKED | {"content": [{"type": "image", "url": "a.png"}]}]},
            r"messages of the row has the content .*'image'.*; expected a text, or a list of parts",
        ),
        ({"messages": [ASKED | {"content": 4}]}, "has the content '4'; expected a text"),
        ({"messages": [ASKED | {"content": [{"type": "text"}]}]}, "expected a text, or a list"),
        ({"prompt": 4, "completion": "a"}, "prompt of the row is '4'; expected a list"),
    ],
)
def test_what_is_no_chat_is_refused(row, named):
    with pytest.raises(ValueError, match=named):
        messages_of(row)


@pytest.fixture
def tokenizer():
    return build_tokenizer("char", "User: Assistant: 2 + 2?\n4")


def test_a_plain_template_is_saved_with_the_tokenizer(tokenizer, tmp_path):
    assert set_eos_token(tokenizer) and not set_eos_token(tokenizer)
    assert "no chat template" in set_chat_template(tokenizer)
    assert set_chat_template(tokenizer) is None
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    prompt = again.apply_chat_template([ASKED], tokenize=False, add_generation_prompt=True)
    assert prompt == "User: 2 + 2?\nAssistant: "
    whole = again.apply_chat_template([ASKED, ANSWERED], tokenize=False)
    assert whole == prompt + "4[EOS]\n"
    tokens = again.convert_ids_to_tokens(again(whole)["input_ids"])
    assert tokens[-3:] == ["4", "[EOS]", "\n"]


def test_a_template_of_ones_own(tokenizer, tmp_path):
    assert "'raw'" in set_chat_template(tokenizer, "raw")
    assert tokenizer.apply_chat_template([ASKED, ANSWERED], tokenize=False) == "2 + 2?4"
    file = tmp_path / "mine.jinja"
    file.write_text("{{ messages[0]['content'] }}!")
    set_chat_template(tokenizer, str(file))
    assert tokenizer.apply_chat_template([ASKED], tokenize=False) == "2 + 2?!"
    with pytest.raises(ValueError, match="expected plain, raw or a file"):
        set_chat_template(tokenizer, "none.jinja")


def test_an_eos_token_of_the_vocabulary(tokenizer):
    size = len(tokenizer)
    assert not set_eos_token(tokenizer, "?")
    assert tokenizer.eos_token == "?" and len(tokenizer) == size
    with pytest.raises(ValueError, match="eos_token is 'xyz'"):
        set_eos_token(tokenizer, "xyz")
