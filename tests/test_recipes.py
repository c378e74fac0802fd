"""The recipes run as a user runs them: small, from start to a model that loads again."""

import importlib.util
import json
import lzma
import math
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

import ardm

ROOT = Path(__file__).parent.parent
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
STEPS = {"max_train_steps": 6, "per_device_train_batch_size": 4, "logging_steps": 2, "eval_steps": 0}
OTHERS = {"sequence_length": 32, "max_eval_windows": 20, "checkpointing_steps": 2}
SMALL = [word for name, value in (SIZES | STEPS | OTHERS).items() for word in (f"--{name}", str(value))]


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
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert isinstance(model, ardm.ARDMForMaskedLM)
    text = tokenizer.decode(model.generate(tokens_per_step=4, seed=0)[0])
    assert len(text) == 32 and tokenizer.mask_token not in text
    gap = tokenizer("the quick [MASK][MASK][MASK][MASK][MASK] fox", return_tensors="pt")
    filled = tokenizer.decode(model.generate(gap.input_ids)[0])
    assert filled.startswith("the quick ") and filled.endswith(" fox")
    # the figure on the screen is the one on the card, and the model's own
    value, error = re.search(r"([\d.]+) \+- ([\d.]+) bits per character", printed).groups()
    on_card = re.search(r"\| bits per character \| ([\d.]+) ±", (folder / "README.md").read_text())[1]
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
    rows.write_text("".join(json.dumps({"text": f"row {i} of a stream of words"}) + "\n" for i in range(200)))
    train(tmp_path / "run", "--train_file", rows, "--validation_file", rows, "--streaming")
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_saved_model_goes_on_learning(tmp_path, text_file):
    train(tmp_path / "first", "--train_file", text_file)
    train(tmp_path / "second", "--train_file", text_file, "--model_name_or_path", tmp_path / "first")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
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
    monkeypatch.setattr("ardm.hub.get_token", lambda: None)
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
    where = ["--model_name_or_path", str(tmp_path / "run"), "--output_dir", str(tmp_path / "watch"), "--seed", "1"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "run")
    whole = tokenizer.decode(model.generate(tokens_per_step=4, resample_steps=3, seed=1)[0])
    gap = tokenizer("the quick [MASK][MASK][MASK][MASK][MASK] fox__", return_tensors="pt").input_ids
    filled = tokenizer.decode(model.generate(gap, max_new_tokens=4, order="confidence", seed=1)[0])
    for arguments, text, passes in (
        (["--tokens_per_step", "4", "--resample_steps", "3"], whole, 11),
        (["--prompt", "the quick _____ fox__", "--max_new_tokens", "4", "--order", "confidence"], filled, 9),
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


def launch(folder, text_file, *flags, script=()):
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    command = [
        *(
            sys.executable,
            "-m",
            "accelerate.commands.accelerate_cli",
            "launch",
            *flags,
            ROOT / "recipes" / "train_ardm.py",
        ),
        *(*SMALL, "--output_dir", folder, "--train_file", text_file, *script),
    ]
    done = subprocess.run(
        list(map(str, command)), env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
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


def test_lm_eval_prints_a_table_for_the_demo_and_for_own_tasks(tmp_path, text_file, capsys, monkeypatch):
    train(tmp_path / "runs" / "ardm", "--train_file", text_file)
    capsys.readouterr()
    module = recipe("lm_eval_ardm")
    evaluate([], monkeypatch, tmp_path)
    table = capsys.readouterr().out
    accuracy, error = re.search(r"\|docs_choice\|.*\|acc +\|↑ +\|([\d.]+)\|± +\|([\d.]+)\|", table).groups()
    assert 0 <= float(accuracy) <= 1 and 0 <= float(error) < 0.2
    bits = re.search(r"\|docs_bits *\|.*\|bits_per_byte\|↓ +\|([\d.]+)\|", table)[1]
    assert 2 < float(bits) < 8

    (tmp_path / "tasks").mkdir()
    module.write_tasks(tmp_path / "tasks")
    own = ["--tasks", "docs_choice", "--include_path", tmp_path / "tasks", "--limit", 3]
    evaluate(["--model_args", f"pretrained={tmp_path / 'runs' / 'ardm'},num_samples=1", *own], monkeypatch, tmp_path)
    assert re.search(r"ardm .*limit: 3.*\n.*\n.*\n\|docs_choice\|", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "named"), [("num_samples=few", "num_samples"), ("pretrained=/gone/away", "no model can")]
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
    launched = [sys.executable, "-m", "accelerate.commands.launch", "-q", "--cpu", "--num_processes", "2"]
    launched += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    tables = []
    for command in ([sys.executable, script], [*launched, script]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        tables.append([line for line in done.stdout.splitlines() if line.startswith("|docs_")])
        assert ("on rank 1" in done.stderr) == (command[0:2] != [sys.executable, script])  # there were two
    assert len(tables[0]) == 2 and tables[0] == tables[1]


@pytest.mark.slow
def test_the_training_benchmark_prints_a_row_for_each_loop(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark_training.py", "--steps", "44"])
    recipe("benchmark_training").main()
    printed = capsys.readouterr().out
    rows = re.findall(r"batch +(\d+) +(.*?) +total / inside ([\d.]+) +(\d+) tokens/s +utilisation ([\d.]+)", printed)
    assert [(batch, name) for batch, name, *_ in rows] == [
        (batch, name) for batch in ("32", "4") for name in ("ardm, Muon", "ardm, AdamW", "BERT, Trainer, AdamW")
    ]
    assert all(1 <= float(ratio) < 3 and int(tokens) > 0 and 0 < float(used) < 2 for *_, ratio, tokens, used in rows)


@pytest.mark.slow
def test_the_generation_benchmark_prints_every_figure():
    benchmark = recipe("benchmark_generation")
    # in a process of its own: it counts live tensors, and those of other tests come and go
    small = (
        f"import runpy; r = runpy.run_path({str(ROOT / 'recipes' / 'benchmark_generation.py')!r}); "
        "r['main'].__globals__.update(SIZES={16: (2, 16, 3, 1.02)}, VOCABULARY=500); r['main'](['--repeats', '1'])"
    )
    done = subprocess.run([sys.executable, "-c", small], capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    printed = done.stdout
    ratios = re.findall(r"^  (\w+) +([\d.]+) +([\d.]+)$", printed, re.MULTILINE)
    assert [name for name, *_ in ratios] == [*benchmark.CALLS]
    assert all(1 < float(ratio) < 20 for _, *pair in ratios for ratio in pair)
    assert [k for k, _ in re.findall(r"(\d+) a step: (\d+) tokens/s", printed)] == ["1", "4", "16"]
    kept = re.findall(r"output_history=(\w+): (\d+) kB kept of (\d+) passes", printed)
    assert [(history, passes) for history, _, passes in kept] == [*product(("False", "True"), ("8", "64"))]
    few, many, few_with_history, many_with_history = (int(size) for _, size, _ in kept)
    grown = (64 - 8) * benchmark.BATCH * benchmark.LENGTH * 8 / 1000  # a history does so, int64, kB
    assert many - few < 0.05 * grown
    assert many_with_history - few_with_history == pytest.approx(grown, rel=0.05)
    assert float(re.search(r"vocabulary 500: ([\d.]+) times", printed)[1]) > 0


@pytest.mark.slow
def test_the_learning_benchmark_scores_both_recipes(tmp_path, capsys, monkeypatch):
    text = ("the quick brown fox jumps over the lazy dog " * 10_000).encode()
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt.xz").write_bytes(lzma.compress(text))
    monkeypatch.setattr(
        sys, "argv", ["benchmark_learning.py", "--data", str(tmp_path), "--seconds", "6", "--windows", "40"]
    )
    recipe("benchmark_learning").main()
    rows = re.findall(
        r"(ours|papers) +\d+ steps, \d+ s +([\d.]+) \+- [\d.]+ bits per character", capsys.readouterr().out
    )
    assert [name for name, _ in rows] == ["ours", "papers"]
    assert all(0 < float(bits) < 4.8 for _, bits in rows)


@pytest.mark.slow
def test_one_and_two_processes_give_the_same_losses(tmp_path, text_file):
    one, _ = launch(tmp_path / "one", text_file)
    two, _ = launch(
        tmp_path / "two", text_file, "--num_processes", "2", "--cpu", script=["--per_device_train_batch_size", 2]
    )
    assert (tmp_path / "two" / "checkpoints" / "step-00000006" / "random_states_1.pkl").is_file()  # there were two
    assert one["identity"] == two["identity"]
    for a, b in zip(one["history"], two["history"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
