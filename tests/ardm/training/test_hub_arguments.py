"""What a card says of a model's use is what the Hub takes, or is refused before the training."""

import argparse

import pytest
import yaml

from ardm.training.card_parts import RunFigures, front_matter
from ardm.training.hub_arguments import (
    LICENSES,
    add_hub_arguments,
    check_hub_arguments,
    hub_facts,
)


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_hub_arguments(parser)
    args = parser.parse_args(words)
    check_hub_arguments(args)
    return args


def told(*words):
    """The front matter as the Hub reads it."""
    figures = RunFigures(**hub_facts(parsed(*words)))
    return yaml.safe_load(front_matter(figures, pipeline_tag="fill-mask", tags=["x"]).strip("-"))


def test_nothing_given_is_apache_and_no_language():
    assert told()["license"] == "apache-2.0" and "language" not in told()


@pytest.mark.parametrize("license_id", sorted(LICENSES))
def test_every_licence_of_the_hub_is_told(license_id):
    assert told("--license", license_id)["license"] == license_id


@pytest.mark.parametrize(
    ("languages", "said"),
    [
        (["en"], "en"),
        (["no"], "no"),  # which YAML would take for false
        (["en", "deu"], ["en", "deu"]),
        (["multilingual"], "multilingual"),
        (["code"], "code"),
    ],
)
def test_languages_are_told_as_they_are(languages, said):
    assert told("--language", *languages)["language"] == said


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--license", "Apache 2.0"], "did you mean apache-2.0"),
        (["--license", "mine"], "license is 'mine'; .*expected an id of the Hub"),
        (["--license", ""], "license is ''; expected an id of the Hub"),
        (["--language", "English"], "language is 'English'; expected codes of ISO 639"),
        (["--language", "en", "EN"], "language is 'EN'"),
        (["--language", "e"], "language is 'e'"),
        (["--push_to_hub"], "hub_model_id is missing"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_before(words, error):
    with pytest.raises(ValueError, match=error):
        parsed(*words)


def test_data_of_the_hub_are_named_and_those_of_this_machine_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    flags = {"hub_model_id": None, "license": "mit", "language": None}
    for name, named in {"user/data": ["user/data"], "mine": [], "./x.txt": [], None: []}.items():
        args = argparse.Namespace(**flags, dataset_name=name)
        assert hub_facts(args)["datasets"] == named
