"""How many examples hypothesis tries, and where doctests run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ome_writers.testing.profiles import load_profile

load_profile()


class OwnFolder:
    """A plugin, since the doctests of the package lie outside this folder."""

    @pytest.fixture(autouse=True)
    def _own_folder(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run doctests in an empty folder, so that an example may write where it likes."""
        if isinstance(request.node, pytest.DoctestItem):
            folder: Path = request.getfixturevalue("tmp_path")
            monkeypatch.chdir(folder)


def pytest_configure(config: pytest.Config) -> None:
    # Thousands of datasets would wait for the device; `test_sync.py` looks at what is brought there.
    os.fsync = lambda _: None
    config.pluginmanager.register(OwnFolder(), "own-folder")
