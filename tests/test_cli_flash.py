"""sparring flash as it is typed: which clips are meant, what is said and written, and the exit code."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from flash.byhand import analysis
from sparring import flash
from sparring.cli.clips import clips
from sparring.errors import InputError
from sparring.flash.profiles import STANDARDS
from sparring.flash.records import Analysis
from sparring.flash.report.stills import frames_at
from sparring.flash.report.wording import DISCLAIMER
from typed import Type

SIX = list(STANDARDS)


def video(path: Path, levels: NDArray[np.uint8], rate: int = 30, codec: str = "ffv1") -> None:
    """A clip of plain grey frames, 64 × 48, lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in levels:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def strobe(frames: int = 60, hold: int = 3) -> NDArray[np.uint8]:
    """Black and white, each for so many frames: at 30 a second, five flashes a second."""
    return np.where((np.arange(frames) // hold) % 2, 235, 20).astype(np.uint8)


def calm(frames: int = 45) -> NDArray[np.uint8]:
    return np.full(frames, 120, np.uint8)


@pytest.fixture
def harm(tmp_path: Path) -> str:
    video(tmp_path / "harm.mkv", strobe())
    return "harm.mkv"


@pytest.fixture
def mild(tmp_path: Path) -> str:
    video(tmp_path / "mild.mkv", calm())
    return "mild.mkv"


# ------------------------------------------------------------------------------------------------------- real clips


def test_what_does_not_meet_is_told_with_time_place_and_clause(type_: Type, harm: str) -> None:
    said = type_(f"flash check {harm}")
    assert said.code == 1
    lines = [line.split() for line in said.out.splitlines()]
    assert ["wcag2.2", "does", "not", "meet"] in lines
    # The first change is at 3/30 s; 59 frames later there are ten a second over the whole picture.
    (row,) = [line for line in lines if line[:2] == ["general", "flash"]]
    assert row == ["general", "flash", "0.10–1.90", "s", "10", "100", "%", "of", "the", "window", "300", "%"]
    assert "WCAG 2.2 SC 2.3.1, general flash: more than three within any one second" in " ".join(said.out.split())
    assert f"{harm}: does not meet wcag2.2\n" in said.out
    assert DISCLAIMER in said.out
    assert "checking: 100%" in said.err


def test_what_meets_is_said_in_few_words(type_: Type, mild: str) -> None:
    said = type_(f"flash check {mild} --standard all")
    assert said.code == 0
    assert f"{mild}: meets wcag2.2, itu-r-bt.1702, ofcom, iso9241-391, nab-j and trace24\n" in said.out
    assert "beyond" not in said.out
    quiet = type_(f"flash check {mild} --quiet")
    assert quiet.out == f"{mild}: meets wcag2.2\n"
    assert quiet.err == ""


@pytest.mark.parametrize("form", ["--json -", "--json", "--json=-"])
@pytest.mark.parametrize("first", [True, False])
def test_json_goes_to_stdout_with_or_without_a_dash(type_: Type, harm: str, form: str, first: bool) -> None:
    said = type_(f"flash check {form} {harm}" if first else f"flash check {harm} {form}")
    assert said.code == 1
    found = json.loads(said.out)  # nothing else is there
    assert found["passed"] is False
    (clip,) = found["clips"]
    assert (clip["source"], clip["size"], clip["frames"]) == (harm, [64, 48], 60)
    (violation,) = clip["violations"]
    assert (violation["count"], violation["area"]) == (10, 1.0)
    assert violation["boxes"] == [[0, 0, 64, 48]]
    assert violation["start"] == pytest.approx(0.1, abs=1e-6)
    assert "does not meet wcag2.2" in said.err


def test_a_folder_gives_every_kind_of_file(type_: Type, harm: str, mild: str, tmp_path: Path) -> None:
    video(tmp_path / "deep" / "er" / "mild.mkv", calm(10))
    (tmp_path / "notes.txt").write_text("no video")
    line = "flash check . -s wcag2.2,ofcom --json out/a.json --junit out/a.xml --csv out/csv --picture out/png"
    said = type_(line)
    assert said.code == 1
    assert "3 clips: 2 meet, 1 does not\n" in said.out
    found = json.loads(Path("out/a.json").read_text())
    assert [clip["source"] for clip in found["clips"]] == ["./deep/er/mild.mkv", "./harm.mkv", "./mild.mkv"]
    assert [clip["passed"] for clip in found["clips"]] == [True, False, True]
    root = ElementTree.parse("out/a.xml").getroot()
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == ("6", "2", "0")
    for name, frames in (("deep/er/mild.mkv", 10), ("harm.mkv", 60), ("mild.mkv", 45)):
        with open(f"out/csv/{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == frames
        assert float(rows[-1]["seconds"]) == pytest.approx((frames - 1) / 30, abs=1e-5)
        with Image.open(f"out/png/{name}.png") as page:
            assert page.format == "PNG"
        assert f"wrote out/png/{name}.png" in said.out
    with open("out/csv/harm.mkv.csv", newline="") as file:
        peak = max(int(row["ofcom: general flash count"]) for row in csv.DictReader(file))
    assert peak == 10


def test_a_truncated_clip_is_no_pass(type_: Type, mild: str, tmp_path: Path) -> None:
    whole = (tmp_path / mild).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    said = type_("flash check cut.mkv --json cut.json --junit cut.xml")
    assert said.code == 3
    assert "cut.mkv: wcag2.2 could not be decided\n" in said.out
    assert "only a part could be analysed" in said.err
    (clip,) = json.loads(Path("cut.json").read_text())["clips"]
    assert clip["passed"] is None
    assert 0 < clip["frames"] < 45
    assert ElementTree.parse("cut.xml").getroot().attrib["errors"] == "1"


def test_what_cannot_be_read_does_not_stop_the_others(type_: Type, mild: str, tmp_path: Path) -> None:
    (tmp_path / "empty.mkv").touch()
    said = type_(f"flash check empty.mkv {mild} --json a.json")
    assert said.code == 2
    assert [line for line in said.err.splitlines() if line.startswith("error: ")] == [
        "error: path empty.mkv is empty (0 bytes): it was not written; export or copy it again."
    ]
    assert f"{mild}: meets wcag2.2" in said.out
    assert "2 clips: 1 meets, 1 could not be decided" in said.out
    empty, read = json.loads(Path("a.json").read_text())["clips"]
    assert (empty["passed"], "0 bytes" in empty["error"]) == (None, True)
    assert read["passed"] is True


def test_the_picture_shows_the_frame_of_the_incident(harm: str, tmp_path: Path) -> None:
    levels = strobe()
    frames = frames_at(tmp_path / harm, [0.0, 0.1, 0.25, 1.9, 99.0])
    assert [moment for moment, _ in frames] == [0.0, 0.1, 0.25, 1.9, 99.0]
    for (moment, pixels), number in zip(frames, (0, 3, 8, 57, 59), strict=True):
        assert pixels.shape[2] == 3
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(64 / 48, rel=0.01)
        assert abs(pixels.astype(int) - int(levels[number])).max() <= 3, moment
    assert frames_at(tmp_path / harm, []) == []


# -------------------------------------------------------------------------------------------- which clips are meant


def names(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def test_folders_files_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names(
        tmp_path, "b/2.mp4", "b/1.MKV", "b/c/3.gif", "b/.hidden.mp4", "b/text.txt", "a.xyz", "odd[1].mp4", "b/odd1.mp4"
    )
    assert clips(["b"]) == ["b/1.MKV", "b/2.mp4", "b/c/3.gif", "b/odd1.mp4"]
    assert clips(["a.xyz", "b/text.txt"]) == ["a.xyz", "b/text.txt"]  # named outright
    assert clips(["b/*.mp4"]) == ["b/2.mp4", "b/odd1.mp4"]
    assert clips(["**/*.gif"]) == ["b/c/3.gif"]
    assert clips(["b/?"]) == ["b/c/3.gif"]  # a folder that matches
    assert clips(["odd[1].mp4"]) == ["odd[1].mp4"]  # its own name goes before the pattern
    assert clips(["b/2.mp4", "b", "./b/2.mp4"]) == ["b/2.mp4", "b/1.MKV", "b/c/3.gif", "b/odd1.mp4"]
    for word in ("absent.mp4", "*.mpeg"):
        with pytest.raises(InputError, match=r"does not exist|matches no file"):
            clips([word])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no video"):
        clips(["none"])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("flash check absent.mp4", "absent.mp4 does not exist"),
        ("flash check 'absent/*.mp4'", "matches no file"),
        ("flash check a.mkv --standard wcag", "Did you mean wcag2.2?"),
        ("flash check a.mkv --standard ,", "names none"),
        ("flash check a.mkv --json a.mkv", "exist"),  # bare --json, and a clip that is there twice
        ("flash check a.mkv --json=a.mkv", "ends in .json"),
        ("flash check a.mkv --junit a.mkv", "ends in .xml"),
        ("flash check a.mkv b.mkv --csv all.csv", "one file for 2 clips; name a folder"),
        ("flash check a.mkv b.mkv --picture a.mkv", "name a folder"),
        ("flash check a.png --picture a.png", "would be lost"),
        ("flash fix absent.mp4 b.mp4", "absent.mp4 is not a file"),
        ("flash fix a.mkv a.mkv", "would be lost"),
        ("flash fix a.mkv b.mkv --crf 20 --lossless", "contradict"),
        ("flash fix a.mkv b.mkv --standard ofcon", "Did you mean ofcom?"),
        ("flash standards --standard nabj", "Did you mean nab-j?"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_two(
    type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, hint: str
) -> None:
    names(tmp_path, "a.mkv", "b.mkv", "a.png")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    if hint == "exist":
        monkeypatch.setattr(
            flash, "analyse", lambda *_, **__: (_ for _ in ()).throw(InputError("nothing exists in it"))
        )
    said = type_(line)
    assert said.code == 2
    errors = [text for text in said.err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert hint in errors[0]
    assert "Traceback" not in said.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


# ----------------------------------------------------------------------------------------- verdicts made in advance


Given = Callable[..., None]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Given:
    """Clips whose analysis is decided here."""

    def put(**found: Analysis) -> None:
        for name in found:
            (tmp_path / f"{name}.mp4").write_bytes(name.encode())

        def analyse(path: str, standard: Any, *, progress: Any = None) -> Analysis:
            progress(0.5, "looking")
            return replace(found[Path(path).stem], source=path)

        monkeypatch.setattr(flash, "analyse", analyse, raising=False)

    return put


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (("meets",), 0),
        (("fails",), 1),
        (("part",), 3),
        (("meets", "part"), 3),
        (("meets", "part", "fails"), 1),
        (("part_that_fails",), 1),
        (("meets", "advised"), 0),
    ],
)
def test_the_exit_code_is_that_of_the_worst(type_: Type, given: Given, kinds: tuple[str, ...], code: int) -> None:
    every = {
        "meets": analysis(incidents=()),
        "fails": analysis(),
        "part": analysis(incidents=(), partial="it ends early"),
        "part_that_fails": analysis(partial="it ends early"),
        "advised": advised(),
    }
    given(**{kind: every[kind] for kind in kinds})
    assert type_(f"flash check {' '.join(f'{kind}.mp4' for kind in kinds)}").code == code


def advised() -> Analysis:
    found = analysis(("ofcom",))
    said = replace(found.verdicts["ofcom"], passed=True, violations=())
    kept = replace(found, passed=True, violations=(), verdicts={"wcag2.2": replace(said, standard="wcag2.2")})
    return replace(
        kept, standards=("wcag2.2",), advisories=tuple(replace(a, standard="wcag2.2") for a in kept.advisories)
    )


def test_advice_is_told_and_decides_nothing(type_: Type, given: Given) -> None:
    given(a=advised())
    said = type_("flash check a.mp4")
    assert said.code == 0
    assert "extended flash (advisory)" in said.out
    assert "a.mp4: meets wcag2.2\n" in said.out


def test_of_many_incidents_the_worst_are_listed(type_: Type, given: Given) -> None:
    given(a=analysis(incidents=[(float(n), n + 0.5) for n in range(20)], frames=600))
    said = type_("flash check a.mp4")
    starts = [line.split()[2] for line in said.out.splitlines() if line.strip().startswith("general flash")]
    assert starts == [f"{n}.00–{n}.50" for n in range(14, 20)]  # each goes farther than the one before
    assert "… and 14 more" in said.out


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_tables_fit_the_terminal(type_: Type, given: Given, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given(a=analysis(SIX, [(3700.0, 3723.25), (5, 6)]))
    for line in ("flash check a.mp4 -s all", "flash standards", "flash standards -s itu-r-bt.1702"):
        type_(line)
        monkeypatch.setenv("COLUMNS", str(columns))
        said = type_(line)
        sentences = ("a.mp4: ", "itu-r-bt.1702: ", "Every number")
        assert all(len(text.rstrip()) <= columns for text in said.out.splitlines() if not text.startswith(sentences))
        assert "1:01:40.00–1:02:03.25" in said.out or "check" not in line


def test_files_of_an_interrupted_check_are_whole_or_absent(
    type_: Type, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(a=analysis())
    Path("a.json").write_text("what was there")
    whole = flash.analyse

    def stopped(*args: Any, **kwargs: Any) -> Analysis:
        if "b.mp4" in str(args[0]):
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    monkeypatch.setattr(flash, "analyse", stopped)
    Path("b.mp4").touch()
    said = type_("flash check a.mp4 b.mp4 --json a.json --csv csv")
    assert said.code == 130
    assert Path("a.json").read_text() == "what was there"
    assert os.listdir("csv") == ["a.mp4.csv"]


# -------------------------------------------------------------------------------------------------------------- fix


@dataclass(frozen=True)
class Mitigation:
    before: Analysis
    after: Analysis
    psnr: float = 38.25
    ssim: float = 0.9931
    changed: int = 12
    copied: bool = False


@pytest.fixture
def mitigated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Mitigation], list[dict[str, Any]]]:
    """What `mitigate` answers is decided here; what it is asked for comes back."""

    def put(answer: Mitigation) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []
        (tmp_path / "in.mp4").touch()

        def mitigate(source: str, target: str, **options: Any) -> Mitigation:
            options.pop("progress")(0.5, "writing")
            asked.append({"source": source, "target": target, **options})
            return answer

        monkeypatch.setattr(flash, "mitigate", mitigate, raising=False)
        return asked

    return put


MET, PART = analysis(incidents=()), analysis(incidents=(), partial="it ends early")


@pytest.mark.parametrize(("after", "code"), [(MET, 0), (analysis(), 1), (PART, 3)])
def test_fix_ends_as_the_file_written_does(type_: Type, mitigated: Any, after: Analysis, code: int) -> None:
    asked = mitigated(Mitigation(analysis(), after))
    said = type_("flash fix in.mp4 out.mp4")
    assert said.code == code
    wcag = (STANDARDS["wcag2.2"],)
    assert asked == [
        {"source": "in.mp4", "target": "out.mp4", "standard": wcag, "causal": False, "crf": 18, "lossless": False}
    ]
    assert "12 of 240 frames changed, PSNR 38.2 dB, SSIM 0.9931" in said.out
    assert "does not meet, 1 incident" in said.out
    assert DISCLAIMER in said.out


def test_fix_passes_its_options_on(type_: Type, mitigated: Any) -> None:
    asked = mitigated(Mitigation(analysis(), MET))
    assert type_("flash fix in.mp4 out.mkv --causal --lossless -s ofcom -s nab-j,ofcom").code == 0
    assert type_("flash fix in.mp4 out.mkv --crf 28").code == 0
    assert asked[0]["causal"] is asked[0]["lossless"] is True
    assert [one.name for one in asked[0]["standard"]] == ["ofcom", "nab-j"]
    assert (asked[1]["crf"], asked[1]["causal"]) == (28, False)


def test_a_copy_is_said_to_be_one(type_: Type, mitigated: Any) -> None:
    mitigated(Mitigation(MET, MET, float("inf"), 1.0, 0, copied=True))
    said = type_("flash fix in.mp4 out.mp4 --quiet")
    assert said.out == "out.mp4: meets wcag2.2; copied bit for bit\n"


# -------------------------------------------------------------------------------------------------------- standards


def test_standards_are_listed_and_read_out(type_: Type) -> None:
    said = type_("flash standards")
    assert said.code == 0
    assert all(one.name in said.out for one in STANDARDS.values())
    one = type_("flash standards --standard trace24").out
    assert "416 CSS pixels" in one
    assert "TRACE24: more than six luminance" in one
    assert "25 % or more" in one
    assert json.loads(type_("flash standards --json").out).keys() == STANDARDS.keys()
    assert list(json.loads(type_("flash standards -s ofcom --json").out)) == ["ofcom"]


def test_no_command_says_safe_or_certified(type_: Type, given: Given, mitigated: Any) -> None:
    given(a=analysis(SIX), b=analysis(SIX, incidents=()))
    mitigated(Mitigation(analysis(), MET))
    lines = ["check a.mp4 b.mp4 -s all --json -", "fix in.mp4 out.mp4", "standards", "standards -s all", "--help"]
    lines += ["check --help", "fix --help", "standards --help"]
    for line in lines:
        said = type_(f"flash {line}")
        assert not [word for word in ("safe", "certif") if word in (said.out + said.err).lower()], line


def test_help_needs_neither_torch_nor_a_decoder() -> None:
    code = """
import sys
from sparring.cli import main
for words in (["flash"], *(["flash", *line, "--help"] for line in ([], ["check"], ["fix"], ["standards"]))):
    sys.argv = ["sparring", *words]
    try:
        main()
    except SystemExit as stop:
        assert stop.code in (0, None) or words == ["flash"], (words, stop.code)
assert not {"torch", "av", "scipy", "numpy"} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
