"""Rows of a text: every token is scored once, with all the context that fits."""

import pytest

from ardm.metrics.scorer_rows import causal_rows, masked_rows, scored_spans, window_sizes

SIZES = [(5, 1), (5, 2), (5, 4), (2, 1), (30, 15)]


@pytest.mark.parametrize(("capacity", "step"), SIZES)
@pytest.mark.parametrize("length", [0, 1, 4, 5, 6, 17])
def test_windows_are_full_and_show_every_token_as_new_once(length, capacity, step):
    found = list(scored_spans(length, capacity, step))
    assert [i for _, end, new in found for i in range(new, end)] == list(range(length))
    assert all(end - begin == min(capacity, length) for begin, end, _ in found)


@pytest.mark.parametrize(("capacity", "step"), SIZES)
@pytest.mark.parametrize("bos", [None, 9])
def test_a_causal_row_has_each_target_behind_its_place(bos, capacity, step):
    ids = [3, 1, 4, 1, 5, 2, 6]
    rows = list(causal_rows(bos, capacity, step, 7, ids))
    assert [target for row in rows for target in row.targets] == (ids[1:] if bos is None else ids)
    for row in rows:
        assert row.text == 7 and len(row.input_ids) <= capacity
        behind = [*row.input_ids[1:]]
        assert row.targets == [behind[place] for place in row.places]


@pytest.mark.parametrize(("capacity", "step"), SIZES)
def test_a_masked_row_hides_its_target_alone(capacity, step):
    ids = [3, 1, 4, 1, 5, 2, 6]
    rows = list(masked_rows(0, [8, 8], [7], capacity, step, 7, ids))
    assert [target for row in rows for target in row.targets] == ids
    for row in rows:
        (place,) = row.places
        assert row.input_ids.count(0) == 1 and row.input_ids[place] == 0
        assert row.input_ids[:2] == [8, 8] and row.input_ids[-1] == 7
        text = [*row.input_ids]
        text[place] = row.targets[0]
        window = text[2:-1]
        assert any(ids[i : i + len(window)] == window for i in range(len(ids)))


def test_sizes_leave_room_for_special_tokens_and_advance_by_half():
    assert window_sizes(30, 3, None, None) == (27, 13)
    assert window_sizes(30, 3, 10, 2) == (7, 2)
    assert window_sizes(30, 3, 5, None) == (2, 1)
    for max_length, stride, named in ((31, None, "max_length"), (4, None, "max_length")):
        with pytest.raises(ValueError, match=f"{named} is {max_length}"):
            window_sizes(30, 3, max_length, stride)
    for stride in (0, 27):
        with pytest.raises(ValueError, match=f"stride is {stride}"):
            window_sizes(30, 3, None, stride)
