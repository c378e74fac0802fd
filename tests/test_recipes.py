"""The recipes run as a user runs them: small, from start to a model that loads again."""

import contextlib
import importlib.util
import io
import json
import lzma
import math
import os
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

import ardm
from ardm.hub.cards import CardFigures
from ardm.hub.folder import save_folder

ROOT = Path(__file__).parent.parent
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
STEPS = {
    "max_train_steps": 6,
    "per_device_train_batch_size": 4,
    "logging_steps": 2,
    "eval_steps": 0,
}
OTHERS = {"sequence_length": 32, "max_eval_windows": 20, "checkpointing_steps": 2}
SMALL = [
    word for name, value in (SIZES | STEPS | OTHERS).items() for word in (f"--{name}", str(value))
]


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 200)
    return path


def train(folder, *more):
    recipe("train_ardm").main([*SMALL, "--output_dir", str(folder), *map(str, more)])


def test_every_recipe_is_short_and_says_what_it_is():
    for path in (ROOT / "recipes").glob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 100, f"{path.name} has {len(lines)} lines"
        assert lines[0].startswith('"""') and f"recipes/{path.name}" in "".join(lines[:5])


def test_train_ardm_leaves_a_model_that_scores_samples_and_reloads(tmp_path, text_file, capsys):
    train(tmp_path / "run", "--train_file", text_file)
    printed = capsys.readouterr().out
    folder = tmp_path / "run"
    names = {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "generation_config.json",
        "README.md",
        "loss_curve.png",
    }
    assert names <= {file.name for file in folder.iterdir()}
    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    assert isinstance(model, ardm.ARDMForMaskedLM)
    text = tokenizer.decode(model.generate(tokens_per_step=4, seed=0)[0])
    assert len(text) == 32 and tokenizer.mask_token not in text
    gap = tokenizer("the quick [MASK][MASK][MASK][MASK][MASK] fox", return_tensors="pt")
    filled = tokenizer.decode(model.generate(gap.input_ids)[0])
    assert filled.startswith("the quick ") and filled.endswith(" fox")
    # the figure on the screen is the one on the card, and the model's own
    value, error = re.search(r"([\d.]+) \+- ([\d.]+) bits per character", printed).groups()
    on_card = re.search(r"\| bits per character \| ([\d.]+) ±", (folder / "README.md").read_text())[
        1
    ]
    assert float(on_card) == pytest.approx(float(value), abs=6e-4)
    assert 0 < float(error) < 1 and 0 < float(value) < 2 * math.log2(32)


def test_the_same_command_again_changes_nothing(tmp_path, text_file):
    train(tmp_path / "run", "--train_file", text_file)
    before = load_file(tmp_path / "run" / "model.safetensors")
    train(tmp_path / "run", "--train_file", text_file)
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_other_tokenizers_and_streams(tmp_path, text_file, kind):
    size = ["--vocab_size", 300] if kind == "bpe" else []
    train(tmp_path / "run", "--train_file", text_file, "--tokenizer", kind, *size)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_stream_is_read_while_training(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"text": f"row {i} of a stream of words"}) + "\n" for i in range(200))
    )
    train(tmp_path / "run", "--train_file", rows, "--validation_file", rows, "--streaming")
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_saved_model_goes_on_learning(tmp_path, text_file):
    train(tmp_path / "first", "--train_file", text_file)
    train(
        tmp_path / "second", "--train_file", text_file, "--model_name_or_path", tmp_path / "first"
    )
    first, second = (
        load_file(tmp_path / name / "model.safetensors") for name in ("first", "second")
    )
    assert any(not torch.equal(first[name], second[name]) for name in first)


def bad_inputs(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("ab")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 500)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "file").write_text("in the way")
    return {
        "missing.txt": ["--train_file", tmp_path / "missing.txt"],
        "empty": ["--train_file", tmp_path / "empty.txt"],
        "tokens, expected at least": ["--train_file", tmp_path / "short.txt"],
        "UTF-8": ["--train_file", tmp_path / "latin.txt"],
        "nothing": ["--train_file", tmp_path / "nothing"],
        "written to": ["--output_dir", tmp_path / "file" / "run"],
        "sequence_length": ["--sequence_length", 0],
        "max_train_steps": ["--max_train_steps", 0],
        "start_ratio": ["--start_ratio", 2],
        "hidden_size": ["--hidden_size", 33],
        "hub_model_id": ["--push_to_hub"],
        "lr_scheduler_type": ["--lr_scheduler_type", "sine"],
        "saved tokenizer": ["--tokenizer", tmp_path / "nowhere"],
        "no model can be loaded": ["--model_name_or_path", tmp_path / "nowhere"],
        "vocab_size": ["--vocab_size", 7],
        "weight_power": ["--weight_power", -1],
    }


BAD = ("missing.txt", "empty", "tokens, expected at least", "UTF-8", "nothing", "written to", "sequence_length",
       "max_train_steps", "start_ratio", "hidden_size", "hub_model_id", "lr_scheduler_type", "saved tokenizer",
       "no model can be loaded", "vocab_size", "weight_power")  # fmt: skip


@pytest.mark.parametrize("named", BAD)
def test_bad_input_is_an_error_that_names_it(tmp_path, named):
    arguments = bad_inputs(tmp_path)[named]
    with pytest.raises(ValueError, match=named):
        train(tmp_path / "run", *arguments)


def test_what_would_make_the_upload_fail_is_said_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr("ardm.hub.folder.get_token", lambda: None)
    with pytest.raises(ValueError, match="log in"):
        train(tmp_path / "run", "--push_to_hub", "--hub_model_id", "someone/something")


def test_windows_longer_than_a_saved_model_are_refused(tmp_path, text_file):
    train(tmp_path / "first", "--train_file", text_file)
    with pytest.raises(ValueError, match="max_position_embeddings"):
        train(tmp_path / "second", "--train_file", text_file, "--model_name_or_path", tmp_path / "first",
              "--sequence_length", 64)  # fmt: skip


def test_watch_generation_leaves_a_page_and_a_picture(tmp_path, text_file, capsys):
    train(tmp_path / "run", "--train_file", text_file)
    capsys.readouterr()
    watch = recipe("watch_generation").main
    where = [
        "--model_name_or_path",
        str(tmp_path / "run"),
        "--output_dir",
        str(tmp_path / "watch"),
        "--seed",
        "1",
    ]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "run")
    whole = tokenizer.decode(model.generate(tokens_per_step=4, resample_steps=3, seed=1)[0])
    gap = tokenizer("the quick [MASK][MASK][MASK][MASK][MASK] fox__", return_tensors="pt").input_ids
    filled = tokenizer.decode(model.generate(gap, max_new_tokens=4, order="confidence", seed=1)[0])
    for arguments, text, passes in (
        (["--tokens_per_step", "4", "--resample_steps", "3"], whole, 11),
        (
            ["--prompt", "the quick _____ fox__", "--max_new_tokens", "4", "--order", "confidence"],
            filled,
            9,
        ),
    ):
        watch([*where, *arguments])
        printed = capsys.readouterr().out
        assert f"\n{text}\n" in printed and f"pass {passes} " in printed and "\x1b" not in printed
        page, picture = re.search(r"The page is (\S+), the picture (\S+)\.", printed).groups()
        data = re.search('id="trace">(.*?)</script>', Path(page).read_text(encoding="utf-8"))[1]
        assert (json.loads(data)["text"], json.loads(data)["steps"]) == (text, passes)
        assert Path(picture).read_bytes().startswith(b"\x89PNG")


def test_watch_generation_says_what_is_wrong_before_it_begins(tmp_path, text_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = recipe("watch_generation").main
    with pytest.raises(ValueError, match=r"no runs/ardm; make it with `make demo`"):
        watch([])
    train("runs/ardm", "--train_file", text_file)
    (tmp_path / "file").write_text("in the way")
    for arguments, message in (
        (["--prompt", "the quick __ fox"], "has no gap; expected ___"),
        (["--prompt", ""], "has no gap"),
        (["--prompt", "the " * 20, "--max_new_tokens", "4"], "max_position_embeddings"),
        (["--delay", "-1"], "delay"),
        (["--steps", "4", "--tokens_per_step", "2"], "steps"),
        (["--output_dir", "file/watch"], "written to"),
        (["--model_name_or_path", str(tmp_path / "nowhere")], "no model can be loaded"),
    ):
        with pytest.raises(ValueError, match=message):
            watch(arguments)


def launched(name, flags, words):
    """A recipe in processes of its own, by `accelerate launch`."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    }
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command = [*launcher, *flags, ROOT / "recipes" / f"{name}.py", *words]
    done = subprocess.run(
        list(map(str, command)),
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def launch(folder, text_file, *flags, script=()):
    done = launched(
        "train_ardm", flags, [*SMALL, "--output_dir", folder, "--train_file", text_file, *script]
    )
    state = json.loads((folder / "checkpoints" / "step-00000006" / "run.json").read_text())
    return state, done


def evaluate(arguments, monkeypatch, folder):
    """Runs the recipe on small tasks; like a program of its own it changes `sys.argv` and the environment."""
    monkeypatch.setattr(sys, "argv", ["lm_eval_ardm.py"])
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.chdir(folder)
    module = recipe("lm_eval_ardm")
    module.QUESTIONS, module.PAGES = 10, 3
    module.main([*map(str, arguments)])


def test_lm_eval_prints_a_table_for_the_demo_and_for_own_tasks(
    tmp_path, text_file, capsys, monkeypatch
):
    train(tmp_path / "runs" / "ardm", "--train_file", text_file)
    capsys.readouterr()
    module = recipe("lm_eval_ardm")
    evaluate([], monkeypatch, tmp_path)
    table = capsys.readouterr().out
    accuracy, error = re.search(
        r"\|docs_choice\|.*\|acc +\|↑ +\|([\d.]+)\|± +\|([\d.]+)\|", table
    ).groups()
    assert 0 <= float(accuracy) <= 1 and 0 <= float(error) < 0.2
    bits = re.search(r"\|docs_bits *\|.*\|bits_per_byte\|↓ +\|([\d.]+)\|", table)[1]
    assert 2 < float(bits) < 8

    (tmp_path / "tasks").mkdir()
    module.write_tasks(tmp_path / "tasks")
    own = ["--tasks", "docs_choice", "--include_path", tmp_path / "tasks", "--limit", 3]
    evaluate(
        ["--model_args", f"pretrained={tmp_path / 'runs' / 'ardm'},num_samples=1", *own],
        monkeypatch,
        tmp_path,
    )
    assert re.search(r"ardm .*limit: 3.*\n.*\n.*\n\|docs_choice\|", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "named"),
    [("num_samples=few", "num_samples"), ("pretrained=/gone/away", "no model can")],
)
def test_lm_eval_names_a_bad_option(tmp_path, monkeypatch, options, named):
    recipe("lm_eval_ardm").write_tasks(tmp_path)
    asked = ["--model_args", options, "--tasks", "docs_bits", "--include_path", tmp_path]
    with pytest.raises(ValueError, match=named):
        evaluate(asked, monkeypatch, tmp_path)


def test_lm_eval_without_a_model_says_how_to_make_one(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="make demo"):
        evaluate([], monkeypatch, tmp_path)


@pytest.mark.slow
def test_lm_eval_prints_the_same_table_on_two_processes(tmp_path, text_file):
    train(tmp_path / "runs" / "ardm", "--train_file", text_file)
    script = str(ROOT / "recipes" / "lm_eval_ardm.py")
    launched = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "-q",
        "--cpu",
        "--num_processes",
        "2",
    ]
    launched += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    tables = []
    for command in ([sys.executable, script], [*launched, script]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        tables.append([line for line in done.stdout.splitlines() if line.startswith("|docs_")])
        assert ("on rank 1" in done.stderr) == (
            command[0:2] != [sys.executable, script]
        )  # there were two
    assert len(tables[0]) == 2 and tables[0] == tables[1]


# ---------------------------------------------------------------------------------- a saved model on held-out text
TEXT = "the quick brown fox – a café's – jumps over the lazy dog. " * 150
HELD_OUT = (
    "a dog jumps over the café – lazy quick and brown. " * 9
)  # 14 windows of 32 characters, and a rest


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a trained model in `model`, its text, and another text."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    (folder / "held_out.txt").write_text(HELD_OUT, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        train(folder / "model", "--train_file", folder / "text.txt")
    shutil.rmtree(folder / "model" / "checkpoints")
    return folder


@pytest.fixture
def model_folder(saved, tmp_path):
    """A copy that may be written to."""
    return shutil.copytree(saved / "model", tmp_path / "model")


def windows_of(folder, text, length=32):
    """The model, and the text cut by hand."""
    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = torch.tensor(tokenizer(text, add_special_tokens=False).input_ids)
    assert len(ids) == len(text)
    return model, ids[: len(ids) // length * length].view(-1, length)


def numbered(ids, seed=0):
    return {"row_numbers": torch.arange(len(ids)), "generator": torch.Generator().manual_seed(seed)}


def evaluated(folder, *words):
    """What `evaluate_ardm` writes to its file; what it prints says the same."""
    file = folder / "figures" / "figures.json"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        recipe("evaluate_ardm").main([*map(str, words), "--output_file", str(file)])
    report = json.loads(file.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    head, *lines = printed.getvalue().splitlines()
    assert head == (
        f"{report['what']}: {report['num_windows']} windows of {report['sequence_length']} tokens, {report['data']}"
    )
    assert len(lines) == len(report["figures"])
    for line, (unit, figure) in zip(lines, report["figures"].items(), strict=True):
        value, text = re.fullmatch(rf"  ([\d.]+) {unit}, (.*) \({report['kind']}\)", line).groups()
        assert float(value) == pytest.approx(
            figure["value"], abs=0.51 * 10 ** -len(value.partition(".")[2])
        )
        assert ("no interval known" in text) == (figure["standard_error"] is None)
    return report


def assert_figures(report, nats, text):
    """Those of the windows' nats by hand, of a text whose every character is a token."""
    read = text[: nats.numel() * report["sequence_length"]]
    total, figures = float(nats.sum()) / math.log(2), report["figures"]
    assert report["num_windows"] == len(nats)
    assert {unit: figure["value"] for unit, figure in figures.items()} == pytest.approx(
        {
            "bits per token": total / len(read),
            "bits per character": total / len(read),
            "bits per byte": total / len(read.encode()),
            "perplexity per token": 2 ** (total / len(read)),
        },
        rel=1e-6,
    )
    error = float(nats.std()) / math.sqrt(len(nats)) / report["sequence_length"] / math.log(2)
    assert figures["bits per token"]["standard_error"] == pytest.approx(error, rel=1e-4)
    low, high = figures["bits per token"]["interval"]
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=1e-4)
    assert len(read.encode()) > len(read)


@pytest.mark.parametrize("num_samples", [8, 3, "all"])
def test_evaluate_ardm_gives_the_bound_of_the_windows(saved, tmp_path, num_samples):
    words = [
        "--model_name_or_path",
        saved / "model",
        "--validation_file",
        saved / "held_out.txt",
        "--seed",
        5,
    ]
    report = evaluated(
        tmp_path, *words, *([] if num_samples == 8 else ["--num_samples", num_samples])
    )
    model, ids = windows_of(saved / "model", HELD_OUT)
    assert_figures(
        report, ardm.nelbo(model, ids, num_samples=num_samples, **numbered(ids, 5)).nats, HELD_OUT
    )
    assert (report["kind"], report["data"], report["num_samples"]) == (
        "upper bound",
        "held_out.txt",
        num_samples,
    )
    assert report["what"] == "NELBO over all orders" and report["seed"] == 5
    again = evaluated(tmp_path, *words, "--num_samples", num_samples)
    assert {**again, "seconds": 0} == {**report, "seconds": 0}


@pytest.mark.parametrize(
    ("order", "steps"),
    [("left_to_right", None), ("right_to_left", 3), ("confidence", None), ("confidence", 8)],
)
def test_evaluate_ardm_gives_the_exact_likelihood_in_one_order(saved, tmp_path, order, steps):
    words = [
        "--model_name_or_path",
        saved / "model",
        "--validation_file",
        saved / "held_out.txt",
        "--order",
        order,
    ]
    report = evaluated(tmp_path, *words, *([] if steps is None else ["--steps", steps]))
    model, ids = windows_of(saved / "model", HELD_OUT)
    plan = {None: None, 3: [10, 11, 11], 8: [4] * 8}[steps]
    assert_figures(report, -ardm.log_prob(model, ids, order, plan=plan), HELD_OUT)
    assert (report["kind"], report["num_samples"]) == ("exact", None)
    how = "one token at a time" if steps is None else f"in {steps} steps"
    assert report["what"] == f"-log p, {order}, {how}"


def test_evaluate_ardm_holds_out_the_end_of_the_training_text_and_takes_shorter_and_fewer_windows(
    saved, tmp_path
):
    own = [
        "--model_name_or_path",
        saved / "model",
        "--train_file",
        saved / "text.txt",
        "--validation_fraction",
        0.1,
    ]
    report = evaluated(tmp_path, *own, "--sequence_length", 20, "--max_eval_windows", 7)
    end = TEXT[-round(len(TEXT) / 10) :]
    model, ids = windows_of(saved / "model", end, 20)
    assert_figures(report, ardm.nelbo(model, ids[:7], **numbered(ids[:7])).nats, end)
    assert report["data"] == "held-out part of text.txt"
    one = evaluated(tmp_path, *own, "--max_eval_windows", 1)
    assert all(figure["interval"] == [None, None] for figure in one["figures"].values())


def test_measured_losses_stay_with_the_weights_that_they_are_of(model_folder, saved):
    model, tokenizer = (
        kind.from_pretrained(saved / "model") for kind in (AutoModelForMaskedLM, AutoTokenizer)
    )
    config = model_folder / "generation_config.json"
    plain = json.loads(config.read_text())
    losses = [3.0 - i / 16 for i in range(32)]
    config.write_text(json.dumps(plain | {"per_step_losses": losses}))
    save_folder(
        model_folder, model, tokenizer, CardFigures()
    )  # as the same command does after a finished run
    assert json.loads(config.read_text()) == plain | {"per_step_losses": losses}
    again = AutoModelForMaskedLM.from_pretrained(model_folder)
    assert again.generate(plan="optimal", steps=4, seed=0).shape == (1, 32)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    with pytest.warns(UserWarning, match="per_step_losses of other weights"):
        save_folder(model_folder, model, tokenizer, CardFigures())
    assert json.loads(config.read_text()) == plain


def no_call(*args, **kwargs):
    pytest.fail("the network was called")


EVALUATE_BAD = {
    "steps is 4 without an order": ["--steps", 4],
    r"steps is 33; expected 1\.\.32": ["--order", "confidence", "--steps", 33],
    r"steps is 0; expected 1\.\.32": ["--order", "left_to_right", "--steps", 0],
    "num_samples is 0; expected an integer of at least 1 or 'all'": [
        *(
            "--num_samples",
            0,
            "--validation_file",
            "{tmp}/gone.txt",
        )  # and so before the text is read
    ],
    "num_samples is 'few'; expected an integer of at least 1 or 'all'": ["--num_samples", "few"],
    "num_samples is 4 with an order": ["--num_samples", 4, "--order", "confidence"],
    "max_windows is 0": ["--max_eval_windows", 0],
    r"sequence_length is 33; expected 1\.\.32": ["--sequence_length", 33],
    "sequence_length is 0": ["--sequence_length", 0],
    "no model can be loaded": ["--model_name_or_path", "{tmp}/nowhere"],
    "gone.txt": ["--validation_file", "{tmp}/gone.txt"],
    "expected at least 32 for one window": ["--validation_file", "{tmp}/short.txt"],
    "written to": ["--output_file", "{tmp}/short.txt/figures.json"],
}
PLAN_BAD = {
    "there are 3 windows of 32 tokens; expected at least 4": ["--max_eval_windows", 3],
    "max_windows is 0": ["--max_eval_windows", 0],
    "num_orders is 0": ["--num_orders", 0],
    "repeats is 0": ["--repeats", 0],
    r"sequence_length is 33; expected 1\.\.32": ["--sequence_length", 33],
    "no model can be loaded": ["--model_name_or_path", "{tmp}/nowhere"],
    "expected at least 32 for one window": ["--validation_file", "{tmp}/short.txt"],
    "written to": ["--output_dir", "{tmp}/short.txt/plan"],
}
SAVED_BAD = [("evaluate_ardm", named) for named in EVALUATE_BAD] + [
    ("plan_steps", named) for named in PLAN_BAD
]


@pytest.mark.parametrize(("name", "named"), SAVED_BAD)
def test_bad_input_of_a_recipe_for_a_saved_model_is_named_before_the_network_is_called(
    saved, tmp_path, monkeypatch, name, named
):
    (tmp_path / "short.txt").write_text("a dog")
    words = {"evaluate_ardm": EVALUATE_BAD, "plan_steps": PLAN_BAD}[name][named]
    words = [str(word).replace("{tmp}", str(tmp_path)) for word in words]
    before = sorted(os.listdir(saved / "model"))
    monkeypatch.setattr(ardm.ARDMForMaskedLM, "forward", no_call)
    given = [
        "--model_name_or_path",
        str(saved / "model"),
        "--validation_file",
        str(saved / "held_out.txt"),
    ]
    with pytest.raises(ValueError, match=named):
        recipe(name).main([*given, *words])
    assert sorted(os.listdir(saved / "model")) == before


@pytest.mark.parametrize("name", ["evaluate_ardm", "plan_steps"])
def test_without_a_model_a_recipe_says_how_to_make_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no runs/ardm; make it with `make demo`"):
        recipe(name).main([])
    assert os.listdir(tmp_path) == []


def group_sizes(order):
    return torch.bincount(order[order >= 0]).tolist()


def without_times(folder):
    """What `plan_steps` saved, but for the clock and the machine."""
    saved = json.loads(
        (folder / "per_step_losses.json").read_text(encoding="utf-8"), parse_constant=pytest.fail
    )
    return {
        **saved,
        "date": "",
        "machine": "",
        "budgets": [{**row, "seconds": 0} for row in saved["budgets"]],
    }


def test_plan_steps_measures_a_model_that_then_plans_by_it(saved, model_folder, capsys):
    words = [
        "--model_name_or_path",
        str(model_folder),
        "--validation_file",
        str(saved / "held_out.txt"),
    ]
    recipe("plan_steps").main([*words, "--repeats", "1", "--seed", "3"])
    printed = capsys.readouterr().out
    assert (
        printed.startswith("14 windows of 32 tokens, held_out.txt.\n")
        and "generation_config.json" in printed
    )
    assert all((model_folder / f"{name}.png").stat().st_size > 10_000 for name in (
        "per_step_losses", "quality_against_steps"
    ))  # fmt: skip
    report = without_times(model_folder)
    model, ids = windows_of(model_folder, HELD_OUT)
    by_hand = ardm.measure_step_losses(model, ids, **numbered(ids, 3))
    losses = model.generation_config.per_step_losses
    assert losses == report["nats_per_token"] == pytest.approx(by_hand.nats.tolist(), rel=1e-6)
    assert report["standard_error"] == pytest.approx(by_hand.standard_error.tolist(), rel=1e-4)
    assert [report[name] for name in ("num_sequences", "data", "seed")] == [14, "held_out.txt", 3]

    rows = re.findall(
        r"^ +(\d+) +[\d.]+ +[\d.]+ +([\d.]+) +([+-][\d.]+) ± [\d.]+ ", printed, re.MULTILINE
    )
    assert (
        [int(steps) for steps, *_ in rows]
        == [row["steps"] for row in report["budgets"]]
        == [1, 2, 4, 8, 16, 32]
    )
    chosen_on, held_out = (ardm.StepLosses(by_hand.sequence_nats[half::2]) for half in (0, 1))
    for (_, bits, extra), row in zip(rows, report["budgets"], strict=True):
        plan = ardm.optimal_plan(chosen_on.nats, row["steps"])
        cost = ardm.plan_cost(held_out.nats, plan) / 32 / math.log(2)
        assert row["optimal_plan"] == plan and row["bits_per_token"]["optimal"] == pytest.approx(
            cost, rel=1e-6
        )
        assert float(bits) == pytest.approx(cost, abs=5.1e-4)
        assert float(extra) == pytest.approx(row["extra_bits"]["optimal"], abs=5.1e-4)

    out = model.generate(plan="optimal", steps=8, seed=0, return_dict_in_generate=True)
    assert group_sizes(out.order[0]) == ardm.optimal_plan(losses, 8) and out.num_forward_passes == 8
    recipe("plan_steps").main([*words, "--repeats", "1", "--seed", "3"])
    assert without_times(model_folder) == report  # though the model now has losses of its own


def test_plan_steps_leaves_the_model_alone_where_it_writes_elsewhere(saved, tmp_path):
    def content():
        return {path.name: path.read_bytes() for path in (saved / "model").iterdir()}

    before = content()
    words = [
        "--model_name_or_path",
        saved / "model",
        "--validation_file",
        saved / "held_out.txt",
        "--repeats",
        1,
    ]
    words += ["--output_dir", tmp_path / "a" / "plan", "--sequence_length", 7, "--num_orders", 2]
    recipe("plan_steps").main(
        [*map(str, words), "--max_eval_windows", "40"]
    )  # more than are scored at once
    assert content() == before
    assert sorted(os.listdir(tmp_path / "a" / "plan")) == [
        "generation_config.json", "per_step_losses.json", "per_step_losses.png", "quality_against_steps.png"
    ]  # fmt: skip
    report = without_times(tmp_path / "a" / "plan")
    model, ids = windows_of(saved / "model", HELD_OUT, 7)
    by_hand = ardm.measure_step_losses(model, ids[:40], num_orders=2, **numbered(ids[:40]))
    assert report["nats_per_token"] == pytest.approx(by_hand.nats.tolist(), rel=1e-6)
    assert [row["steps"] for row in report["budgets"]] == [1, 2, 4, 7]


def close(found, expected):
    """Equal but for the clock and 1e-6 of each number."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            key == "seconds" or close(found[key], expected[key]) for key in expected
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    return found == (
        pytest.approx(expected, rel=1e-6, abs=1e-9) if isinstance(expected, float) else expected
    )


@pytest.mark.slow
@pytest.mark.parametrize("asked", [["--num_samples", 2], ["--order", "confidence"]])
def test_evaluate_ardm_gives_the_same_figures_on_two_processes(saved, tmp_path, asked):
    long = tmp_path / "long.txt"
    long.write_text(HELD_OUT * 5, encoding="utf-8")
    words = ["--model_name_or_path", saved / "model", "--validation_file", long, *asked]
    one = evaluated(tmp_path, *words)
    two = ["--num_processes", 2, "--cpu"]
    done = launched("evaluate_ardm", two, [*words, "--output_file", tmp_path / "two.json"])
    shared = json.loads((tmp_path / "two.json").read_text(encoding="utf-8"))
    assert (
        one["num_windows"] == 70 and "scored 16 of this process's 35 windows" in done.stderr
    )  # there were two
    assert done.stdout.count("bits per token") == 1  # and one of them spoke
    assert close(shared, one) and not close({**shared, "num_windows": 71}, one)


@pytest.mark.slow
def test_plan_steps_measures_the_same_on_two_processes(saved, tmp_path):
    words = [
        "--model_name_or_path",
        saved / "model",
        "--validation_file",
        saved / "held_out.txt",
        "--repeats",
        1,
    ]
    words += ["--sequence_length", 8, "--output_dir"]
    recipe("plan_steps").main([*map(str, words), str(tmp_path / "one")])
    done = launched("plan_steps", ["--num_processes", 2, "--cpu"], [*words, tmp_path / "two"])
    assert "28 windows" in done.stderr  # its share of 56
    one, two = (without_times(tmp_path / name) for name in ("one", "two"))
    assert one["num_sequences"] == 56 and close(two, one)


@pytest.mark.slow
def test_the_training_benchmark_prints_a_row_for_each_loop(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark_training.py", "--steps", "44"])
    recipe("benchmark_training").main()
    printed = capsys.readouterr().out
    rows = re.findall(
        r"batch +(\d+) +(.*?) +total / inside ([\d.]+) +(\d+) tokens/s +utilisation ([\d.]+)",
        printed,
    )
    assert [(batch, name) for batch, name, *_ in rows] == [
        (batch, name)
        for batch in ("32", "4")
        for name in ("ardm, Muon", "ardm, AdamW", "BERT, Trainer, AdamW")
    ]
    assert all(
        1 <= float(ratio) < 3 and int(tokens) > 0 and 0 < float(used) < 2
        for *_, ratio, tokens, used in rows
    )


@pytest.mark.slow
def test_the_generation_benchmark_prints_every_figure():
    benchmark = recipe("benchmark_generation")
    # in a process of its own: it counts live tensors, and those of other tests come and go
    small = (
        f"import runpy; r = runpy.run_path({str(ROOT / 'recipes' / 'benchmark_generation.py')!r}); "
        "r['main'].__globals__.update(SIZES={16: (2, 16, 3, 1.02)}, VOCABULARY=500); r['main'](['--repeats', '1'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", small], capture_output=True, text=True, timeout=200, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    printed = done.stdout
    ratios = re.findall(r"^  (\w+) +([\d.]+) +([\d.]+)$", printed, re.MULTILINE)
    assert [name for name, *_ in ratios] == [*benchmark.CALLS]
    assert all(1 < float(ratio) < 20 for _, *pair in ratios for ratio in pair)
    assert [k for k, _ in re.findall(r"(\d+) a step: (\d+) tokens/s", printed)] == ["1", "4", "16"]
    kept = re.findall(r"output_history=(\w+): (\d+) kB kept of (\d+) passes", printed)
    assert [(history, passes) for history, _, passes in kept] == [
        *product(("False", "True"), ("8", "64"))
    ]
    few, many, few_with_history, many_with_history = (int(size) for _, size, _ in kept)
    grown = (64 - 8) * benchmark.BATCH * benchmark.LENGTH * 8 / 1000  # a history does so, int64, kB
    assert many - few < 0.05 * grown
    assert many_with_history - few_with_history == pytest.approx(grown, rel=0.05)
    assert float(re.search(r"vocabulary 500: ([\d.]+) times", printed)[1]) > 0


def test_the_likelihood_benchmark_prints_every_figure(saved, capsys):
    small = ["--repeats", "8", "--estimates", "4", "--sequence_length", "8"]
    recipe("benchmark_likelihood").main(["--model_name_or_path", str(saved / "model"), "--validation_file",
                                         str(saved / "held_out.txt"), *small])  # fmt: skip
    printed = capsys.readouterr().out
    deviations = re.search(
        r"s\.d\. ([\d.]+) stratified, ([\d.]+) independent .* 1 : ([\d.]+)", printed
    ).groups()
    stratified, independent, ratio = map(float, deviations)
    assert ratio == pytest.approx((independent / stratified) ** 2, rel=0.05)
    errors = re.findall(
        r"(\w+) samples: s\.d\. [\d.]+ bits, spread / reported [\d.]+, s\.d\. of z [\d.]+", printed
    )
    assert errors == ["8", "32", "128", "all"]
    assert len(re.findall(r": \d+ tokens/s", printed)) == 2


@pytest.mark.slow
def test_the_learning_benchmark_scores_both_recipes(tmp_path, capsys, monkeypatch):
    text = ("the quick brown fox jumps over the lazy dog " * 10_000).encode()
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt.xz").write_bytes(lzma.compress(text))
    monkeypatch.setattr(
        sys,
        "argv",
        ["benchmark_learning.py", "--data", str(tmp_path), "--seconds", "6", "--windows", "40"],
    )
    recipe("benchmark_learning").main()
    rows = re.findall(
        r"(ours|papers) +\d+ steps, \d+ s +([\d.]+) \+- [\d.]+ bits per character",
        capsys.readouterr().out,
    )
    assert [name for name, _ in rows] == ["ours", "papers"]
    assert all(0 < float(bits) < 4.8 for _, bits in rows)


@pytest.mark.slow
def test_one_and_two_processes_give_the_same_losses(tmp_path, text_file):
    one, _ = launch(tmp_path / "one", text_file)
    two, _ = launch(
        tmp_path / "two",
        text_file,
        "--num_processes",
        "2",
        "--cpu",
        script=["--per_device_train_batch_size", 2],
    )
    assert (
        tmp_path / "two" / "checkpoints" / "step-00000006" / "random_states_1.pkl"
    ).is_file()  # there were two
    assert one["identity"] == two["identity"]
    for a, b in zip(one["history"], two["history"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
