"""Names of the system's own files are known in any capitals, and no others."""

import pytest

from ardm.training.litter import is_litter


@pytest.mark.parametrize(
    "name", ["Thumbs.db", "THUMBS.DB", "desktop.ini", "__MACOSX", "@eaDir", "Icon\r", "lost+found"]
)
def test_the_systems_own_names(name):
    assert is_litter(name)
    assert is_litter(name.upper())


@pytest.mark.parametrize(
    "name", ["thumbs", "thumbs.db.txt", "icon", "eaDir", "lost", ".DS_Store", ""]
)
def test_other_names(name):
    assert not is_litter(name)
