"""Rows are shared out whole, and every process ends with the same figures."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ardm import training
from ardm.training import measure_rows, own_share, share_of

CPU = torch.device("cpu")


# ------------------------------------------------------------------------------------------ rows
@pytest.mark.parametrize("num_rows", [0, 1, 5, 12])
def test_shares_are_a_partition(num_rows):
    for num_processes in range(1, 15):
        shares = [share_of(num_rows, index, num_processes) for index in range(num_processes)]
        assert all(share.dtype == torch.int64 for share in shares)
        assert sorted(torch.cat(shares).tolist()) == list(range(num_rows))
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_a_process_takes_its_own_share(monkeypatch):
    monkeypatch.setattr(
        "accelerate.PartialState", lambda: SimpleNamespace(process_index=2, num_processes=3)
    )
    assert own_share(10).tolist() == share_of(10, 2, 3).tolist() == [2, 5, 8]
    assert len(own_share(2)) == 0


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_every_row_is_measured_once(batch_size, shape):
    calls = []

    def measure(rows):
        calls.append(rows)
        return (rows.double() / 3).view(-1, *[1] * len(shape)).expand(-1, *shape)

    measured = measure_rows(7, measure, device=CPU, shape=shape, batch_size=batch_size)
    assert measured.dtype == torch.float64 and measured.shape == (7, *shape)
    assert torch.equal(torch.cat(calls), torch.arange(7))
    assert all(len(rows) <= batch_size for rows in calls)
    assert torch.equal(measured, measure(torch.arange(7)))


def test_no_rows():
    def never(rows):
        raise AssertionError("called")

    assert measure_rows(0, never, device=CPU, shape=(2,)).shape == (0, 2)


@pytest.mark.parametrize(("shown", "lines"), [(True, [3, 5, 8]), (False, [])])
def test_quarters_are_logged_where_there_is_no_terminal(caplog, monkeypatch, shown, lines):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO, "ardm.training"):
        measure_rows(10, Tensor.double, device=CPU, unit="window", shown=shown)
    said = [f"scored {done} of this process's 10 windows" for done in lines]
    told = [record.message.partition(", ") for record in caplog.records]
    assert [how_far for how_far, _, _ in told] == said
    assert all(re.fullmatch(r"\S+ windows/s, 00:00 left", how_fast) for _, _, how_fast in told)


TWO = """
import json, sys
import torch
from accelerate import PartialState
from ardm.training import measure_rows
state = PartialState(cpu=True)
seen = []
def measure(rows):
    seen.extend(rows.tolist())
    return torch.stack((rows.double() / 3, torch.full((len(rows),), 1.0).double()), 1)
found = {}
for num_rows in (1, 5):
    scores = measure_rows(num_rows, measure, device=state.device, shape=(2,), batch_size=2)
    found[num_rows] = scores.tolist()
with open(f"{sys.argv[1]}/{state.process_index}.json", "w") as file:
    json.dump({"scores": found, "seen": seen, "processes": state.num_processes}, file)
"""


@pytest.mark.slow
def test_two_processes_end_with_the_scores_of_one(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(training.__file__).parents[2]),
    }
    subprocess.run(
        [sys.executable, *launch, str(tmp_path / "two.py"), str(tmp_path)],
        env=os.environ | environment,
        check=True,
        timeout=200,
    )
    first, second = (json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2))
    assert first["processes"] == second["processes"] == 2
    assert (first["seen"], second["seen"]) == ([0, 0, 2, 4], [1, 3])
    rows = {str(n): [[row / 3, 1.0] for row in range(n)] for n in (1, 5)}
    assert first["scores"] == second["scores"] == rows
