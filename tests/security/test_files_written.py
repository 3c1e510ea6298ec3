"""Nothing is written where nobody asked for it: not through a link that came with a checkpoint."""

import pytest
import torch
from safetensors.torch import save_file

from hessent.__main__ import main


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """A folder from somewhere with a checkpoint in it, beside the folder that the attacker has in mind."""
    (tmp_path / "home").mkdir()
    folder = tmp_path / "downloaded"
    folder.mkdir()
    sizes = {"0.weight": (4, 64), "0.bias": (4,), "2.weight": (10, 4), "2.bias": (10,)}
    chance = torch.Generator().manual_seed(0)
    weights = {name: 0.3 * torch.randn(size, generator=chance) for name, size in sizes.items()}
    save_file(weights, folder / "m.safetensors")
    monkeypatch.chdir(tmp_path)
    return folder


WORDS = ["spectrum", "downloaded/m.safetensors", "--arch", "mlp", "--data", "digits"]
FEW = ["--samples", "16", "--max-matvecs", "20", "--no-full", "--no-data-error"]


@pytest.mark.parametrize("target", ["../home/autostart", "../home/there"])
def test_a_planted_link_is_not_written_through(downloaded, capsys, target):
    (downloaded.parent / "home" / "there").write_text("mine")
    (downloaded / "m.spectrum.h5").symlink_to(target)
    assert main([*WORDS, *FEW, "--force"]) == 2
    assert "is a link that leads out of its folder" in capsys.readouterr().err
    assert [path.name for path in (downloaded.parent / "home").iterdir()] == ["there"]
    assert (downloaded.parent / "home" / "there").read_text() == "mine"


def test_a_link_that_the_user_names_is_followed(downloaded, capsys):
    (downloaded / "m.spectrum.h5").symlink_to("../home/result.h5")
    assert main([*WORDS, *FEW, "-o", "downloaded/m.spectrum.h5"]) == 0, capsys.readouterr().err
    assert (downloaded.parent / "home" / "result.h5").read_bytes().startswith(b"hessent")


@pytest.mark.parametrize("planted", [".partial", ".partial/units", ".partial/states"])
def test_a_planted_folder_of_a_run_under_way_leads_nowhere(downloaded, capsys, planted):
    home = downloaded.parent / "home"
    (home / "manifest.json").write_text("mine")
    link = downloaded / f"m.spectrum.h5{planted}"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(home)
    assert main([*WORDS, *FEW, "--force"]) == 2
    assert "link" in capsys.readouterr().err
    assert [path.name for path in home.iterdir()] == ["manifest.json"]
    assert (home / "manifest.json").read_text() == "mine"
