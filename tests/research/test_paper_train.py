"""The command that trains the paper's networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from research.paper import train
from research.paper.files import LEFT_OUT


@pytest.mark.parametrize("network", train.NETWORKS)
def test_every_key_that_is_given_is_one_of_the_config(network: str, tmp_path: Path) -> None:
    words = train.command(network, tmp_path, tmp_path, tmp_path, "paper", {"width": 8}, {"num_workers": 1})
    given = dict(zip(words[4::2], words[5::2], strict=True))
    config = json.loads(Path(given.pop("--config_file")).read_text(encoding="utf-8"))
    assert {key.removeprefix("--").partition("#")[0] for key in given} <= set(config)
    assert config["recipes"]["paper"]["width"] != 8
    assert given["--recipes#paper#width"] == "8"
    assert given["--exclude_backgrounds"] == str(list(LEFT_OUT))
    assert given["--output_dir"] == str(tmp_path / network)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    (tmp_path / "data" / "lidc_crops").mkdir(parents=True)
    (tmp_path / "lungs").mkdir()
    return [str(tmp_path / name) for name in ("data", "lungs", "out")]


def test_each_network_is_a_process_of_its_own_and_an_error_ends_it(folders, monkeypatch) -> None:
    (Path(folders[1]) / "one.npz").touch()
    seen: list[list[str]] = []

    class Ended:
        def __init__(self, words: list[str], check: bool) -> None:
            seen.append(words)
            self.returncode = len(seen) - 1

    monkeypatch.setattr(train, "render_folder", lambda source, out: 1)
    monkeypatch.setattr("subprocess.run", Ended)
    words = [*folders, "--network", "unet", "--network", "resnet50", "--network", "res-unet", "--compiled"]
    said = CliRunner().invoke(train.main, words)
    assert said.exit_code == 1
    assert "Error: resnet50: the training ended with an error" in said.output
    assert [words[words.index("--architecture") + 1] for words in seen] == ["unet", "resnet50"]
    assert ["--compiled" in words for words in seen] == [True, False]


@pytest.mark.parametrize(("folder", "said"), [(1, "holds no backgrounds (*.npz)"), (0, "DATA holds lidc_crops/")])
def test_what_is_missing_is_named(folder: int, said: str, folders, tmp_path: Path) -> None:
    if folder == 0:
        (tmp_path / "data" / "lidc_crops").rmdir()
    result = CliRunner().invoke(train.main, folders)
    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.splitlines()) == 1
