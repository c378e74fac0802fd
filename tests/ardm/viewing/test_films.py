"""A film shows each pass of a text's making, small enough for a card, in the page's colours."""

import builtins
import io

import numpy as np
import pytest
import torch
from PIL import Image

from ardm.data.tokenization import build_tokenizer
from ardm.viewing import Trace, film, film_of
from ardm.viewing.colours import ORDER, colour

TOKENIZER = build_tokenizer("char", "abc \n")
MASK = TOKENIZER.mask_token_id
CELL, MARGIN, BAR = (11, 25), 16, 34


def trace_of(order, steps=None, text="abc ab"):
    """Of a text whose position p is written at pass order[p]; -1: given."""
    ids = torch.tensor(TOKENIZER.encode(text)[: len(order)])
    order = torch.tensor(order)
    trace = Trace(TOKENIZER, ids.where(order < 0, MASK), order)
    for step in range(steps or int(order.max()) + 1):
        trace.add(ids.where(order <= step, MASK), order, torch.zeros(len(ids)).double())
    return trace


def frames_of(content):
    with Image.open(io.BytesIO(content)) as picture:
        found = []
        for number in range(picture.n_frames):
            picture.seek(number)
            found.append((np.array(picture.convert("RGB")), picture.info["duration"]))
        return found


def face(frame, position):
    """The colour of a cell of the first row, in its upper right corner, within an outline."""
    return tuple(int(c) for c in frame[BAR + 4, MARGIN + (position + 1) * CELL[0] - 5])


def test_every_pass_is_a_frame_in_the_colours_of_the_page():
    frames = frames_of(film(trace_of([2, -1, 0, 1, 0, 2])))
    assert len(frames) == 4
    last = [colour(ORDER, step / 2) for step in (0, 1, 2)]
    hidden, paper = (235, 235, 232), (255, 255, 255)
    shown = [[face(frame, position) for position in range(6)] for frame, _ in frames]
    wanted = [
        [hidden, paper, hidden, hidden, hidden, hidden],
        [hidden, paper, last[0], hidden, last[0], hidden],
        [hidden, paper, last[0], last[1], last[0], hidden],
        [last[2], paper, last[0], last[1], last[0], last[2]],
    ]
    # of at most 48 shades, the middle one lies beside the scale's own
    assert np.abs(np.array(shown) - np.array(wanted)).max() <= 6
    durations = [duration for _, duration in frames]
    assert durations[-1] > 2000 and len({*durations[:-1]}) == 1 and durations[0] >= 80


def test_an_outline_tells_what_a_pass_has_written():
    frames = [frame for frame, _ in frames_of(film(trace_of([0, 1, 2])))]
    edges = [[tuple(frame[BAR + 1, MARGIN + p * 11 + 5]) for p in range(3)] for frame in frames]
    outlined = [[max(edge) < 50 for edge in row] for row in edges]
    assert outlined == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]  # the last one is the text


@pytest.mark.parametrize("passes", [1, 47, 48, 100, 300])
def test_a_long_path_is_told_in_few_frames_with_both_ends(passes):
    order = [*range(passes)]
    text = ("abc " * 75)[:passes]
    frames = frames_of(film(trace_of(order, text=text)))
    assert len(frames) <= 48
    assert face(frames[0][0], 0) == (235, 235, 232)
    assert face(frames[-1][0], 0) == colour(ORDER, 0)
    seconds = sum(duration for _, duration in frames) / 1000
    assert 3 <= seconds <= 12


def test_a_long_text_is_cut_to_its_first_rows():
    text = "a\n" * 60
    [(first, _), *_] = frames_of(film(trace_of([0] * len(text), text=text)))
    assert first.shape == (20 * CELL[1] + 2 * BAR, 64 * CELL[0] + 2 * MARGIN, 3)
    with pytest.raises(ValueError, match="no positions; expected at least one token"):
        film(Trace(TOKENIZER, torch.zeros(0).long(), torch.zeros(0).long()))


def test_a_model_films_its_own_writing(tiny_model):
    ids = {"mask_token_id": MASK, "pad_token_id": TOKENIZER.pad_token_id}
    text = torch.tensor(TOKENIZER.encode("ab c " * 60))
    for stages in ({}, {"num_stages": 2, "branching_factor": 3}):
        model = tiny_model(vocab_size=len(TOKENIZER), max_position_embeddings=300, **ids, **stages)
        content = film_of(model, TOKENIZER, text, passes=8, seed=3)
        assert len(frames_of(content)) == 9
        assert content == film_of(model, TOKENIZER, text.flip(0), passes=8, seed=3)
    assert len(film_of(model, TOKENIZER, text)) < 300_000


def test_what_a_model_is_always_given_stays(tiny_model):
    model = tiny_model(vocab_size=len(TOKENIZER), mask_token_id=MASK)
    model.config.given_token_ids = TOKENIZER.encode("c")
    text = torch.tensor(TOKENIZER.encode("cabc"))
    [(first, _), *others] = frames_of(film_of(model, TOKENIZER, text))
    paper, hidden = (255, 255, 255), (235, 235, 232)
    assert [face(first, position) for position in range(4)] == [paper, hidden, hidden, paper]
    assert len(others) == 2


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    trace = trace_of([0, 1])
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        film(trace)
