"""A visitor of the page, in a real browser: types, clicks, waits, and sees what the models make."""

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForMaskedLM, AutoTokenizer

import ddpm
from ardm.data.gaps import encode_gaps
from ddpm.drawing import draw_images, gathered
from ddpm.hub import CardFigures, image_grid, load_folder, save_folder

from ..browser import Browser, find_browser

ROOT = Path(__file__).parents[2]
NAMES = ["cat", "dog"]
SIZES = {"image_size": 4, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4, "num_heads": 1}
TEXT = "#text textarea"


def value(selector):
    return f"document.querySelector('{selector}').value"


def number(label):
    return f'input[type=number][aria-label$="{label}"]'


def press(browser, text):
    """Clicks the button with this text, not gradio's hidden copies of tabs."""
    buttons = """[...document.querySelectorAll('button:not([tabindex="-1"])')]"""
    button = f"{buttons}.find(each => each.innerText.startsWith({text!r}))"
    browser.wait(button)
    browser.run(f"{button}.click()")


def test_it_names_the_extra_to_install(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match="pip install gradio"):
        recipe("app").main([])


def test_the_environment_of_a_space_names_the_models(recipe, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    parse = recipe("app").parse_args
    names = ("model_name_or_path", "image_model_name_or_path")
    assert [getattr(parse([]), name) for name in names] == [None, None]
    Path("runs/ddpm").mkdir(parents=True)  # of a training under way
    assert parse([]).image_model_name_or_path is None
    told = capsys.readouterr().out
    assert told == "runs/ddpm is left out: it has no config.json (yet), as during a training.\n"
    Path("runs/ddpm/config.json").touch()
    assert [getattr(parse([]), name) for name in names] == [None, "runs/ddpm"]
    monkeypatch.setenv("ARDM_MODEL", "user/text")
    monkeypatch.setenv("DDPM_MODEL", "user/images")
    assert [getattr(parse([]), name) for name in names] == ["user/text", "user/images"]
    assert parse(["--model_name_or_path", "mine"]).model_name_or_path == "mine"
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------------ in a browser
@pytest.fixture(scope="module")
def needs():
    pytest.importorskip("gradio", reason="gradio is not installed")
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium is installed")
    return program


@pytest.fixture(scope="module")
def server(needs, saved, tmp_path_factory):
    """The page of two tiny models, laid out as a Space; afterwards nothing was wrong."""
    folder = tmp_path_factory.mktemp("app")
    for package in ("ardm", "ddpm"):
        shutil.copytree(ROOT / package, folder / package)
    shutil.copy(ROOT / "recipes" / "app.py", folder)
    network = ddpm.UNet(ddpm.UNetConfig(**SIZES, num_classes=2, null_class=True))
    for weight in network.parameters():  # a fresh network answers nothing but zeros
        torch.nn.init.normal_(weight, std=0.2)
    diffusion = ddpm.GaussianDiffusion(ddpm.cosine_schedule(50))
    save_folder(folder / "images", network, diffusion, CardFigures(class_names=NAMES))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "ARDM_MODEL": str(saved.folder)}
    settings |= {"DDPM_MODEL": str(folder / "images"), "OMP_NUM_THREADS": "1"}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=inherited | settings,
        # a shell that runs tests in its background has them ignore Ctrl-C, and their children too
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    text = ""
    end = time.monotonic() + 120
    while "The page is at" not in text:
        assert process.poll() is None and time.monotonic() < end, text
        time.sleep(0.2)
        text = (folder / "log").read_text()
    yield SimpleNamespace(
        address=f"http://127.0.0.1:{port}/",
        text_model=saved.folder,
        image_model=folder / "images",
    )
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        log.close()
    assert "Traceback" not in (folder / "log").read_text()


@pytest.fixture
def visit(needs, server, tmp_path_factory):
    """Opens the page anew; it asks nobody but its server, and its scripts do not complain."""
    visitors = []

    def visit(tab=None):
        browser = Browser(needs, tmp_path_factory.mktemp("profile"))
        visitors.append(browser)
        browser.open(server.address)
        browser.wait("document.querySelector('#fill')")
        if tab is not None:
            press(browser, tab)
        return browser

    yield visit
    for browser in visitors:
        asked = [each for each in browser.requests if not each.startswith(("data:", "blob:"))]
        browser.close()
        assert [each for each in asked if not each.startswith(server.address)] == []
        assert browser.complaints == []


def fills(server, text, **settings):
    """What `generate` makes of a text with gaps."""
    tokenizer = AutoTokenizer.from_pretrained(server.text_model)
    model = AutoModelForMaskedLM.from_pretrained(server.text_model).eval()
    return tokenizer.decode(model.generate(encode_gaps(text, tokenizer), **settings)[0])


@pytest.mark.slow
def test_only_the_gaps_are_filled_while_one_looks(visit, server):
    text = "the [[9]] fox ____ dog."
    browser = visit()
    browser.type(TEXT, text)
    browser.type(number("Pause after a pass (s)"), "0.15")
    browser.run(
        """(() => {
          window.seen = [];
          const canvas = document.querySelector("#canvas");
          const look = () => seen.push([...canvas.querySelectorAll("[data-tip]")].map(
            token => [token.className, token.textContent]));
          const all = {childList: true, subtree: true, characterData: true, attributes: true};
          new MutationObserver(look).observe(canvas, all);
        })()"""
    )
    browser.click("#fill")
    filled = browser.wait(value("#plain textarea"))
    assert filled == fills(server, text, seed=0)
    assert re.fullmatch(r"the .{9} fox .{4} dog\.", filled.replace("[UNK]", "?"), re.DOTALL)
    frames = [frame for frame in browser.run("window.seen") if frame]
    hidden = [sum(kind == "hidden" for kind, _ in frame) for frame in frames]
    assert hidden == sorted(hidden, reverse=True) and len(set(hidden)) > 3 and hidden[-1] == 0
    for frame in frames:
        assert "".join(shown for kind, shown in frame if kind == "given") == "the  fox  dog."

    tips = browser.run(
        "[...document.querySelectorAll('#canvas [data-tip]')].map(token => token.dataset.tip)"
    )
    written = [tip for tip in tips if "was given" not in tip]
    assert len(written) == 13
    assert all(re.search(r"at pass \d+: log p = -\d+\.\d+ nats, p = ", tip) for tip in written)
    browser.hover("#canvas [data-tip]:nth-child(6)")
    shown = (
        "getComputedStyle(document.querySelector('#canvas [data-tip]:hover'), '::after').content"
    )
    assert "log p = " in browser.wait(shown)


@pytest.mark.slow
def test_the_settings_are_generate_s(visit, server):
    browser = visit()
    browser.type(TEXT, "the [[12]] dog")
    for label, chosen in {
        "Tokens per step": 4,
        "(0 = likeliest)": 0.5,
        "Resampling passes": 3,
        "Seed (empty: any)": 7,
    }.items():
        browser.type(number(label), str(chosen))
    browser.click("#fill")
    settings = {"tokens_per_step": 4, "temperature": 0.5, "resample_steps": 3, "seed": 7}
    expected = fills(server, "the [[12]] dog", **settings)
    assert browser.wait(value("#plain textarea")) == expected
    assert "6 passes" in browser.run("document.querySelector('#canvas').textContent")


@pytest.mark.slow
def test_visitors_at_the_same_time_do_not_disturb_each_other(visit, server):
    seeds = (1, 2)
    browsers = [visit() for _ in seeds]
    for browser, seed in zip(browsers, seeds, strict=True):
        browser.type(TEXT, "a [[20]]")
        browser.type(number("Seed (empty: any)"), str(seed))
    for browser in browsers:
        browser.click("#fill")
    for browser, seed in zip(browsers, seeds, strict=True):
        assert browser.wait(value("#plain textarea")) == fills(server, "a [[20]]", seed=seed)


@pytest.mark.slow
def test_a_generation_can_be_stopped(visit, server):
    browser = visit()
    browser.type(TEXT, "[[30]]")
    browser.type(number("Pause after a pass (s)"), "0.5")
    browser.click("#fill")
    browser.wait("document.querySelector('#canvas .now')")
    press(browser, "Stop")
    time.sleep(1)
    now = browser.run("document.querySelector('#canvas').textContent")
    time.sleep(1.5)
    assert browser.run("document.querySelector('#canvas').textContent") == now
    assert browser.run(value("#plain textarea")) == ""
    browser.type(number("Pause after a pass (s)"), "0")
    browser.click("#fill")
    assert browser.wait(value("#plain textarea")) == fills(server, "[[30]]", seed=0)


@pytest.mark.slow
def test_a_mistake_is_a_line_on_the_page(visit):
    browser = visit()
    for text, told in (
        ("no gap", "has no gap to fill; expected one"),
        ("<b>[[99]]", "the text has gaps of 99 tokens; expected at most 32."),
        ("日 [[2]]", "1 (50 %) are unknown to the tokenizer"),
    ):
        browser.type(TEXT, text)
        browser.click("#fill")
        browser.wait(f"document.body.innerText.includes({told!r})")


@pytest.mark.slow
def test_the_costs_are_measured_and_the_text_is_played_again(visit):
    browser = visit()
    press(browser, "What do fewer steps cost?")
    press(browser, "Play it again")
    browser.click("#measure")
    browser.wait("document.querySelector('#curve img')?.naturalWidth > 500")
    browser.type(TEXT, "the [[6]]")
    browser.click("#fill")
    text = browser.wait(value("#plain textarea"))
    assert json.dumps(text) in browser.wait("document.querySelector('iframe.ardm-replay')?.srcdoc")


@pytest.mark.slow
def test_images_are_those_that_the_model_draws(visit, server):
    browser = visit("Images")
    for label, chosen in {"for Images": 4, "Steps": 6, "(1 = off)": 2.5, "Seed": 3}.items():
        browser.type(number(label), str(chosen))
    browser.click("#draw")
    model, diffusion = load_folder(server.image_model)
    options = {"sampler": "dpm_solver++", "steps": 6, "seed": 3, "progress": False}
    guide = ddpm.classifier_free_guidance(2.5)
    options |= {"labels": ddpm.drawing.balanced_labels(4, 2), "guidance_for": lambda numbers: guide}
    drawn = gathered(draw_images(model, diffusion, 4, (1, 4, 4), **options), (1, 4, 4))
    expected = np.asarray(image_grid(drawn, 10))
    content = """(async () => {
      const picture = document.querySelector("#grid img");
      if (!picture) return null;
      const bytes = new Uint8Array(await (await fetch(picture.src)).arrayBuffer());
      return btoa(String.fromCharCode(...bytes));
    })()"""
    end = time.monotonic() + 60
    while True:
        seen = browser.run(content)
        if seen:
            with Image.open(io.BytesIO(base64.b64decode(seen))) as picture:
                if np.array_equal(np.asarray(picture.convert("L")), expected):
                    return
        assert time.monotonic() < end, "the images are others"
        time.sleep(0.1)
