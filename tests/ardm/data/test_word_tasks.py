"""Word tasks: answers are right, and words of one part are not in the other."""

import re

from ardm.data.chat_files import load_chats
from ardm.data.word_tasks import TASKS, word_task_rows


def test_answers_are_right():
    rows = {row["prompt"]: row["completion"] for row in word_task_rows()}
    assert rows["Spell 'range' backwards."] == "egnar"
    assert rows["Write 'range' in capitals."] == "RANGE"
    assert rows["How many letters has 'range'?"] == "5"
    assert rows["What is the first letter of 'range'?"] == "r"
    assert rows["What is the last letter of 'range'?"] == "e"
    assert len(rows) % len(TASKS) == 0 and len(rows) > 5000


def test_the_order_is_always_the_same_and_not_that_of_the_alphabet():
    prompts = [row["prompt"] for row in word_task_rows()]
    assert word_task_rows() == word_task_rows()
    spelled = prompts[:: len(TASKS)]
    assert spelled != sorted(spelled)


def test_no_word_is_in_both_parts():
    words = {
        part: {re.search("'(.*)'", row["prompt"])[1] for row in rows}
        for part, rows in load_chats(validation_fraction=0.03).items()
    }
    assert words["validation"] and not words["train"] & words["validation"]
