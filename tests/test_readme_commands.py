"""The commands of README run as they are printed, with files of the names that they mention."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from typed import Type

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
COMMANDS = [line for line in LINES if line.startswith("sparring ")]
NET = "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"


def test_readme_has_commands() -> None:
    assert len(COMMANDS) > 8
    assert {line.split()[0] for line in LINES} <= {"sparring", "make", "pip"}


def test_what_pip_is_asked_to_install_is_here() -> None:
    asked = re.findall(r"`pip install ([^`]+)`", (ROOT / "README.md").read_text())
    assert "." in asked
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {re.sub(r"'?\.\[(\w+)\]'?", r"\1", one) for one in asked} - {"."} <= set(extras)


def test_what_make_is_asked_stands_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in LINES if line.startswith("make ")} <= targets
    assert set(re.findall(r"`make ([a-z]+)`", (ROOT / "README.md").read_text())) <= targets


@pytest.fixture
def files(tmp_path: Path) -> None:
    """What the commands mention: a network, its weights, a folder of images, clips."""
    from PIL import Image

    torch.manual_seed(0)
    (tmp_path / "my.py").write_text(NET)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    generator = torch.Generator().manual_seed(0)
    for label in range(3):
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True)
        for number in range(44):
            pixels = torch.randint(0, 256, (8, 8), generator=generator, dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / f"{number}.png")
    _clip(tmp_path / "clip.mp4")
    (tmp_path / "clips").mkdir()
    _clip(tmp_path / "clips" / "one.mp4")


def _clip(path: Path) -> None:
    """Two seconds of grey."""
    import av
    import numpy as np

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 120, np.uint8))
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


# Made small by options of their own; all that is printed is still typed.
SMALLER = {
    "evaluate": "--limit 12 --plan quick",
    "audit": "--examples 20",
    "attack": "--set steps=3",
    "train": "--epochs 1 --limit 64",
}


@pytest.mark.usefixtures("files")
def test_the_commands_run_as_printed(type_: Type) -> None:
    known = {"audit": {0, 3}, "evaluate": {0, 3}, "flash": {0, 1}}
    for line in COMMANDS:
        words = shlex.split(line)[1:]
        if words[0] == "merge":  # of three shards, of which one is printed
            for part in ("2/3", "3/3"):
                shard = next(one for one in COMMANDS if "--shard" in one)
                name = {"2/3": "two", "3/3": "three"}[part]
                typed = shard.replace("1/3", part).replace("--out one", f"--out {name}").removeprefix("sparring ")
                assert type_(f"{typed} --plan quick").code in known["evaluate"]
        more = "--plan quick" if "--shard" in line else SMALLER.get(words[0], "")
        said = type_(f"{line.removeprefix('sparring ')} {more}")
        assert said.code in known.get(words[0], {0}), f"{line}: {said.err}"
        for name in (words[words.index(option) + 1] for option in ("--out", "--picture") if option in words):
            assert any(Path(name).iterdir()), line
    assert Path("runs/robust/model.safetensors").is_file()
    assert Path("fixed.mp4").stat().st_size
