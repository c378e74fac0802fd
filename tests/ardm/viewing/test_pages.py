"""A visitor sees the trace at every step, in a browser too; a picture colours by the order."""

import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from rich.console import Console
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from ardm.data.tokenization import build_tokenizer
from ardm.viewing.colours import CONFIDENCE, ORDER, colour
from ardm.viewing.pages import order_figure, plot_order, write_page
from ardm.viewing.terminal import TerminalView
from ardm.viewing.traces import Trace

NASTY = "</script><b>&\"'<!-- TRACE \\u003c\n"
TOKENIZER = build_tokenizer("char", NASTY + "abc ")
CALLS = {
    "plain": {"tokens_per_step": 3},
    "resampled": {
        "tokens_per_step": 5,
        "resample_steps": 7,
        "resample_order": "remdm_cap",
        "resample_fraction": 0.4,
    },
}


@pytest.fixture
def make_trace(tiny_model):
    def make(prompt=NASTY, new_tokens=24, **settings):
        ids = {"mask_token_id": TOKENIZER.mask_token_id, "pad_token_id": TOKENIZER.pad_token_id}
        model = tiny_model(
            vocab_size=len(TOKENIZER), **ids, max_position_embeddings=64, hidden_size=16
        )
        view = TerminalView(TOKENIZER, console=Console(file=io.StringIO()))
        output = model.generate(
            TOKENIZER(prompt, return_tensors="pt").input_ids,
            max_new_tokens=new_tokens,
            seed=4,
            streamer=view,
            return_dict_in_generate=True,
            output_history=True,
            **settings,
        )
        return Trace.of(TOKENIZER, output, path=view.path)

    return make


# --------------------------------------------------------------------------------------------- page
@pytest.mark.parametrize("settings", CALLS.values(), ids=CALLS)
def test_the_page_holds_the_trace_and_nothing_that_ends_its_script(make_trace, tmp_path, settings):
    trace = make_trace(**settings)
    write_page(trace, tmp_path / "page.html", caption=NASTY)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="trace">(.*?)</script>', page)[1]
    assert not set("<>&") & set(data) and page.count("</script>") == 2
    data = json.loads(data)
    assert (data["caption"], data["text"], data["steps"]) == (NASTY, trace.text, trace.num_steps)
    assert data["resampled"] == any(len(written) > 1 for written in trace.writings())
    pieces = [*data["pieces"], None]
    texts = [pieces[-1 if piece is None else piece] for piece in data["start"]]
    for passes in range(trace.num_steps + 1):
        for step, position, piece, probability in data["events"]:
            if step == passes - 1:
                texts[position] = pieces[-1 if piece is None else piece]
                assert (probability is None) == (piece is None)
                assert probability is None or 0 <= probability <= 1
        frame = trace.frame(passes)
        assert texts == [None if token is None else trace.pieces[token] for token in frame]


def test_the_page_loads_nothing(make_trace, tmp_path):
    write_page(make_trace("a"), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w|@import|url\(|<link|src=", page)
    assert "default-src 'none'" in page


# ------------------------------------------------------------------------------------------ picture
def cells(trace):
    """Face colour and hatch of each token's cell, in the order of the text."""
    patches = order_figure(trace).axes[0].patches
    return [(patch.get_facecolor()[:3], patch.get_hatch()) for patch in patches]


@pytest.mark.parametrize("settings", CALLS.values(), ids=CALLS)
def test_cells_have_the_colours_of_their_steps(make_trace, settings):
    trace = make_trace("abc\n", **settings)
    drawn = cells(trace)
    assert len(drawn) > len(trace.start)  # the legend's come last
    for (face, hatch), written in zip(drawn, trace.writings(), strict=False):
        assert (hatch is None) == bool(written)  # given ones are hatched
        if written:
            expected = colour(ORDER, written[-1].step / (trace.num_steps - 1))
            assert face == pytest.approx([channel / 255 for channel in expected])


def drawn_texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_legend_explains_what_there_is_and_nothing_else(make_trace):
    resampled = drawn_texts(order_figure(make_trace("abc\n", **CALLS["resampled"])))
    assert resampled[-4:] == ["pass 1", resampled[-3], "given", "written again"]
    plain = drawn_texts(order_figure(make_trace("", **CALLS["plain"])))
    assert plain[-2:] == ["pass 1", "8"]


@pytest.mark.parametrize(
    "text", ["$x$ \\alpha_1", "żółw 中文 \U0001f600\u0301", "a" * 130, "\n\n\n"]
)
def test_any_text_can_be_drawn(tmp_path, text):
    tokenizer = build_tokenizer("char", text)
    ids = tokenizer(text, return_tensors="pt").input_ids[0]
    trace = Trace(tokenizer, ids, torch.full_like(ids, -1))
    plot_order(trace, tmp_path / "order.png")
    assert (tmp_path / "order.png").read_bytes().startswith(b"\x89PNG")
    width, height = order_figure(trace).get_size_inches()
    assert width < 11 and height < 3.2  # a line of the text is at most 64 characters


def test_a_trace_without_positions_is_an_error(tmp_path):
    empty = torch.empty(0, dtype=torch.long)
    with pytest.raises(ValueError, match="no positions"):
        plot_order(Trace(TOKENIZER, empty, empty), tmp_path / "order.png")
    assert not (tmp_path / "order.png").exists()


def test_a_picture_names_what_to_install(make_trace, tmp_path, monkeypatch):
    trace = make_trace("a")
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.font_manager"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        plot_order(trace, tmp_path / "order.png")


@pytest.mark.slow
def test_files_are_whole_or_not_there(make_trace, tmp_path, monkeypatch):
    trace = make_trace("a")
    for write, name in ((write_page, "page.html"), (plot_order, "order.png")):
        write(trace, tmp_path / name)
        before = (tmp_path / name).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", lambda *paths: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                write(make_trace("b"), tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"page.html", "order.png"}


# ------------------------------------------------------------------------------------- in a browser
class Slots(HTMLParser):
    """Each slot's text, classes and background, and the texts of the elements with an id."""

    def __init__(self, dom):
        super().__init__()
        self.slots = {}
        self.texts = {}
        self.open = []
        self.tags = []
        self.feed(dom)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("br", "wbr", "meta", "input"):
            return
        self.open.append((tag, attributes))
        self.tags.append(tag)
        if "data-position" in attributes:
            slot = {"text": "", "is": attributes["class"].split(), "style": ""}
            self.slots[int(attributes["data-position"])] = slot
        elif self.slot is not None:
            self.slots[self.slot]["style"] = attributes.get("style") or ""

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.slot is not None:
            self.slots[self.slot]["text"] += data
        for _, attributes in self.open:
            if "id" in attributes:
                self.texts[attributes["id"]] = self.texts.get(attributes["id"], "") + data

    @property
    def slot(self):
        return next((int(a["data-position"]) for _, a in self.open if "data-position" in a), None)


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    profile = tmp_path_factory.mktemp("profile")

    def browse(path, hash_="", *flags, budget=2000):
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--enable-logging=stderr", f"--user-data-dir={profile}"]
        command += [f"--virtual-time-budget={budget}", "--window-size=1000,700", *flags]
        command += [f"{path.as_uri()}#{hash_}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "CONSOLE" not in done.stderr, done.stderr
        return done.stdout

    return browse


def rgb(text):
    return tuple(map(int, re.search(r"background: rgb\((\d+), (\d+), (\d+)\)", text).groups()))


@pytest.mark.slow
@pytest.mark.parametrize("settings", CALLS.values(), ids=CALLS)
def test_a_visitor_sees_the_canvas_at_the_first_a_middle_and_the_last_step(
    make_trace, tmp_path, browse, settings
):
    trace = make_trace(**settings)
    write_page(trace, tmp_path / "page.html", caption=NASTY)
    middle, last = trace.num_steps // 2, trace.num_steps
    for step, asked in ((0, "step=0"), (middle, f"step={middle}"), (last, "step=9999"), (last, "")):
        seen = Slots(browse(tmp_path / "page.html", asked, "--dump-dom"))
        assert seen.texts["status"].startswith(f"pass {step} of {last}")
        assert seen.texts["caption"] == NASTY and seen.tags.count("b") == 1  # the page's own
        written = [[event for event in life if event.step < step] for life in trace.writings()]
        for position, token in enumerate(trace.frame(step)):
            slot, life = seen.slots[position], written[position]
            assert slot["text"] == ("" if token is None else trace.pieces[token])
            given = trace.start[position] is not None
            assert ("given" in slot["is"]) == given
            assert ("hidden" in slot["is"]) == (token is None and not life)
            assert ("back" in slot["is"]) == (token is None and bool(life))
            newest = token is not None and not given and life[-1].step == step - 1
            assert ("now" in slot["is"]) == newest
            assert ("again" in slot["is"]) == (token is not None and len(life) > 1)
            if token is not None and not given:
                expected = colour(CONFIDENCE, float(np.exp(life[-1].log_prob)))
                assert np.abs(np.subtract(rgb(slot["style"]), expected)).max() <= 1
    assert seen.texts["plain"] == trace.text and NASTY in trace.text
    assert "written again" in seen.texts["legend"] if settings is CALLS["resampled"] else True


@pytest.mark.slow
def test_colours_by_pass_and_a_history_that_is_pointed_at(make_trace, tmp_path, browse):
    trace = make_trace(**CALLS["resampled"])
    write_page(trace, tmp_path / "page.html")
    position, written = max(enumerate(trace.writings()), key=lambda item: len(item[1]))
    seen = Slots(browse(tmp_path / "page.html", f"colour=pass&position={position}", "--dump-dom"))
    for place, life in enumerate(trace.writings()):
        if life:
            expected = colour(ORDER, life[-1].step / (trace.num_steps - 1))
            assert np.abs(np.subtract(rgb(seen.slots[place]["style"]), expected)).max() <= 1
    lines = [
        f"“{trace.pieces[event.token]}” at pass {event.step + 1}, probability " for event in written
    ]
    assert len(written) > 1 and all(line in seen.texts["tip"] for line in lines)
    assert seen.texts["tip"].index(lines[-1]) == 0 and f"position {position}" in seen.texts["tip"]


@pytest.mark.slow
def test_the_page_plays_listens_to_keys_and_does_not_move(make_trace, tmp_path, browse):
    trace = make_trace(**CALLS["resampled"])
    write_page(trace, tmp_path / "page.html")
    seen = Slots(browse(tmp_path / "page.html", "step=0&play=1", "--dump-dom", budget=30_000))
    assert seen.texts["status"].startswith(f"pass {trace.num_steps} of")
    assert seen.texts["play"] == "▶ Play"
    visit = """<script>
    const places = () => JSON.stringify(slots.map(slot => slot.getBoundingClientRect()));
    const press = key => {
      document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
      seen.push(passes);
      moved ||= places() !== first;
    };
    const seen = [], first = places();
    let moved = false;
    const keys = ["Home", "ArrowLeft", "ArrowRight", "ArrowRight", "c", "End", "ArrowRight"];
    [...keys, "ArrowLeft"].forEach(press);
    while (passes > 0) press("ArrowLeft");
    slots[2].dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
    const tip = [at("tip").hidden, at("tip").textContent];
    at("caption").textContent = JSON.stringify([seen, moved, by, ...tip]);
    </script></html>"""
    page = (tmp_path / "page.html").read_text(encoding="utf-8").replace("</html>", visit)
    (tmp_path / "visited.html").write_text(page, encoding="utf-8")
    seen = Slots(browse(tmp_path / "visited.html", "", "--dump-dom"))
    steps, moved, by, tip_is_hidden, tip = json.loads(seen.texts["caption"])
    last = trace.num_steps
    assert steps == [0, 0, 1, 2, 2, last, last, last - 1, *range(last - 2, -1, -1)]
    assert (moved, by, tip_is_hidden, tip) == (False, "pass", False, "“s” was given\nposition 2")


@pytest.mark.slow
def test_tokens_of_any_length_fit_their_slots_from_the_start(tmp_path, browse):
    vocab = {word: i for i, word in enumerate(["[MASK]", "<b>", "a", "immeasurable", "x", "of"])}
    words = Tokenizer(models.WordLevel(vocab, unk_token="[MASK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, mask_token="[MASK]")
    order, no_idea = torch.tensor([-1, 3, 2, 1]), torch.full((4,), float("nan"))
    trace = Trace(tokenizer, torch.tensor([1, 2, 3, 4]), order)
    for canvas in ([1, 0, 3, 0], [1, 0, 2, 5], [1, 4, 3, 5], [1, 3, 3, 5]):
        trace.add(torch.tensor(canvas), order, no_idea)
    visit = """<script>
    const places = [], texts = [];
    for (let step = 0; step <= trace.steps; step++) {
      go(step);
      places.push(JSON.stringify(slots.map(slot => slot.getBoundingClientRect())));
      texts.push(slots.map(slot => slot.textContent));
      const parts = slots.map(slot => slot.firstChild);
      if (parts.some(part => part.scrollWidth > part.clientWidth)) texts.push("too long");
    }
    point(0);
    const found = [new Set(places).size, texts, at("tip").textContent];
    at("caption").textContent = JSON.stringify(found);
    </script></html>"""
    write_page(trace, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8").replace("</html>", visit)
    (tmp_path / "visited.html").write_text(page, encoding="utf-8")
    different, texts, tip = json.loads(
        Slots(browse(tmp_path / "visited.html", "", "--dump-dom")).texts["caption"]
    )
    frames = [trace.frame(step) for step in range(5)]
    shown = [["" if token is None else trace.pieces[token] for token in frame] for frame in frames]
    assert texts == shown
    assert (different, tip) == (1, "“ <b>” was given\nposition 0")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_in_both_schemes(make_trace, tmp_path, browse, scheme):
    write_page(make_trace(), tmp_path / "page.html")
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browse(tmp_path / "page.html", "step=4", f"--screenshot={tmp_path / 'page.png'}", *dark)
    background = imread(tmp_path / "page.png")[5, 5, :3]
    assert (background.mean() < 0.2) == (scheme == "dark")
