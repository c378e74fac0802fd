"""Flags of what becomes of a model on the Hub: whether it is uploaded, and as what.

The card's front matter takes a licence by its id on the Hub and languages by their ISO 639 codes;
what is wrong of these would be refused there, after the training.
"""

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any

from .hub_names import may_be_on_the_hub
from .near_names import meant
from .upload_checks import check_upload

# as https://huggingface.co/docs/hub/repositories-licenses lists them
_LICENSES = """
afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m
bigscience-bloom-rail-1.0 bigscience-openrail-m bsd bsd-2-clause bsd-3-clause
bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0
epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl
gpl gpl-2.0 gpl-3.0 grok2-community h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0
lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl
odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense
wtfpl zlib
"""
LICENSES = frozenset(_LICENSES.split())
_NO_LANGUAGE = ("multilingual", "code")  # which the Hub takes in place of languages
_LANGUAGE = re.compile(r"[a-z]{2,3}")


def add_hub_arguments(group: Any) -> None:
    """Adds where a result is uploaded, and what its card says of its use.

    Args:
        group: of the recipe's parser.
    """
    add = group.add_argument
    add("--push_to_hub", action="store_true", help="upload the result to --hub_model_id")
    add("--hub_model_id", help="user/name")
    described = "the model's licence, an id of the Hub such as mit, or other (default: apache-2.0)"
    add("--license", default="apache-2.0", help=described)
    described = "of the data, for the card: ISO 639 codes such as en, or multilingual"
    add("--language", nargs="+", help=described)


def check_hub_arguments(args: argparse.Namespace) -> None:
    """Finds out before the training what would make an upload fail after it.

    Args:
        args: parsed flags of [`add_hub_arguments`].

    Raises:
        ValueError: if it is to be uploaded without a name or a token, the Hub knows no such
            licence, or a language is no code.
    """
    if args.push_to_hub:
        check_upload(args.hub_model_id)
    check_license(args.license)
    check_languages(args.language or ())


def check_license(license_id: str) -> None:
    """Makes sure that the Hub knows a licence.

    Args:
        license_id: the id.

    Raises:
        ValueError: if it does not.
    """
    if license_id not in LICENSES:
        raise ValueError(
            f"license is {license_id!r}{meant(license_id.lower(), LICENSES)}; expected an id of"
            " the Hub such as apache-2.0, mit, cc-by-4.0, or other."
        )


def check_languages(languages: Sequence[str]) -> None:
    """Makes sure that languages are codes as the Hub takes them.

    Args:
        languages: the codes.

    Raises:
        ValueError: if one has not the form of ISO 639.
    """
    for language in languages:
        if language not in _NO_LANGUAGE and not _LANGUAGE.fullmatch(language):
            raise ValueError(
                f"language is {language!r}; expected codes of ISO 639 such as en or deu,"
                f" {' or '.join(_NO_LANGUAGE)}."
            )


def hub_facts(args: argparse.Namespace) -> dict[str, Any]:
    """What a card's front matter says of a model's name and use.

    Args:
        args: parsed flags of [`add_hub_arguments`]; a `dataset_name` of the Hub is named, too.

    Returns:
        Fields of [`ardm.training.card_parts.RunFigures`].
    """
    data = getattr(args, "dataset_name", None)
    on_hub = data is not None and not os.path.exists(data) and may_be_on_the_hub(data)
    return {
        "datasets": [data] if on_hub else [],
        "model_name": args.hub_model_id,
        "license": args.license,
        "language": args.language,
    }
