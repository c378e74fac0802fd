"""Answers as rows: what is given and what is learned; several turns; what does not fit is told."""

import pytest
import torch

from ardm.data import build_tokenizer
from ardm.data.answers import make_answer_rows, read_turns
from ardm.data.chats import set_chat_template, set_eos_token

CHAT = [
    {"role": "system", "content": "Add."},
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "9 + 9?"},
    {"role": "assistant", "content": "18"},
]
ROWS = [{"messages": CHAT}, {"prompt": "3?", "completion": "three"}]
LETTERS = "User: Assistant: System: Add. three\n0123456789+?"


@pytest.fixture
def tokenizer():
    made = build_tokenizer("char", LETTERS)
    set_eos_token(made)
    set_chat_template(made)
    return made


def texts(tokenizer, row):
    """What is given, what is learned, and how much is padding."""
    ids, real, given = (row[name] for name in ("input_ids", "attention_mask", "prompt_mask"))
    learned = real.bool() & ~given.bool()
    return (
        tokenizer.decode(ids[given.bool()]),
        tokenizer.decode(ids[learned]),
        int((~real.bool()).sum()),
    )


def test_prompt_answer_and_the_eos_behind_it(tokenizer):
    rows = make_answer_rows(read_turns(ROWS, tokenizer), tokenizer, 7)
    given = "System: Add.\nUser: 2 + 2?\nAssistant: "
    later = f"{given}4[EOS]\nUser: 9 + 9?\nAssistant: "
    end = "[EOS]"
    alone = "User: 3?\nAssistant: "
    # the answer that comes first does not see those behind it
    length = rows[0]["input_ids"].shape[0]
    for row, prompt, answer in zip(
        rows, (given, later, alone), ("4" + 6 * end, "18" + 5 * end, "three" + 2 * end), strict=True
    ):
        num_known = len(tokenizer(prompt)["input_ids"])
        assert texts(tokenizer, row) == (prompt, answer, length - num_known - 7)
    assert rows[:]["num_answer_tokens"].tolist() == [2, 3, 6]
    assert rows[:]["chat"].tolist() == [0, 0, 1]


def test_generation_sees_what_training_saw(tokenizer):
    """The prompt's ids are those of `apply_chat_template`, whatever follows."""
    for turn in read_turns(ROWS, tokenizer).turns:
        inputs = tokenizer.apply_chat_template(
            turn.messages, add_generation_prompt=True, return_dict=True
        )
        assert inputs["input_ids"] == turn.prompt_ids


def test_what_is_left_out_is_counted(tokenizer):
    nothing = [
        {"messages": [CHAT[1]]},
        {"messages": [CHAT[2]]},
        {"messages": [CHAT[1], {"role": "assistant", "content": ""}]},
        {"prompt": "3?", "completion": None},
        {"prompt": "3?", "completion": "é"},
    ]
    turns = read_turns([*ROWS, *nothing], tokenizer)
    assert str(turns) == (
        "4 answers of 7 chats; left out: 1 x no answer, 1 x answer without a question,"
        " 1 x answer without a content, 1 x no completion;"
        " 1 hold characters that the tokenizer does not know"
    )
    fitting = turns.fitting(3, 30)
    assert [turn.answer for turn in fitting.turns] == ["é"]
    assert fitting.left_out["answer and EOS of more than 3 tokens"] == 1
    assert fitting.left_out["prompt of more than 27 tokens"] == 2
    assert len(turns.fitting(6)) == 4


@pytest.mark.parametrize("name", ["mask", "pad", "eos"])
def test_a_text_that_spells_a_special_token_is_left_out(tokenizer, name):
    """It would be hidden, taken for padding, or cut."""
    token = getattr(tokenizer, f"{name}_token")
    rows = [
        *ROWS,
        {"prompt": "3?", "completion": f"three {token} 3"},
        {"prompt": f"3 {token}?", "completion": "three"},
        {"messages": [CHAT[1], {"role": "assistant", "content": f"4{token}"}, *CHAT[3:]]},
    ]
    turns = read_turns(rows, tokenizer)
    assert turns.turns == read_turns(ROWS, tokenizer).turns
    what = f"the {name.replace('eos', 'EOS')} token {token!r} in its text"
    assert turns.left_out == {f"answer with {what}": 2, f"prompt with {what}": 2}
    assert f"2 x answer with {what} (first: row 3), 2 x prompt with {what} (first: row 4)" in (
        str(turns.fitting(7))
    )


def test_an_eos_that_pads_ends_earlier_answers_all_the_same(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    assert len(read_turns(ROWS, tokenizer)) == 3


def test_nothing_is_cut(tokenizer):
    turns = read_turns(ROWS, tokenizer)
    assert turns.longest_answer == 6
    with pytest.raises(ValueError, match="an answer has 6 tokens with its EOS; expected at most"):
        make_answer_rows(turns, tokenizer, 5)
    with pytest.raises(ValueError, match="nothing to learn: 0 answers of 2 chats; left out"):
        make_answer_rows(turns.fitting(1), tokenizer, 1)


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer):
    tokenizer.chat_template = "{{ messages | length }}{{ messages[-1]['content'] }}"
    with pytest.raises(
        ValueError, match=r"row 1 of the data: the chat template writes '22 \+ 2\?'"
    ):
        read_turns(ROWS, tokenizer)


def test_an_end_of_a_turn_that_is_no_eos_belongs_to_the_answer(tokenizer):
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}?\n{% endfor %}"
        "{% if add_generation_prompt %}{% endif %}"
    )
    turn = read_turns(ROWS[1:], tokenizer).turns[0]
    assert tokenizer.decode(turn.answer_ids) == "three?\n[EOS]"


def test_rows_have_the_type_of_ids(tokenizer):
    rows = make_answer_rows(read_turns(ROWS, tokenizer), tokenizer, 6)
    assert all(value.dtype == torch.int64 for value in rows[0].values())
