"""README and docs say what is true: their programs run, their commands parse, their links lead
somewhere, and docs/architecture.md has every file.
"""

import argparse
import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

import ardm.__main__
import ddpm.__main__
from ardm import ARDMConfig, ARDMForMaskedLM
from ardm.data import build_tokenizer, embedded_text
from ardm.hub import CardFigures as TextFigures
from ardm.hub import save_folder as save_text_model
from ddpm import GaussianDiffusion, cosine_schedule
from ddpm.hub import CardFigures as ImageFigures
from ddpm.hub import save_folder as save_image_model
from ddpm.models import NoisyClassifier, UNet, UNetConfig, presets

from .command_line import recipe
from .foreign_models import write_bert, write_llama

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
RECIPES = sorted((ROOT / "recipes").glob("*.py"))
FLAG = re.compile(r"(?<![\w-])--[a-z]\w+")
NAMES = [path.name for path in PAGES]
HEADERS = {path.name: path.read_text().split('"""')[1] for path in RECIPES}
SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 128,
}
NETWORK = {
    "image_size": 8,
    "in_channels": 1,
    "model_channels": 8,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
    "num_heads": 1,
    "norm_num_groups": 4,
    "num_classes": 10,
}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, each behind as many empty lines as there are lines before
    it: an error then names the line of the document.
    """
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text[: match.start(1)].count("\n") + match[1] for match in found]


# pyproject.toml tells package indexes the same (read by hand: Python 3.10 has no reader of TOML)
PROJECT = (ROOT / "pyproject.toml").read_text()
ADDRESS = re.search(r'^Repository = "(.*)"$', PROJECT, re.MULTILINE)[1]
RAW = ADDRESS.replace("github.com", "raw.githubusercontent.com")
HERE = re.compile(rf"(?:{re.escape(ADDRESS)}/(?:blob|tree)|{re.escape(RAW)})/main/")
WITH_PYTHON = [path for path in PAGES if blocks(path.read_text(), "python")]


# ------------------------------------------------------------------------------------ programs run
@pytest.fixture(scope="module")
def models_folder(tmp_path_factory):
    """A folder with what the documents' programs find there: tiny models, not trained ones."""
    folder = tmp_path_factory.mktemp("docs")
    torch.manual_seed(0)
    text = embedded_text()
    (folder / "my.txt").write_text(text[:20_000], encoding="utf-8")

    tokenizer = build_tokenizer("char", text)
    ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = ARDMForMaskedLM(ARDMConfig(vocab_size=len(tokenizer), **ids, **SIZES))
    save_text_model(folder / "runs" / "ardm", model, tokenizer, TextFigures())

    network = UNet(UNetConfig(**NETWORK))
    diffusion = GaussianDiffusion(cosine_schedule(1000))
    save_image_model(folder / "runs" / "ddpm", network, diffusion, ImageFigures())

    write_task(folder / "my" / "tasks")
    write_bert(folder / "models" / "bert")
    write_llama(folder / "models" / "llama")
    return folder


def write_task(folder: Path) -> None:
    """A task of lm-evaluation-harness called "mine"."""
    folder.mkdir(parents=True)
    rows = [{"context": "The statement", "options": [" is", " was"], "answer": 0}] * 3
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "mine.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "options",
        "doc_to_target": "answer",
    }
    (folder / "mine.yaml").write_text(json.dumps(task))


@pytest.fixture
def released(models_folder, monkeypatch):
    """Files in the format of the released ADM checkpoints, of networks that are small."""
    for cls, kind, name in (
        (UNet, "ddpm_unet", "64x64_diffusion"),
        (NoisyClassifier, "ddpm_classifier", "64x64_classifier"),
    ):
        monkeypatch.setitem(presets.PRESETS[kind], name, NETWORK)
        cls(cls.config_class.preset(name)).to_guided_diffusion(models_folder / f"{name}.pt")


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")  # transformers.Trainer's, on a CPU
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.name == "README.md" else pytest.mark.slow)
        for path in WITH_PYTHON
    ],
    ids=lambda path: path.name,
)
def test_the_programs_of_a_document_run_in_order(path, models_folder, released, monkeypatch):
    import datasets

    monkeypatch.chdir(models_folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", models_folder / "cache")
    namespace: dict = {"__name__": "__main__"}
    for block in blocks(path.read_text(), "python"):
        if "from diffusers import" in block and not importlib.util.find_spec("diffusers"):
            continue  # it needs a Python of 3.11
        exec(compile(block, str(path), "exec"), namespace)


def test_the_picture_is_what_its_recipe_draws(models_folder, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(models_folder)
    recipe("draw_readme").main(["--steps", "4", "--output_file", "picture.png"])
    path = ROOT / "docs" / "picture.png"
    with Image.open("picture.png") as drawn, Image.open(path) as shown:
        assert drawn.size == shown.size
    assert path.stat().st_size < 300_000


# ----------------------------------------------------------------------------------- commands parse
class Parsed(Exception):
    """The command line was understood."""


def commands(text: str) -> list[list[str]]:
    """The words of each command of the shell blocks and of the indented lines with a recipe."""
    text = re.sub(r"\\\n *", " ", text)  # a command goes on in the next line
    lines = "".join(blocks(text, "sh")).splitlines()
    lines += re.findall(r"^    +((?:python|accelerate) .*recipes/.*)$", text, re.MULTILINE)
    found = (shlex.split(line, comments=True) for line in lines)
    return [words for words in found if words]


@pytest.mark.parametrize("text", [path.read_text() for path in PAGES], ids=NAMES)
def test_commands_of_the_shell_are_known(text):
    for words in commands(text):
        if words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets), words
        else:
            assert words[0] in ("python", "accelerate"), words
            assert "-m" not in words or by_its_file(words) != words, words


def by_its_file(words: list[str]) -> list[str]:
    """A command of an installed package, `python -m ardm train`, as that of its recipe."""
    for package, table in (("ardm", ardm.__main__.COMMANDS), ("ddpm", ddpm.__main__.COMMANDS)):
        for name, file in table.items():
            short = ["-m", package, name]
            for place in range(1, len(words) - 2):
                if words[place : place + 3] == short:
                    return [*words[:place], f"recipes/{file}.py", *words[place + 3 :]]
    return words


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_commands_of_a_recipe_parse(path, monkeypatch, tmp_path):
    """Those of README, the docs, and the recipe's own header."""
    from accelerate.commands.launch import launch_command_parser

    texts = [*(page.read_text() for page in PAGES), HEADERS[path.name]]
    known = [by_its_file(words) for text in texts for words in commands(text)]
    mine = [words for words in known if f"recipes/{path.name}" in words]
    assert mine, f"no document says how to run {path.name}"
    launcher = launch_command_parser()
    monkeypatch.chdir(tmp_path)
    parse = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    module = recipe(path.stem)
    for words in mine:
        place = words.index(f"recipes/{path.name}")
        if words[0] == "accelerate":
            parse(launcher, words[2 : place + 1])
        if path.stem == "lm_eval_ardm" and not words[place + 1 :]:
            continue  # makes its own command line
        monkeypatch.setattr(sys, "argv", words[place:])
        with pytest.raises(Parsed):
            module.main()


def test_flags_in_the_text_are_of_some_recipe(monkeypatch, capsys):
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    for path in RECIPES:
        words = ["run", "--help"] if path.stem == "lm_eval_ardm" else ["--help"]
        monkeypatch.setattr(sys, "argv", [str(path), *words])
        with pytest.raises(SystemExit, match="0"):
            recipe(path.stem).main()
    launchers = (launch_command_parser(), get_args_parser())
    helps = [capsys.readouterr().out, *(launcher.format_help() for launcher in launchers)]
    known = FLAG.findall(" ".join(helps))
    for path in PAGES:
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert set(FLAG.findall(text)) <= {*known, "--model"}, path.name


# ----------------------------------------------------------------------------- names are of things
def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(path: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", path.read_text()))


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    """Those to files of the project, relative or by its address."""
    for link in links(path):
        inside = HERE.match(link)
        if link.startswith("https://") and not inside:
            assert not link.startswith((ADDRESS, RAW)), f"{link}; expected blob/main/ or tree/main/"
            continue
        name, _, anchor = link[inside.end() if inside else 0 :].partition("#")
        target = (ROOT if inside else path.parent) / name if name else path
        assert target.exists() and ROOT in target.resolve().parents, link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in map(slug, headings), link


def test_links_of_readme_work_on_a_page_of_an_index():
    """There it stands alone: links are whole, and a picture's is to the picture, not its page."""
    path = ROOT / "README.md"
    assert [link for link in links(path) if not link.startswith("https://")] == []
    pictures = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", path.read_text())
    assert pictures and all(picture.startswith(f"{RAW}/main/docs/") for picture in pictures)


def test_addresses_of_the_project_are_of_one_place_and_lead_somewhere():
    table = PROJECT.split("[project.urls]")[1].split("\n[")[0]
    found = dict(re.findall(r'^(\w+) = "(.*)"$', table, re.MULTILINE))
    assert {"Homepage", "Repository", "Documentation", "Changelog", "Issues"} == {*found}
    for address in found.values():
        rest = address.removeprefix(ADDRESS)
        assert rest in ("", "/issues") or (ROOT / HERE.sub("", address)).exists(), address


def test_nothing_is_to_be_installed_from_an_index_that_does_not_have_it():
    """The packages are in no index: `pip install -e '.[plots]'` in a clone, or names of others."""
    here = re.compile(r"pip install[^\n`]*?\b(?:ardm|ddpm)\b")
    places = [
        path for folder in ("ardm", "ddpm", "recipes") for path in (ROOT / folder).rglob("*.py")
    ]
    for path in [*PAGES, ROOT / "CHANGELOG.md", *places]:
        assert here.findall(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize(
    "text",
    [*(path.read_text() for path in PAGES), *HEADERS.values()],
    ids=[*NAMES, *HEADERS],
)
def test_files_of_the_project_that_are_named_exist(text):
    named = re.findall(
        r"(?<![\w/.])(?:ardm|ddpm|recipes|tests|docs)/[\w./]*\.\w+", HERE.sub("", text)
    )
    assert [name for name in named if not (ROOT / name.rstrip(".")).exists()] == []


def test_readme_names_every_recipe_and_every_document_and_is_short():
    text = (ROOT / "README.md").read_text()
    row = re.search(r"^\| `benchmark_\*\.py` \|(.*?)\|", text, re.MULTILINE)[1]
    named = {*re.findall(r"^\| `(\w+\.py)`", text, re.MULTILINE)}
    named |= {f"benchmark{name}.py" for name in re.findall(r"`(_\w+)`", row)}
    assert named == set(HEADERS)
    linked = re.findall(rf"\({re.escape(ADDRESS)}/blob/main/docs/(\w+\.md)\b", text)
    assert set(linked) == {path.name for path in DOCS}
    assert 5500 <= len(text) <= 7000


def test_architecture_has_every_file_once():
    tree = blocks((ROOT / "docs" / "architecture.md").read_text(), "")[-1]
    folder, named = "", []
    for line in tree.split("\n"):
        if match := re.match(r"((?:ardm|ddpm)(?:/\w+)*/)", line):
            folder = match[1]
        elif match := re.match(r"(\w+\.(?:py|html)) ", line):
            named.append(folder + match[1])
    there = [
        str(path.relative_to(ROOT))
        for package in ("ardm", "ddpm")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".html") and path.name != "__init__.py"
    ]
    assert sorted(named) == sorted(there)
