"""A fragment shows the canvas, token by token, tells how each came, and trusts no text."""

import math
import re
from html.parser import HTMLParser

import pytest

from ardm.data.tokenization import build_tokenizer
from ardm.viewing import Recorder, replay_fragment, text_fragment
from ardm.viewing.colours import CONFIDENCE, colour
from ardm.viewing.fragments import HIDDEN, STYLE

NASTY = '</span><b onclick="x">&\'<!--\n'
TOKENIZER = build_tokenizer("char", NASTY + "abc ")
SETTINGS = {
    "plain": {"tokens_per_step": 3},
    "resampled": {"tokens_per_step": 5, "resample_steps": 7, "resample_order": "remdm_cap"},
}
every_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


class Spans(HTMLParser):
    """The tokens of a fragment, and all other text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tokens, self.tags, self.rest = [], [], ""
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.inside = "data-tip" in attributes
        if self.inside:
            self.tokens.append(attributes | {"text": ""})

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.tokens[-1]["text"] += data
        else:
            self.rest += data


@pytest.fixture
def watched(tiny_model):
    """Fragments after each pass, and the trace at the end."""

    def watched(prompt=NASTY, new_tokens=24, **settings):
        ids = {"mask_token_id": TOKENIZER.mask_token_id, "pad_token_id": TOKENIZER.pad_token_id}
        model = tiny_model(
            vocab_size=len(TOKENIZER), **ids, max_position_embeddings=64, hidden_size=16
        )
        running = []
        recorder = Recorder(
            TOKENIZER, lambda trace: running.append(text_fragment(trace, running=True))
        )
        given = TOKENIZER(prompt, return_tensors="pt").input_ids
        new = {"max_new_tokens": new_tokens} if new_tokens else {}
        model.generate(given, **new, seed=4, streamer=recorder, **settings)
        return running, recorder.trace

    return watched


@every_setting
def test_each_pass_shows_the_canvas(watched, settings):
    running, trace = watched(**settings)
    assert len(running) == trace.num_steps
    for passes, html in enumerate(running, start=1):
        seen = Spans(html)
        frame = trace.frame(passes)
        shown = [HIDDEN if token is None else trace.pieces[token] for token in frame]
        assert [token["text"] for token in seen.tokens] == shown
        assert set(seen.tags) <= {"div", "span", "br", "i"}
        for position, (token, span) in enumerate(zip(frame, seen.tokens, strict=True)):
            events = [
                event
                for step in trace.steps[:passes]
                for event in step
                if event.position == position
            ]
            kinds = span["class"].split()
            assert ("given" in kinds) == (trace.start[position] is not None)
            assert ("hidden" in kinds) == (token is None and not events)
            assert ("back" in kinds) == (token is None and bool(events))
            newest = bool(events) and token is not None and events[-1].step == passes - 1
            assert ("now" in kinds) == newest
        hidden = frame.count(None)
        asked = trace.start.count(None)
        assert f"pass {passes}" in seen.rest and f"{asked - hidden} of {asked} tokens" in seen.rest


@every_setting
def test_a_token_tells_its_log_probability_and_has_its_colour(watched, settings):
    _, trace = watched(**settings)
    seen = Spans(text_fragment(trace))
    for position, (span, written) in enumerate(zip(seen.tokens, trace.writings(), strict=True)):
        if not written:
            assert span["data-tip"] == f"“{trace.pieces[trace.start[position]]}” was given"
            continue
        last = written[-1]
        told = float(re.search(r"log p = (\S+) nats", span["data-tip"])[1])
        assert told == pytest.approx(last.log_prob, abs=5.1e-4)
        assert f"at pass {last.step + 1}:" in span["data-tip"].splitlines()[0]
        assert span["data-tip"].count(" at pass ") >= len(written)
        rgb = colour(CONFIDENCE, math.exp(last.log_prob))
        assert f"background: rgb{rgb};" in span["style"]
        assert ("again" in span["class"]) == (len(written) > 1)
    again = sum(len(written) > 1 for written in trace.writings())
    assert (f"{again} written again" in seen.rest) == bool(again)


def test_the_sum_is_told_where_it_is_the_path_s(watched):
    _, trace = watched(**SETTINGS["plain"])
    total = sum(event.log_prob for step in trace.steps for event in step)
    bits = -total / math.log(2) / 24
    told = Spans(text_fragment(trace)).rest
    assert f"log p = {total:.1f} nats, {bits:.2f} bits a token" in told
    assert "bits a token" not in text_fragment(trace, running=True)
    _, resampled = watched(**SETTINGS["resampled"])
    assert any(len(written) > 1 for written in resampled.writings())
    assert "bits a token" not in text_fragment(resampled)


def test_no_text_becomes_an_element(watched):
    _, trace = watched()
    for token in {*trace.last_frame}:
        trace.pieces[token] = NASTY
    seen = Spans(text_fragment(trace))
    assert {token["text"] for token in seen.tokens} == {NASTY}
    assert {*seen.tags} == {"div", "span", "i"}
    assert all("onclick" not in token for token in seen.tokens)


@pytest.mark.filterwarnings("ignore:nothing to generate")
def test_line_breaks_break_lines_and_characters_form_a_grid(watched):
    _, trace = watched("a\nb", 0, eos_token_id=None)
    html = text_fragment(trace)
    assert "⏎</span><br>" in html and 'class="ardm-text grid"' in html
    trace.pieces[trace.start[0]] = "long"
    assert 'class="ardm-text"' in text_fragment(trace)


def test_the_style_is_for_the_classes_that_there_are_and_loads_nothing(watched):
    _, trace = watched()
    used = set(re.findall(r'class="([^"]+)"', text_fragment(trace) + replay_fragment(trace)))
    names = {name for each in used for name in each.split()}
    assert names <= set(re.findall(r"\.([\w-]+)", STYLE))
    assert "url(" not in STYLE and "@import" not in STYLE


def test_the_replay_is_the_page_and_cannot_leave_its_frame(watched):
    _, trace = watched()
    html = replay_fragment(trace, NASTY)
    tag = re.fullmatch(
        r'<iframe class="ardm-replay" sandbox="(.*?)" srcdoc="([^"]*)"></iframe>', html
    )
    assert tag[1] == "allow-scripts"  # neither the page around it nor its origin
    assert "<" not in tag[2] and "default-src 'none'" in tag[2].replace("&#x27;", "'")


def test_a_probability_that_is_not_known_has_no_colour(watched):
    _, trace = watched("a[MASK]", 0)
    event = trace.steps[0][0]
    object.__setattr__(event, "log_prob", math.nan)
    span = Spans(text_fragment(trace)).tokens[-1]
    assert "style" not in span and span["data-tip"].endswith("at pass 1")
    assert "bits a token" not in text_fragment(trace)
