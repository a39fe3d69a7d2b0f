"""sparring doctor: is everything here that is needed, and does an attack find what theory says?"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from sparring.cli.exits import GATE, PASS, guarded
from sparring.cli.terminal import Terminal

EXTRAS = (("av", "video", "reading and writing video files"),)  # package, extra, purpose


@guarded
def doctor() -> int:
    """Check Python, torch, devices and extras, and test an attack against its closed form."""
    terminal, healthy = Terminal(), True
    for good, name, found in _checks():
        mark, style = {True: ("ok  ", "green"), False: ("FAIL", "bold red"), None: ("-   ", "dim")}[good]
        terminal.say(f"{mark} {name:<10} {found}", style=style if good is not True else None)
        healthy = healthy and good is not False
    terminal.say("all well" if healthy else "something is wrong: see the lines marked FAIL")
    return PASS if healthy else GATE


def _checks() -> Iterator[tuple[bool | None, str, str]]:
    """(good, or None for what is optional; name; what was found)."""
    import sparring

    yield True, "sparring", sparring.__version__
    yield sys.version_info >= (3, 11), "python", f"{platform.python_version()} on {sys.platform} {platform.machine()}"
    try:
        import torch
    except ImportError as error:
        yield False, "torch", f"{error}; pip install torch --index-url https://download.pytorch.org/whl/cpu"
        return
    yield True, "torch", torch.__version__
    yield True, "devices", ", ".join(_devices())
    yield True, "threads", f"{torch.get_num_threads()} (set OMP_NUM_THREADS to change it)"
    for package, extra, purpose in EXTRAS:
        try:
            yield True, package, f"{version(package)}, for {purpose}"
        except PackageNotFoundError:
            yield None, package, f"not installed; for {purpose}: pip install 'sparring[{extra}]'"
    yield _closed_form()


def _devices() -> list[str]:
    import torch

    cuda = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _closed_form() -> tuple[bool, str, str]:
    """On a linear classifier the nearest adversary under L∞ is |w·x + b| / ‖w‖₁ away."""
    import torch

    from sparring import PGD, Linf, Model

    generator = torch.Generator().manual_seed(0)
    w, b = torch.randn(20, generator=generator), 0.3
    x = torch.randn(64, 20, generator=generator)
    model = Model(lambda inputs: inputs @ w + b, bounds=(-100, 100))
    y = (x @ w + b > 0).long()
    exact = (x @ w + b).abs() / w.abs().sum()
    beyond = PGD()(model, x, y, Linf(1.02 * exact)).success
    within = PGD()(model, x, y, Linf(0.98 * exact)).success
    good = bool(beyond.all()) and not bool(within.any())
    found = f"{int(beyond.sum())} of 64 fall at 1.02 × the exact distance, {int(within.sum())} at 0.98 ×"
    return good, "self-test", f"PGD on a linear model: {found}"
