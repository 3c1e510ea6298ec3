"""Puts this folder on the import path, so that tests can share the modules that lie in it."""

import pytest
import torch

# The nets here are tiny: a second thread only waits, and waits long when other programs want the cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep what is remembered of timings out of the user's own cache, and out of other tests."""
    monkeypatch.setenv("HESSENT_CACHE", str(tmp_path_factory.mktemp("cache")))
