"""The code beside a saved network: flat, whole, and of nothing but torch and transformers."""

import ast
import sys

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

from ddpm.models import NoisyClassifier, UNet, code_files
from ddpm.models.code_files import auto_map

# the last three come with transformers, or with torch
PACKAGES = {"torch", "transformers", "huggingface_hub", "tqdm", "typing_extensions"}
ENTRIES = {
    UNet: ("unet.UNet", "configuration_unet.UNetConfig"),
    NoisyClassifier: ("classifier.NoisyClassifier", "configuration_classifier.ClassifierConfig"),
}


@pytest.fixture(scope="module", params=ENTRIES, ids=lambda each: each.__name__)
def network(request):
    return request.param


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    for name, content in code_files.code_files(network).items():
        (folder / name).write_bytes(content)
    return folder


def test_transformers_reaches_every_file_and_no_other(network, folder):
    reached = set()
    for entry in auto_map(network).values():
        module = folder / f"{entry.partition('.')[0]}.py"
        reached |= {module.name}
        reached |= {path.rpartition("/")[2] for path in get_relative_import_files(module)}
    assert reached == {path.name for path in folder.iterdir()}


def test_files_need_torch_and_transformers_only(folder):
    for path in folder.iterdir():
        needed = set(get_imports(path)) - set(sys.stdlib_module_names)
        assert needed <= PACKAGES, f"{path.name} needs {sorted(needed - PACKAGES)}"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, f"{path.name} imports {'.' * node.level}{node.module}"
                assert node.level == 0 or "." not in node.module


def test_files_read_no_pickle(folder):
    for path in folder.iterdir():
        source = path.read_text()
        for word in ("pickle", "torch.load", "torch.save", "exec(", "eval(", "__import__"):
            assert word not in source.replace(".eval()", ""), f"{path.name} has {word}"


def test_files_say_where_they_are_from(folder):
    for path in folder.iterdir():
        first, second, *_ = path.read_text().splitlines()
        assert "https://github.com/ardm-ddpm/ardm-ddpm" in first and "Apache-2.0" in first
        assert "comes with a saved model" in second
        assert "not exported" not in path.read_text()


def test_no_file_hides_a_module_of_python(folder):
    assert not {path.stem for path in folder.iterdir()} & set(sys.stdlib_module_names)


def test_classes_are_found_where_they_are(network):
    model, config = ENTRIES[network]
    assert auto_map(network) == {"AutoConfig": config, "AutoModel": model}


def test_a_users_own_class_is_not_ours_to_export():
    class Mine(UNet):
        pass

    assert auto_map(Mine) is None and code_files.code_files(Mine) == {}


def test_two_files_of_one_name_are_told(tmp_path, monkeypatch):
    for place in (tmp_path, tmp_path / "models"):
        place.mkdir(exist_ok=True)
        (place / "checks.py").write_text("")
    (tmp_path / "models" / "net.py").write_text("from .checks import a\nfrom ..checks import b\n")
    monkeypatch.setattr(code_files, "_path_of", lambda module: tmp_path / "models" / "net.py")
    with pytest.raises(AssertionError, match="one name"):
        code_files.code_files(UNet)
