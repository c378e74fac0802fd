"""lm_eval_ardm: the harness' table of the demo's tasks and of own ones."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import lm_eval.tasks
import pytest
import torch

from ardm.data import build_tokenizer, load_texts
from ardm.evaluation import new_model

ROOT = Path(__file__).parents[2]
ARDM = ["--model", "ardm"]


@pytest.fixture
def own_tasks_only(monkeypatch):
    """Leaves out what takes the harness longer than all else.

    That is to read the thousands of files of its own tasks, and to ask programs of the system what
    machine this is. The slow test runs all of it.
    """
    own_tasks_only = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", own_tasks_only)
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "")


@pytest.fixture
def whole(own_tasks_only, recipe, monkeypatch, tmp_path):
    """The recipe's module, to be run in tmp_path.

    Like a program of its own it changes `sys.argv` and the environment.
    """
    monkeypatch.setattr(sys, "argv", ["lm_eval_ardm.py"])
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.chdir(tmp_path)
    return recipe("lm_eval_ardm")


@pytest.fixture
def evaluate(whole):
    """Runs the recipe on small tasks: words."""
    whole.QUESTIONS = 10
    whole.PAGES = 3
    return lambda *words: whole.main([*map(str, words)])


@pytest.fixture
def tasks(recipe, tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    module = recipe("lm_eval_ardm")
    module.QUESTIONS = 10
    module.PAGES = 3
    module.write_tasks(folder)
    return folder


@pytest.fixture
def demo(tmp_path):
    """A model in runs/ardm that knows the letters of the embedded text."""
    folder = tmp_path / "runs" / "ardm"
    texts = load_texts()
    letters = [row["text"] for split in texts.values() for row in split]
    tokenizer = build_tokenizer("char", letters)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = new_model(tokenizer, 32, intermediate_size=32, **sizes)
    with torch.no_grad():
        model.lm_head.weight.normal_(std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.usefixtures("demo")
def test_it_prints_a_table_for_the_demo(evaluate, capsys):
    evaluate()
    table = capsys.readouterr().out
    pattern = r"\|docs_choice\|.*\|acc +\|↑ +\|([\d.]+)\|± +\|([\d.]+)\|"
    accuracy, error = re.search(pattern, table).groups()
    assert 0 <= float(accuracy) <= 1 and 0 <= float(error) < 0.2
    bits = re.search(r"\|docs_bits *\|.*\|bits_per_byte\|↓ +\|([\d.]+)\|", table)[1]
    assert 2 < float(bits) < 8


def test_the_name_goes_with_other_model_arguments(saved, evaluate, tasks, capsys):
    model = ["--model_name_or_path", saved.folder, "--model_args", "num_samples=1,greedy=off"]
    evaluate(*model, "--tasks", "docs_choice", "--include_path", tasks, "--limit", 3)
    table = capsys.readouterr().out
    assert "num_samples" in table and f"{saved.folder}" in table and "|docs_choice|" in table


def test_a_text_of_letters_that_the_model_does_not_know_is_refused(saved, evaluate, tasks):
    model = ["--model_args", f"pretrained={saved.folder}"]
    with pytest.raises(ValueError, match=r"characters .* are unknown"):
        evaluate(*model, "--tasks", "docs_bits", "--include_path", tasks)


def test_it_prints_a_table_for_own_tasks(saved, evaluate, tasks, capsys):
    model = ["--model_args", f"pretrained={saved.folder},num_samples=1,greedy=off"]
    evaluate(*model, "--tasks", "docs_choice", "--include_path", tasks, "--limit", 3)
    assert re.search(r"ardm .*limit: 3.*\n.*\n.*\n\|docs_choice\|", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "named"),
    [("num_samples=few", "num_samples"), ("pretrained=/gone/away", "no model can")],
)
def test_it_names_a_bad_option(evaluate, tasks, options, named):
    with pytest.raises(ValueError, match=named):
        evaluate("--model_args", options, "--tasks", "docs_bits", "--include_path", tasks)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["--tasks", "mine"], ["run", "--model", "ardm", "--tasks", "mine"]),
        (["run", "--tasks", "mine"], ["run", "--model", "ardm", "--tasks", "mine"]),
        (["--model=hf", "--tasks", "mine"], ["run", "--model=hf", "--tasks", "mine"]),
        (["-C", "own.yaml"], ["run", "-C", "own.yaml"]),
        (["ls", "tasks"], ["ls", "tasks"]),
        (
            ["-t", "mine", "-a", "seed=1", "--model_name_or_path=a"],
            ["run", *ARDM, "--model_args", "pretrained=a", "-t", "mine", "-a", "seed=1"],
        ),
    ],
)
def test_the_command_and_the_model_are_filled_in(recipe, tmp_path, words, completed):
    assert recipe("lm_eval_ardm").command_line(words, tmp_path) == ["lm-eval", *completed]
    assert [*tmp_path.iterdir()] == []


def test_a_model_without_tasks_gets_those_of_the_recipe(recipe, tmp_path):
    module = recipe("lm_eval_ardm")
    for words in (["--model_name_or_path", "a"], ["--model_args", "pretrained=a"]):
        command = module.command_line([*words, "--limit", "3"], tmp_path)
        tasks = ["--tasks", "docs_choice,docs_bits", "--include_path", str(tmp_path)]
        given = ["--model_args", "pretrained=a", "--limit", "3"]
        assert command[2:] == ["--model", "ardm", *tasks, *given]
    assert {path.stem for path in tmp_path.glob("*.yaml")} == {"docs_choice", "docs_bits"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "--model_args", "seed=1,pretrained=b"], "expected one of them"),
        (["a", "--model_name_or_path", "b"], "expected one of them"),
        (["--limit", "3"], "no name behind it"),
        ([], "no name behind it"),
    ],
)
def test_a_model_is_named_once(recipe, tmp_path, words, told):
    with pytest.raises(ValueError, match=told):
        recipe("lm_eval_ardm").command_line(["--model_name_or_path", *words], tmp_path)


def test_the_help_begins_with_the_recipe(whole, capsys):
    with pytest.raises(SystemExit, match="0"):
        whole.main(["--help"])
    told = capsys.readouterr().out
    assert 0 <= told.index("--model_name_or_path NAME") < told.index("usage: lm-eval run")


@pytest.mark.slow
@pytest.mark.timeout(600)  # the harness reads all of its own tasks, twice
@pytest.mark.usefixtures("demo")
def test_the_same_table_on_two_processes(whole, tmp_path, capsys):
    whole.main([])
    script = str(ROOT / "recipes" / "lm_eval_ardm.py")
    launcher = ["-m", "accelerate.commands.launch", "-q", "--cpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = [sys.executable, *launcher, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "on rank 1" in done.stderr  # there were two
    tables = [
        [line for line in printed.splitlines() if line.startswith("|docs_")]
        for printed in (capsys.readouterr().out, done.stdout)
    ]
    assert len(tables[0]) == 2 and tables[0] == tables[1]
