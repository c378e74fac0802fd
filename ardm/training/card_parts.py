"""Card parts: what the model cards of all packages have in common, as Markdown for the Hub.

A card says only what it is told: no figure is computed or guessed here, and what is not known is
left out. It never tells where things lie on the machine that wrote it: see local_paths.py.
"""

import io
import math
import platform
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from .local_paths import public

if TYPE_CHECKING:
    from huggingface_hub import EvalResult
    from PIL.Image import Image

Figures = TypeVar("Figures", bound="RunFigures")
Picture: TypeAlias = "bytes | Image | Callable[[], bytes]"
UNNAMED = "path/to/this/folder"  # what cards call a model that has no name yet
WITH_PACKAGE = "With [the package](https://github.com/ardm-ddpm/ardm-ddpm) installed:"
WITHOUT_PACKAGE = """\
Without it, torch and transformers are enough: the model brings its code along, which
`trust_remote_code=True` allows to run.
"""
_CURVE = "loss_curve.png"
_PICTURES = (".png", ".gif", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """What every card may say of a model and its training; what keeps its default is left out.

    Args:
        model_name: "user/name" on the Hub, or another name; with it goes the model-index.
        num_parameters: of the network.
        training_data: a name or a sentence, Markdown; of a path, its last component is kept.
        datasets: ids on the Hub.
        hyperparameters: of the training, by name.
        command: that trains this model.
        seed: of the training.
        machine: the hardware, in words.
        date: of the training, ISO format.
        wall_clock_seconds: of the training.
        loss_curve: file name of the plot, beside the card.
        pictures: file names beside the card.
        limitations: Markdown.
        language: ISO 639 code, or several.
        license: id of the Hub.
    """

    model_name: str | None = None
    num_parameters: int | None = None
    training_data: str | None = None
    datasets: Sequence[str] = ()
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    command: str | None = None
    seed: int | None = None
    machine: str | None = None
    date: str | None = None
    wall_clock_seconds: float | None = None
    loss_curve: str | None = None
    pictures: Sequence[str] = ()
    limitations: str | None = None
    language: str | Sequence[str] | None = None
    license: str = "apache-2.0"

    def __post_init__(self) -> None:
        object.__setattr__(self, "training_data", public(self.training_data))


# ------------------------------------------------------------------------------------ the frame
def front_matter(
    figures: RunFigures,
    *,
    pipeline_tag: str,
    tags: Sequence[str],
    results: "Sequence[EvalResult]" = (),
    base_model: str | None = None,
) -> str:
    """The YAML that the Hub reads.

    Args:
        figures: what is known of the model.
        pipeline_tag: the Hub's name of the task.
        tags: the Hub's search words.
        results: for the model-index, which needs a model name.
        base_model: what it was made from, by its name on the Hub.

    Returns:
        YAML between its two rules.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        model_name=figures.model_name,
        license=figures.license,
        language=_languages(figures.language),
        library_name="transformers",
        pipeline_tag=pipeline_tag,
        tags=list(tags),
        datasets=list(figures.datasets) or None,
        base_model=base_model,
        eval_results=list(results) if figures.model_name and results else None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _languages(given: str | Sequence[str] | None) -> str | list[str] | None:
    """As the Hub has them: one by itself, several as a list."""
    if given is None or isinstance(given, str):
        return given
    return given[0] if len(given) == 1 else list(given)


def with_error(value: float, error: float, digits: int = 4, sign: str = "±") -> str:
    """A figure and its standard error; of a single sample, which has none, that alone is said.

    Args:
        value: the figure.
        error: one standard error, NaN where it is not known.
        digits: behind the point.
        sign: between them.

    Returns:
        "2.0731 ± 0.0527", or "2.0731 (error unknown, of a single sample)".
    """
    if math.isnan(error):
        return f"{value:.{digits}f} (error unknown, of a single sample)"
    return f"{value:.{digits}f} {sign} {error:.{digits}f}"


def training(figures: RunFigures) -> str:
    """The section on the training: command, circumstances, hyperparameters, loss curve.

    The command has the flags that differ from the defaults, the folded table all of them.
    """
    settings = table(["Hyperparameter", "Value"], list(figures.hyperparameters.items()))
    seconds = figures.wall_clock_seconds
    facts = {
        "Seed": figures.seed,
        "Machine": figures.machine,
        "Date": figures.date,
        "Wall-clock": None if seconds is None else duration(seconds),
    }
    return paragraphs(
        figures.command and fenced(figures.command, "bash"),
        bullets(facts),
        settings and folded("All settings", settings),
        figures.loss_curve and f"![Loss curve]({figures.loss_curve})",
    )


def sections(texts: Mapping[str, str | None]) -> str:
    """Sections by title; one without a text does not appear."""
    return "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in texts.items() if text)


def paragraphs(*texts: str | None) -> str:
    """Paragraphs, without those that are empty."""
    return "\n\n".join(text.strip() for text in texts if text)


# ------------------------------------------------------------------------------------ the parts
def bullets(facts: Mapping[str, object]) -> str:
    """A list of facts by name; what is None is left out."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value is not None)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table, or nothing where there are no rows."""
    if not rows:
        return ""
    lines: list[Iterable[object]] = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    """A cell ends at a pipe and a row at a line's end; `<` would begin HTML."""
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    text = shown.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(text.split())


def folded(title: str, text: str) -> str:
    """A text that is shown by a click on its title."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def duration(seconds: float) -> str:
    """How all cards print a time, to the second: 61.4 -> "1 min 1 s"."""
    return "{} min {} s".format(*divmod(round(seconds), 60))


def fenced(text: str, language: str = "text") -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"


def versions() -> str:
    """The versions of what made the model, as a list."""
    found: dict[str, object] = {"Python": platform.python_version()}
    for package in ("ardm", "torch", "transformers"):  # ddpm is a part of the distribution ardm
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree: there is none to tell
            continue
    return bullets(found)


# --------------------------------------------------------------------------------- the pictures
def picture_files(
    figures: Figures,
    pictures: "Mapping[str, Picture]",
    curve: Callable[[], bytes] | None,
) -> tuple[Figures, dict[str, bytes]]:
    """The files of a card's pictures, and the card's figures with their names filled in.

    Args:
        figures: of the card.
        pictures: PNG or GIF content or PIL images, or what draws one, by file name. A failure to
            draw is a warning: it must not cost the model.
        curve: draws the loss curve, or None; the same.

    Returns:
        The figures, and each file's content by name.

    Raises:
        ValueError: if a picture's name has a folder in it.
    """
    for name in pictures:
        _check_name(name)
    contents = _drawn(pictures)
    curves = _drawn({} if curve is None else {_CURVE: curve})
    told = replace(figures, pictures=list(contents), loss_curve=next(iter(curves), None))
    return told, contents | curves


def _drawn(pictures: "Mapping[str, Picture]") -> dict[str, bytes]:
    """The files' contents; what cannot be drawn is left out, with a warning."""
    contents = {}
    for name, picture in pictures.items():
        try:
            contents[name] = _content(picture() if callable(picture) else picture)
        except (ImportError, ValueError) as error:
            what = "its loss curve" if name == _CURVE else name
            warnings.warn(f"the model is saved without {what}: {error}", stacklevel=4)
    return contents


def _check_name(name: str) -> None:
    if Path(name).name != name or Path(name).suffix.lower() not in _PICTURES:
        raise ValueError(
            f"a picture is called {name!r}; expected a file name without folders that ends in"
            f" {', '.join(_PICTURES)}."
        )


def _content(picture: "bytes | Image") -> bytes:
    if isinstance(picture, bytes):
        return picture
    content = io.BytesIO()
    picture.save(content, format="png")
    return content.getvalue()


# ------------------------------------------------------------------------------ what may be said
def machine() -> str:
    """This machine, in words: processor, threads, accelerator."""
    import torch
    from accelerate import PartialState

    processes = PartialState().num_processes
    threads = torch.get_num_threads()
    accelerators = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cpu = f"{processes} process(es) of {threads} CPU thread(s)"
    return ", ".join([platform.machine(), cpu, *accelerators])
