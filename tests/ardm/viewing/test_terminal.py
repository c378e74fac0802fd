"""What is drawn is the canvas, in a grid that does not move; the terminal is left as found."""

import io
import re

import pytest
import torch
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from ardm.data.tokenization import build_tokenizer
from ardm.viewing.colours import CONFIDENCE, colour
from ardm.viewing.terminal import HIDDEN, TerminalView
from ardm.viewing.traces import Trace

TOKENIZER = build_tokenizer("char", "abcd \n\x1b[")
MASK = TOKENIZER.mask_token_id
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def model(tiny_model):
    ids = {
        "vocab_size": len(TOKENIZER),
        "mask_token_id": MASK,
        "pad_token_id": TOKENIZER.pad_token_id,
    }
    return tiny_model(**ids, max_position_embeddings=90, hidden_size=16)


def console(terminal, width=40, height=20):
    colours = "truecolor" if terminal else None
    size = {"width": width, "height": height, "_environ": {}}
    return Console(file=io.StringIO(), force_terminal=terminal, color_system=colours, **size)


class Frames(TerminalView):
    """Keeps the lines of every drawing."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.frames = []

    def put_draft(self, value, **kwargs):
        super().put_draft(value, **kwargs)
        lines = self.console.render_lines(self._drawing(), pad=False)
        self.frames.append(["".join(segment.text for segment in line) for line in lines])


def grid(frame):
    return "".join(line[2:-2] for line in frame if line.startswith("│"))


RESAMPLED = {"tokens_per_step": 7, "resample_steps": 9}
BETWEEN = {"tokens_per_step": 5, "resample_steps": 9, "resample_order": "remdm_cap"}
BETWEEN["resample_fraction"] = 0.5


@pytest.mark.parametrize("settings", [{}, RESAMPLED, BETWEEN])
def test_every_drawing_is_the_canvas_in_a_grid_that_does_not_move(model, settings):
    view = Frames(TOKENIZER, console=console(True))
    output = model.generate(
        seed=1, streamer=view, return_dict_in_generate=True, output_history=True, **settings
    )
    trace = Trace.of(TOKENIZER, output, path=view.path)
    assert len(view.frames) == output.num_forward_passes
    for passes, frame in enumerate(view.frames, start=1):
        shown = (HIDDEN if token is None else trace.pieces[token] for token in trace.frame(passes))
        assert grid(frame).rstrip() == "".join(shown).rstrip()
        assert f"pass {passes} " in "".join(frame)
    shapes = {tuple(map(len, frame[:-2])) for frame in view.frames}  # all but the status lines
    assert len(shapes) == 1


def test_the_path_ends_where_generate_does(model):
    view = TerminalView(TOKENIZER, console=console(False))
    prompt = torch.tensor([[0, 1, MASK, 2, MASK, 3]])
    output = model.generate(
        prompt, max_new_tokens=5, seed=0, streamer=view, return_dict_in_generate=True
    )
    assert len(view.path) == output.num_forward_passes
    assert torch.equal(view.path[-1][0], output.order[0]) and torch.equal(
        view.path[-1][1], output.log_probs[0]
    )


@pytest.mark.parametrize("order", ["random", "left_to_right"])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_shown_of_what_lies_behind_the_end(model, order, terminal):
    settings = {"order": order, "tokens_per_step": 3, "eos_token_id": 1, "max_new_tokens": 20}
    for seed in range(5):
        view = TerminalView(TOKENIZER, console=console(terminal))
        ids = TOKENIZER("ac", return_tensors="pt").input_ids
        out = model.generate(
            ids,
            seed=seed,
            streamer=view,
            return_dict_in_generate=True,
            output_history=True,
            **settings,
        )
        kept = out.sequences[0, out.sequences[0] != TOKENIZER.pad_token_id]
        text, count = TOKENIZER.decode(kept), len(kept) - 2
        assert (out.sequences == TOKENIZER.pad_token_id).any()
        assert view._trace.text == text == Trace.of(TOKENIZER, out, path=None).text
        assert f"{count} of {count} tokens" in ESCAPES.sub("", view.console.file.getvalue())


def test_a_token_is_coloured_by_the_probability_with_which_it_was_drawn():
    view = TerminalView(TOKENIZER, console=console(True))
    view.put(torch.tensor([[0]]))
    log_probs = torch.tensor([[0.0, 0.25, 0.0, 0.0]], dtype=torch.float64)
    log_probs[0, 1] = log_probs[0, 1].log()
    view.put_draft(
        torch.tensor([[1, 2, MASK, 3]]), order=torch.tensor([[0, 0, -1, -1]]), log_probs=log_probs
    )
    view.put_draft(
        torch.tensor([[1, 2, 0, 3]]), order=torch.tensor([[0, 0, 1, -1]]), log_probs=log_probs
    )
    # given, as sure as can be, a quarter, just written, given
    styles = [view._style(position, 0) for position in range(5)]
    assert styles[0] == styles[4] == "bold" and "reverse" in styles[3]
    for style, probability in ((styles[1], 1.0), (styles[2], 0.25)):
        assert style.bgcolor.triplet == colour(CONFIDENCE, probability) and not style.underline
    again = torch.tensor([[2, -1, 1, -1]])
    view.put_draft(torch.tensor([[1, MASK, 0, 3]]), order=again, log_probs=log_probs)
    view.put_draft(torch.tensor([[1, MASK, 0, 3]]), order=again, log_probs=log_probs)
    assert view._style(1, 0).underline and "red" in view._style(2, None)


def test_without_a_terminal_only_the_text_is_written_and_no_escape_codes(model):
    # nothing is drawn, so nothing waits
    view = TerminalView(TOKENIZER, delay=1e6, console=console(False))
    prompt = TOKENIZER("ab\x1b[d\nc" + TOKENIZER.mask_token * 4, return_tensors="pt").input_ids
    with view:
        ids = model.generate(prompt, seed=2, streamer=view)
    written = view.console.file.getvalue()
    assert written.startswith("pass 4   4 of 4 tokens   1.0 a pass\n\n") and "\x1b" not in written
    assert written.endswith("\n" + TOKENIZER.decode(ids[0]).replace("\x1b", "␛") + "\n")


@pytest.mark.filterwarnings("ignore:nothing to generate")
def test_a_long_line_is_not_broken(model):
    view = TerminalView(TOKENIZER, console=console(False, width=20))
    ids = TOKENIZER("abcd" * 20, return_tensors="pt").input_ids
    model.generate(ids, streamer=view)  # nothing is hidden
    assert view.console.file.getvalue() == "pass 0   0 of 0 tokens\n\n" + "abcd" * 20 + "\n"


def test_on_a_terminal_the_text_steers_nothing_and_the_cursor_comes_back(model):
    prompt = TOKENIZER("\x1b[d\x1b" * 8 + TOKENIZER.mask_token * 4, return_tensors="pt").input_ids
    with TerminalView(TOKENIZER, console=console(True)) as view:
        model.generate(prompt, seed=0, streamer=view)
    written = view.console.file.getvalue()
    assert "\x1b" not in ESCAPES.sub("", written) and "\x1b[d" not in written and "␛[d␛" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_the_cursor_comes_back_after_an_error(model):
    class Failure(Exception):
        pass

    class Breaking(TerminalView):
        def put_draft(self, value, **kwargs):
            super().put_draft(value, **kwargs)
            raise Failure

    with pytest.raises(Failure), Breaking(TOKENIZER, console=console(True)) as view:
        model.generate(streamer=view)
    written = view.console.file.getvalue()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_of_a_text_higher_than_the_terminal_the_part_around_the_first_gap_is_drawn(model):
    view = Frames(TOKENIZER, console=console(True, width=24, height=10))  # 20 cells a row, 4 rows
    model.generate(seed=0, order="left_to_right", streamer=view)
    assert all(len(frame) <= 10 for frame in view.frames)
    assert "rows 1-4 of 5" in view.frames[0][0] and "rows 2-5 of 5" in view.frames[-1][0]
    assert all(HIDDEN in grid(frame) for frame in view.frames[:-1])


def test_bad_input_is_an_error_that_names_it():
    maskless = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)
    with pytest.raises(ValueError, match="no mask token"):
        TerminalView(maskless)
    for delay in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"delay is {delay}"):
            TerminalView(TOKENIZER, delay)
