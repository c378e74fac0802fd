"""What is installed: the wheel and the source distribution, and the commands in an environment that
has the wheel and neither the source tree nor an editable install.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import ardm
from ardm.__main__ import COMMANDS

ROOT = Path(__file__).parent.parent
SOURCES = ("ardm", "ddpm", "recipes", "tests", "docs")
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]  # setuptools writes its own words there
build_meta.build_wheel(folder)
build_meta.build_sdist(folder)
"""
SMALL = "--max_train_steps 2 --hidden_size 8 --num_attention_heads 2 --intermediate_size 8"
SMALL += " --num_hidden_layers 1 --max_eval_windows 4 --sequence_length 32"
LAUNCH = "launch --cpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"


def run(*command, cwd, **environment):
    """A command that is to succeed, without the variables that would find the source tree."""
    hidden = ("PYTHONPATH", "RANK", "WORLD_SIZE", "LOCAL_RANK")
    inherited = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=inherited | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the source distribution, of a copy: building leaves files in the tree."""
    tree = tmp_path_factory.mktemp("tree")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, tree / folder, ignore=unwanted)
    for path in ROOT.glob("*.*"):
        if path.is_file():
            shutil.copy(path, tree)
    shutil.copy(ROOT / "LICENSE", tree)
    run(sys.executable, "-c", BUILD, tree / "dist", cwd=tree)
    (wheel,) = (tree / "dist").glob("*.whl")
    (sdist,) = (tree / "dist").glob("*.tar.gz")
    return wheel, sdist


def of_the_packages():
    """Every file of the two packages, and the recipes as they are called in the wheel."""
    files = [path for name in ("ardm", "ddpm") for path in (ROOT / name).rglob("*")]
    kept = {path.relative_to(ROOT) for path in files if path.suffix in (".py", ".html", ".typed")}
    recipes = (path.relative_to(ROOT) for path in (ROOT / "recipes").rglob("*.*"))
    kept |= {Path("ardm") / path for path in recipes if path.suffix in (".py", ".yaml")}
    return {str(path) for path in kept}


def test_the_wheel_has_all_of_the_packages_and_the_recipes_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
        metadata = message_from_string(
            wheel.read(next(n for n in names if "METADATA" in n)).decode()
        )
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == of_the_packages()
    assert any(name.endswith("licenses/LICENSE") for name in about)
    assert {"ardm/py.typed", "ddpm/py.typed", "ardm/viewing/page.html"} <= names
    assert metadata["Version"] == ardm.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert len(metadata.get_all("Project-URL")) == 5
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_the_source_distribution_makes_the_wheel_and_has_no_tests(built):
    with tarfile.open(built[1]) as sdist:
        members = sdist.getmembers()
    files = {member.name.partition("/")[2] for member in members if member.isfile()}
    of_setuptools = {name for name in files if "egg-info" in name} | {"PKG-INFO", "setup.cfg"}
    ours = {name.replace("ardm/recipes/", "recipes/") for name in of_the_packages()}
    about = {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}
    assert files - of_setuptools == ours | about


# ------------------------------------------------------------------------------- as it is installed
@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The folder of programs of an environment with the wheel, and all else as it is here.

    The packages here are found by a line in a .pth file. Python reads no .pth files in a folder
    that it finds so: an editable install does not shine through.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", built[0], cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    here = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (packages / "others.pth").write_text("\n".join(sorted(here)))
    return folder / "bin"


@pytest.mark.slow  # a new environment, and programs in it
def test_the_wheel_trains_and_generates_in_an_environment_of_its_own(installed, tmp_path):
    python = installed / "python"
    where = run(
        python, "-c", "import ardm, ddpm; print(ardm.__file__, ddpm.__file__)", cwd=tmp_path
    )
    assert all(str(installed.parent) in path for path in where.split())

    launcher = ("-m", "accelerate.commands.accelerate_cli", *LAUNCH.split())
    train = (*SMALL.split(), "--language", "en", "--output_dir", "runs/ardm")
    run(python, *launcher, "-m", "ardm", "train", *train, cwd=tmp_path)
    card = (tmp_path / "runs" / "ardm" / "README.md").read_text()
    assert "2 process(es)" in card  # the launcher starts one, which starts both
    assert "\naccelerate launch -m ardm train --sequence_length 32 --max_train_steps 2 " in card

    listed = run(installed / "ardm", cwd=tmp_path)
    assert all(re.search(rf"^  {name} ", listed, re.MULTILINE) for name in COMMANDS)
    words = ("--prompt", "The ____ of", "--num_return_sequences", 2, "--output_file", "-")
    lines = run(installed / "ardm", "generate", *words, cwd=tmp_path).splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["prompt"] for row in rows] == ["The ____ of"] * 2
    assert all(re.fullmatch("The .{4} of", row["text"], re.DOTALL) for row in rows)
    assert "usage: python -m ddpm sample" in run(python, "-m", "ddpm", "sample", "-h", cwd=tmp_path)
