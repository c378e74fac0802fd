"""transformers' ModelTesterMixin and ConfigTester on our networks, from its source distribution.

The wheel has no tests; the source distribution of the same version has those that all models share.
They are fetched from the package registry, never kept, and run in a package of their own beside
`testers.py`. Where they cannot be had, the test is skipped and says why.
"""

import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import transformers

TESTERS = Path(__file__).with_name("testers.py")
# What the shared tests import and no source distribution has: tests of torch.export and of
# `generate`, which we have our own of, and a table of settings, whose test then checks nothing.
MISSING = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}
IMAGES_ARE_TENSORS = "a network of images is called as (x, t, labels) and returns a tensor"
# Tests that our networks do not pass, with the reason; a test that begins to pass is to be removed.
EXCEPTIONS = {
    "ARDMTest.test_batching_equivalence": "logits of ids that cannot be written are -inf",
}
for _test in ("UNetTest", "NoisyClassifierTest"):
    EXCEPTIONS |= {
        f"{_test}.test_hidden_states_output": IMAGES_ARE_TENSORS,
        f"{_test}.test_model_outputs_equivalence": IMAGES_ARE_TENSORS,
        f"{_test}.test_retain_grad_hidden_states_attentions": IMAGES_ARE_TENSORS,
        f"{_test}.test_model_get_set_embeddings": "pixels have no embedding",
    }


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """A package of transformers' shared tests and ours."""
    folder = tmp_path_factory.mktemp("suite")
    version = transformers.__version__
    words = ["download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, f"transformers=={version}", "-d", str(folder)],
        capture_output=True,
        text=True,
    )
    archive = folder / f"transformers-{version}.tar.gz"
    if not archive.exists():
        errors = [line.strip() for line in done.stderr.splitlines() if "error: " in line.lower()]
        reason = "; ".join(errors) or "pip named no error"
        pytest.skip(f"no source distribution of transformers {version}: {reason}")
    package = folder / "suite"
    package.mkdir()
    with tarfile.open(archive) as files:
        shared = [
            member
            for member in files.getmembers()
            if Path(member.name).match("transformers-*/tests/test_*.py") and member.isfile()
        ]
        for member in shared:
            (package / Path(member.name).name).write_bytes(files.extractfile(member).read())
    if not (package / "test_modeling_common.py").exists():
        pytest.skip(f"the source distribution of transformers {version} has no model tests")
    for name, text in MISSING.items():
        (package / name).parent.mkdir()
        (package / name).write_text(text)
        (package / name).with_name("__init__.py").touch()
    (package / "__init__.py").touch()
    shutil.copy(TESTERS, package / "test_ours.py")
    return package


@pytest.mark.slow  # some 350 tests
def test_our_networks_pass_what_transformers_asks_of_all_models(suite):
    report = suite / "report.xml"
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(suite.parent)]
    words += ["-W", "ignore"]  # of libraries, at what transformers' tests do with them
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, f"--junitxml={report}", "suite/test_ours.py"],
        capture_output=True,
        text=True,
        cwd=suite.parent,
    )
    assert report.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = {_name(case) for case in cases if case.find("failure") is not None}
    failed |= {_name(case) for case in cases if case.find("error") is not None}
    passed = {_name(case) for case in cases if not len(case)} - failed
    assert len(passed) > 200, done.stdout[-2000:]
    assert failed == set(EXCEPTIONS), done.stdout[-6000:]


def _name(case):
    return f"{case.get('classname').rsplit('.', 1)[-1]}.{case.get('name').split('[')[0]}"
