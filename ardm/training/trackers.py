"""Trackers: where a run's settings, figures and samples are shown while it goes on.

TensorBoard writes into the run's folder; trackio and wandb have stores of their own. A run that is
resumed goes on in its tracker's run: TensorBoard hides the steps after the checkpoint, and the
other two know the run by a name and an id, kept in the run's folder. They show the steps between
the checkpoint and the kill as they were logged first.

What depends on the clock is for trackers and the log line; the history of a run has none of it.
"""

import importlib
import importlib.util
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .files import write_json_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

# texts or pictures by name, of a model of any class
Samples: TypeAlias = "Mapping[str, str | Sequence[str] | Image]"
SamplesFn: TypeAlias = Callable[[Any], Samples]

TRACKERS = ("tensorboard", "trackio", "wandb")
_LOGS = "logs"  # in the run's folder


def tracker_names(report_to: str | Sequence[str]) -> tuple[str, ...]:
    """What `report_to` asks for.

    Args:
        report_to: names, in one text between commas or spaces or as several; "all" = those that are
            installed; "none".

    Returns:
        Names from `TRACKERS`, each once; none for "none".

    Raises:
        ValueError: if a name is unknown, or "none" is among others.
    """
    texts = [report_to] if isinstance(report_to, str) else report_to
    names = [name for text in texts for name in str(text).replace(",", " ").split()]
    unknown = [name for name in names if name not in (*TRACKERS, "all", "none")]
    if unknown or not names or ("none" in names and len(set(names)) > 1):
        raise ValueError(
            f"report_to is {report_to!r}; expected some of {', '.join(TRACKERS)}, or 'all', or"
            " 'none'."
        )
    if "all" in names:
        return tuple(name for name in TRACKERS if _is_installed(name))
    return tuple(name for name in dict.fromkeys(names) if name != "none")


def check_trackers(report_to: str | Sequence[str]) -> None:
    """Finds out before any work whether what `report_to` asks for is there.

    Args:
        report_to: as [`tracker_names`] takes it.

    Raises:
        ValueError: with what to install.
    """
    names = tracker_names(report_to)
    if not names and report_to != "none" and "none" not in report_to:
        raise ValueError(f"report_to is 'all', and none is installed of {', '.join(TRACKERS)}.")
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        raise ValueError(
            f"report_to is {report_to!r}, and not installed: pip install {' '.join(missing)}."
        )


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


class Trackers:
    """The trackers of a run; until they are opened, they show nothing.

    Args:
        report_to: as [`tracker_names`] takes it.

    Raises:
        ValueError: if a tracker is not installed.
    """

    def __init__(self, report_to: str | Sequence[str]):
        check_trackers(report_to)
        self.names = tracker_names(report_to)
        self._opened: list[_Tracker] = []

    def open(
        self,
        folder: Path,
        project: str,
        run_name: str | None,
        step: int,
        settings: Mapping[str, Any],
    ) -> None:
        """Opens them; on the main process alone, so that the others show nothing.

        Args:
            folder: of the run.
            project: name of the project.
            run_name: name of the run; None = the folder's, which an id follows in trackio.
            step: steps that the run has taken: beyond 0, its tracker runs are gone on with.
            settings: of the run; mappings may be nested.

        Raises:
            ValueError: if a tracker cannot be started.
        """
        for name in self.names:
            try:
                tracker = _OPEN[name](name, folder, project, run_name, step, dict(settings))
            except Exception as error:  # of its own kinds: no login, no network, a bad name
                raise ValueError(f"the tracker {name} could not be started: {error}") from error
            self._opened.append(tracker)

    def show(self, values: Mapping[str, Any], step: int) -> None:
        """Shows figures, or samples, of a step.

        Args:
            values: numbers, texts, lists of texts or PIL images, by name.
            step: steps that the run has taken.
        """
        for tracker in self._opened:
            tracker.show(values, step)

    def close(self) -> None:
        """Ends them; the run can be gone on with later."""
        for tracker in self._opened:
            tracker.close()
        self._opened = []


class _Tracker(Protocol):
    def show(self, values: Mapping[str, Any], step: int) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    """Writes to `<folder>/<project>`, or `<folder>/<project>/<run_name>`."""

    def __init__(
        self,
        name: str,
        folder: Path,
        project: str,
        run_name: str | None,
        step: int,
        settings: dict[str, Any],
    ):
        from torch.utils.tensorboard import SummaryWriter

        place = folder / project / (run_name or "")
        # what was shown of later steps than the checkpoint's is hidden
        self.writer = SummaryWriter(str(place), purge_step=step + 1)
        plain = {name: _scalar(value) for name, value in _flat(settings)}
        self.writer.add_hparams(plain, {}, run_name=".")  # else in a folder named by the time
        self.show({"settings": json.dumps(settings, indent=2, default=str)}, step)

    def show(self, values: Mapping[str, Any], step: int) -> None:
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self.writer.add_scalar(name, value, step)
            elif isinstance(value, (str, list, tuple)):
                texts = [value] if isinstance(value, str) else value
                shown = "\n\n---\n\n".join(map(_verbatim, texts))
                self.writer.add_text(name, shown, step)
            else:
                self.writer.add_image(name, _pixels(value), step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}/")
        else:
            yield before + name, value


def _scalar(value: Any) -> bool | int | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _verbatim(text: str) -> str:
    """As Markdown shows a text letter by letter."""
    return "\n".join(f"    {line}" for line in text.split("\n"))


def _pixels(image: "Image") -> Any:
    import numpy as np

    return np.asarray(image.convert("RGB"))


class _TrackioOrWandb:
    """trackio has wandb's interface."""

    def __init__(
        self,
        name: str,
        folder: Path,
        project: str,
        run_name: str | None,
        step: int,
        settings: dict[str, Any],
    ):
        self.module = importlib.import_module(name)
        run_id, resumed = _run_id(folder / _LOGS / f"{name}.json", step)
        options: dict[str, Any] = {"resume": "allow" if resumed else "never", "config": settings}
        if name == "wandb":
            options |= {"id": run_id, "name": run_name or folder.name, "allow_val_change": True}
            options |= {"dir": str(folder / _LOGS)}
        else:  # which knows a run by its name alone
            options |= {"name": run_name or f"{folder.name}-{run_id}", "embed": False}
        self.run = self.module.init(project=project, **options)

    def show(self, values: Mapping[str, Any], step: int) -> None:
        self.run.log({name: self._shown(value) for name, value in values.items()}, step=step)

    def _shown(self, value: Any) -> Any:
        if isinstance(value, (int, float)):
            return value
        if isinstance(value, (str, list, tuple)):
            texts = [value] if isinstance(value, str) else value
            return self.module.Table(columns=["text"], data=[[text] for text in texts])
        return self.module.Image(value)

    def close(self) -> None:
        self.run.finish()


def _run_id(file: Path, step: int) -> tuple[str, bool]:
    """The id of the run that goes on, and True; or a new one, and False."""
    if step > 0 and file.exists():
        return json.loads(file.read_text())["id"], True
    run_id = uuid.uuid4().hex[:8]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomically(file, {"id": run_id})
    return run_id, False


_OPEN: dict[str, Callable[..., _Tracker]] = {
    "tensorboard": _TensorBoard,
    "trackio": _TrackioOrWandb,
    "wandb": _TrackioOrWandb,
}


class Throughput:
    """How much of the data a run has seen, and how fast it goes.

    Args:
        units_per_example: what is counted, by name, and how many an example has.
        examples_per_step: over all processes.
    """

    def __init__(self, units_per_example: Mapping[str, float], examples_per_step: int):
        self.per_step = {
            name: number * examples_per_step for name, number in units_per_example.items()
        }
        self.begin(0)

    def begin(self, step: int) -> None:
        """The steps to be timed begin here: evaluations and checkpoints are none."""
        self._step = step
        self._began = time.perf_counter()

    def figures(self, step: int) -> dict[str, float]:
        """What was seen since the run's first step, and a second since [`Throughput.begin`]."""
        steps_per_second = (step - self._step) / max(time.perf_counter() - self._began, 1e-9)
        seen = {f"{name}_seen": number * step for name, number in self.per_step.items()}
        speeds = {
            f"{name}_per_second": number * steps_per_second
            for name, number in self.per_step.items()
        }
        self.begin(step)
        return seen | speeds if steps_per_second else seen
