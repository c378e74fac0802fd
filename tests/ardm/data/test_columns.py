"""Laws of columns: the texts are found by name, or asked for with the names there are."""

import datasets
import pytest

from ardm.data.columns import NoTexts, choose_column, text_column_of


def column_of(rows, wanted=None):
    table = datasets.Dataset.from_list(rows)
    found = {text_column_of(table, wanted), text_column_of(table.to_iterable_dataset(), wanted)}
    (name,) = found
    return name


@pytest.mark.parametrize(
    ("row", "wanted", "expected"),
    [
        ({"text": "a"}, None, "text"),
        ({"body": "a", "n": 1}, None, "body"),
        ({"title": "a", "text": "b"}, None, "text"),
        ({"title": "a", "text": "b"}, "title", "title"),
        ({"text": "a", "messages": [{"role": "user"}], "input_ids": [1]}, None, "text"),
        ({"prompt": "a", "completion": "b"}, "prompt", "prompt"),
    ],
)
def test_column_by_name_or_the_only_one(row, wanted, expected):
    assert column_of([row], wanted) == expected


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (
            {"title": "a", "body": "b", "n": 1},
            r"one of \['title', 'body'\], of \['title', 'body', 'n",
        ),
        ({"prompt": "a", "completion": "b"}, r"\['prompt', 'completion'\].*as one text"),
        ({"n": 1}, r"no column .*'text'.*one of \[\]"),
        ({"text": 1, "a": "b", "c": "d"}, "'text'.*holds no strings"),
        # the only strings name the rows: they are not to be taken for the texts
        ({"text": ["a", "b"]}, "'text'.*holds no strings.*Write the text of each row"),
        ({"prompt": [{"role": "user"}], "completion": [{"role": "x"}]}, "Write the text of each"),
        (
            {"messages": [{"role": "user", "content": "a"}], "id": "x"},
            "'messages', chats.*one text",
        ),
        ({"conversations": [{"from": "human"}], "source": "x"}, "'conversations', chats"),
        ({"input_ids": [1, 2], "source": "x"}, "'input_ids', tokens.*decode"),
        ({"tokens": ["a", "b"], "id": "x"}, "'tokens', lists of tokens"),
    ],
)
def test_column_is_asked_for(row, match):
    with pytest.raises(ValueError, match=match):
        column_of([row])


@pytest.mark.parametrize("wanted", ["nope", "n"])
def test_wanted_column_is_one_of_strings(wanted):
    with pytest.raises(ValueError, match=r"'(nope|n)'.*one of \['a'\], of \['a', 'n'\]"):
        column_of([{"a": "x", "n": 1}], wanted)


def test_table_without_strings_is_told_from_one_with_several():
    with pytest.raises(NoTexts):
        choose_column([], ["n"], None, "t")
    # ... and from one whose texts are no strings: they are somebody's, and not to be passed over
    for strings, wanted, other in ((["a", "b"], None, "n"), ([], "n", "n"), ([], None, "text")):
        with pytest.raises(ValueError, match="of t") as caught:
            choose_column(strings, [*strings, other], wanted, "t")
        assert not isinstance(caught.value, NoTexts)


@pytest.mark.parametrize("wanted", ["a", None])
def test_two_columns_of_the_name_are_refused(wanted):
    with pytest.raises(ValueError, match="t has 2 columns called 'a'; expected one"):
        choose_column(["a"], ["a", "n", "a"], wanted, "t")
    assert choose_column(["a"], ["a", "n", "n"], wanted, "t") == "a"
