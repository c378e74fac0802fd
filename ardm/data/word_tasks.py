"""Word tasks: questions with one right answer, on words of the standard library's documentation.

    "Spell 'lamp' backwards." -> "pmal"        "How many letters has 'lamp'?" -> "4"

Answers have lengths of their own, and those to words that nobody trained on can be checked.
"""

import re
from collections.abc import Callable

from ..training import key_seed
from .texts import embedded_text

TASKS: dict[str, Callable[[str], str]] = {
    "Spell '{}' backwards.": lambda word: word[::-1],
    "Write '{}' in capitals.": str.upper,
    "How many letters has '{}'?": lambda word: str(len(word)),
    "What is the first letter of '{}'?": lambda word: word[0],
    "What is the last letter of '{}'?": lambda word: word[-1],
}
WORD_TASKS = "tasks on words of the Python documentation (standard library)"
_WORD = re.compile(r"\b[a-z]{3,8}\b")


def word_task_rows() -> list[dict[str, str]]:
    """All questions on each word, words in an order that tells nothing of them.

    Returns:
        Rows with `prompt` and `completion`; those on one word stand side by side, so that a part
        held out at the end is of words that the others do not hold.
    """
    words = sorted(set(_WORD.findall(embedded_text())))
    words.sort(key=lambda word: key_seed(0, word))
    return [
        {"prompt": question.format(word), "completion": answer(word)}
        for word in words
        for question, answer in TASKS.items()
    ]
