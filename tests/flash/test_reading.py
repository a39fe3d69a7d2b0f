"""Clips written by PyAV come back: pixels, times, colour, shape; and whatever is wrong with a file is said."""

from __future__ import annotations

import sys
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from sparring.errors import InputError, MissingExtra
from sparring.flash.reading import from_arrays, open_clip, opened, picture_of
from sparring.flash.reading.clock import Clock, TimeFault, frame_rate
from sparring.flash.reading.colour import Colour
from sparring.flash.reading.pictures import Turn, of_frame, pixel_format

av = pytest.importorskip("av")
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")
CODES = [(255, 255, 255), (0, 0, 0), (200, 30, 40), (20, 180, 60), (40, 50, 220), (128, 128, 128)]


def noise(count, height=32, width=48):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def write(
    path, frames, codec="ffv1", pixels="bgr0", rate=25, stamps=None, tick=None, options=None, before=None, tags=()
):
    """A video file of rgb24 frames, or of `pixels` if uint16; `stamps` in ticks, `before(stream)` sets the rest."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if tick is not None:
            stream.codec_context.time_base = tick
        for name, value in dict(tags).items():
            setattr(stream.codec_context, name, value)
        if before is not None:
            before(stream)
        for number, pixel in enumerate(frames):
            kind = pixels if pixel.dtype == np.uint16 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixel, kind).reformat(format=pixels)
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = tick or 1 / Fraction(rate)
            for name, value in dict(tags).items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def codes_of(picture):
    """The codes of every point as shown, (H, W) each: nearest chroma, as a sampler reads them."""
    rows, columns = np.indices((picture.size[1], picture.size[0]))
    shifts = [(0, 0), *([picture.shift] * (len(picture.planes) - 1))]
    return [
        plane.flat[plane.index(rows >> shift[1], columns >> shift[0])]
        for plane, shift in zip(picture.planes, shifts, strict=True)
    ]


def shown(picture):
    """(H, W, channels) codes."""
    return np.stack(codes_of(picture), -1)


def read(path):
    clip = open_clip(path)
    return clip, list(clip.pictures())


# Pixels


@pytest.mark.parametrize("pixels", ["bgr0", "bgra", "gbrp10le"])
def test_lossless_rgb_comes_back_exactly(tmp_path, pixels):
    deep = pixels == "gbrp10le"
    frames = np.random.default_rng(5).integers(0, 1024, (4, 32, 48, 3), dtype=np.uint16) if deep else noise(4)
    clip, pictures = read(write(tmp_path / "a.mkv", frames, pixels=pixels))
    assert (clip.size, clip.problem, clip.notes) == ((48, 32), None, ())
    assert np.array_equal(np.stack([shown(picture) for picture in pictures]), frames)
    assert clip.colour == pictures[0].colour == Colour(bits=10 if deep else 8)


def test_planes_are_views_of_the_decoders_buffers(tmp_path):
    path = write(tmp_path / "a.mp4", noise(3), "libx264", "yuv420p")
    _, pictures = read(path)
    for plane in pictures[0].planes:
        assert plane.flat.base is not None
        assert not plane.flat.flags.owndata
    assert pictures[0].shift == (1, 1)
    assert len({picture.layout for picture in pictures}) == 1


def formats():
    from av.video.format import names

    source = av.VideoFrame(16, 16, "rgb24")
    for name in sorted(names):
        if "bayer" not in name and name != "pal8":  # libswscale writes neither
            try:
                source.reformat(format=name).to_ndarray(format="rgb24")
            except (ValueError, av.FFmpegError):
                continue
            yield name


def test_every_pixel_format_that_ffmpeg_converts():
    """Against FFmpeg's own conversion to RGB, which rounds by up to three codes on its way."""
    pixels = np.repeat(np.array(CODES, np.uint8), 16, axis=0)[None].repeat(32, 0)
    source = av.VideoFrame.from_ndarray(pixels, "rgb24")
    rows, columns = np.full(6, 16), 8 + 16 * np.arange(6)
    known = set()
    for name in formats():
        frame = source.reformat(format=name)
        want = frame.to_ndarray(format="rgb24")[rows, columns].astype(float)
        picture, transparent = of_frame(frame, 0.0)
        light = picture.colour.light([part[rows, columns] for part in codes_of(picture)])
        got = np.stack(Colour().codes(*light), -1)
        assert np.abs(got - want).max() <= 3.0, name
        assert not transparent, name
        known.add(name)
    assert len(known) > 150
    direct = {name for name in known if not pixel_format(name).convert}
    assert direct >= {
        "yuv420p",
        "yuvj420p",
        "yuv422p10le",
        "yuv444p",
        "gray",
        "nv12",
        "rgb24",
        "bgr0",
        "gbrp10le",
        "rgba",
    }


@pytest.mark.parametrize(("name", "full"), [("yuv420p", False), ("yuvj420p", True), ("yuv444p10le", False)])
def test_yuv_codes_and_range_are_taken_as_they_are(name, full):
    bits = 10 if "10" in name else 8
    frame = av.VideoFrame(20, 12, name)
    for plane, code in zip(frame.planes, (100, 90, 160), strict=True):
        code <<= bits - 8
        plane.update(
            (np.full(plane.buffer_size * 8 // (16 if bits > 8 else 8), code, "<u2" if bits > 8 else "u1")).tobytes()
        )
    picture, _ = of_frame(frame, 0.0)
    assert picture.colour.full is full
    assert picture.colour.matrix == "bt601"
    assert (shown(picture) == np.array([100, 90, 160]) << (bits - 8)).all()
    y = (100 - 16) / 219 if not full else 100 / 255
    red = y + 1.402 * 32 / (224 if not full else 255)
    if bits == 10 or full is False:
        want = ((red + 0.055) / 1.055) ** 2.4
        assert np.allclose(picture.colour.light(codes_of(picture))[0], want, atol=3e-3)


def test_odd_sizes_and_a_single_pixel(tmp_path):
    for height, width in ((1, 1), (7, 5), (31, 33)):
        frames = noise(2, height, width)
        _, pictures = read(write(tmp_path / f"{width}.mkv", frames))
        assert np.array_equal(shown(pictures[1]), frames[1])
        clip, pictures = read(write(tmp_path / f"{width}.nut", frames, "rawvideo", "yuv420p"))
        assert clip.size == (width, height)
        assert shown(pictures[0]).shape == (height, width, 3)


def test_colour_tags_are_honoured(tmp_path):
    tags = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
    clip, _ = read(write(tmp_path / "pq.mkv", noise(2), pixels="yuv420p10le", tags=tags))
    assert clip.colour == Colour("yuv", 10, False, "bt2020", "bt2020", "pq")
    assert clip.notes == ()
    clip, _ = read(write(tmp_path / "hlg.mkv", noise(2), pixels="yuv420p10le", tags={**tags, "color_trc": 18}))
    assert clip.colour.transfer == "hlg"
    clip, _ = read(write(tmp_path / "no.mkv", noise(2), pixels="yuv420p"))
    assert any("matrix BT.601 (for 32 lines)" in note for note in clip.notes)


def test_transparent_parts_are_shown_over_white(tmp_path):
    from PIL import Image

    red = [Image.new("RGBA", (16, 20), (255, 0, 0, alpha)) for alpha in (0, 255)]
    red[0].save(tmp_path / "a.gif", save_all=True, append_images=red[1:], duration=100)
    clip, pictures = read(tmp_path / "a.gif")
    assert (shown(pictures[0]) == 255).all()
    assert (shown(pictures[1]) == (255, 0, 0)).all()
    assert "transparent pixels are shown over white" in clip.notes
    half = av.VideoFrame.from_ndarray(np.full((4, 4, 4), (0, 0, 0, 51), np.uint8), "rgba")
    assert (shown(of_frame(half, 0.0)[0]) == 204).all()
    yuva = half.reformat(format="yuva444p")
    assert np.abs(shown(of_frame(yuva, 0.0)[0]).astype(int) - (16 + 219 * 0.8, 128, 128)).max() <= 1.5


# Times


@pytest.mark.parametrize("rate", [24, 25, Fraction(30000, 1001), 30, 50, Fraction(60000, 1001), 60, 120])
@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_times_lie_on_the_frame_grid(tmp_path, rate, container):
    path = write(tmp_path / f"a.{container}", [noise(1)[0]] * 130, "mpeg4", "yuv420p", rate)
    clip, pictures = read(path)
    want = np.arange(130) / float(rate)
    assert np.abs(np.array([picture.seconds for picture in pictures]) - want).max() < 1e-9
    assert clip.rate == pytest.approx(float(rate))
    assert clip.duration == pytest.approx(130 / float(rate), abs=2e-3)


@pytest.mark.parametrize("start", [0, 7, 67, -40])
def test_matroska_rounds_and_the_grid_does_not(start):
    """Whole milliseconds from any start, as muxers write B-frame delays."""
    rate, tick = Fraction(30000, 1001), Fraction(1, 1000)
    stamps = [floor(start + n / rate * 1000 + Fraction(1, 2)) for n in range(400)]
    clock = Clock(tick, frame_rate(stamps[:200], tick, [None, Fraction(30)]))
    assert clock.rate == rate
    times = np.array([clock.at(stamp) for stamp in stamps])
    assert np.abs(times - np.arange(400) / float(rate)).max() < 1e-9


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_variable_frame_rate_is_kept(tmp_path, container):
    stamps = np.cumsum([0, *np.random.default_rng(3).integers(7, 90, 60)]).tolist()
    path = write(tmp_path / f"a.{container}", [noise(1)[0]] * 61, "mpeg4", "yuv420p", 30, stamps, Fraction(1, 1000))
    _, pictures = read(path)
    assert np.allclose([picture.seconds for picture in pictures], np.array(stamps) / 1000, atol=1e-9)


def test_a_grid_with_missing_frames_is_still_a_grid():
    kept = [0, 1, 2, 5, 6, 9, 30, 31]
    stamps = [round(n * 1000 / 30) for n in kept]
    clock = Clock(Fraction(1, 1000), frame_rate(stamps, Fraction(1, 1000), [Fraction(11)]))
    assert [clock.at(stamp) for stamp in stamps] == pytest.approx([n / 30 for n in kept], abs=1e-12)


def test_one_frame_off_the_grid_stays_there():
    """An edge at 0.999 s on a grid of 25 a second is not moved to 1 s."""
    stamps = [*range(0, 999, 40), 999, *range(1040, 2000, 40)]
    tick = Fraction(1, 1000)
    assert frame_rate(stamps, tick, [Fraction(25)]) is None
    late = Clock(tick, Fraction(25))
    assert [late.at(stamp) for stamp in stamps] == pytest.approx([stamp / 1000 for stamp in stamps], abs=1e-12)


@pytest.mark.parametrize("claimed", [1000, 90000])
def test_a_nonsensical_rate_does_no_harm(claimed):
    tick = Fraction(1, 1000)
    stamps = [0, 33, 71, 90, 163, 170, 211]
    rate = frame_rate(stamps, tick, [Fraction(claimed)])
    clock = Clock(tick, rate)
    assert [clock.at(stamp) for stamp in stamps] == pytest.approx([stamp / 1000 for stamp in stamps], abs=1e-12)


def test_missing_and_repeated_timestamps():
    clock = Clock(Fraction(1, 100), Fraction(25))
    assert [clock.at(stamp) for stamp in (4, None, 12, 12, 16, 20)] == pytest.approx([0, 0.04, 0.08, 0.10, 0.12, 0.16])
    assert (clock.missing, clock.shared) == (1, 1)
    alone = Clock(Fraction(1, 100), nominal=Fraction(50))
    assert [alone.at(None) for _ in range(4)] == pytest.approx([0, 0.02, 0.04, 0.06])
    with pytest.raises(TimeFault, match=r"backwards: 0\.160 s is followed by 0\.120 s"):
        clock.at(16)
    still = Clock(Fraction(1, 100))
    with pytest.raises(TimeFault, match="stand still"):
        [still.at(3) for _ in range(20)]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_avi_and_raw_streams_have_no_presentation_times(tmp_path, codec):
    frames = noise(30)
    for name in ("a.avi", "a.h264") if codec == "libx264" else ("a.avi",):
        clip, pictures = read(write(tmp_path / name, frames, codec, "yuv420p", 25))
        assert clip.problem is None
        assert [picture.seconds for picture in pictures] == pytest.approx(np.arange(30) / 25, abs=1e-9)


@pytest.mark.parametrize("rate", [1, 1000])
def test_one_and_a_thousand_frames_a_second(tmp_path, rate):
    _, pictures = read(write(tmp_path / "a.mkv", noise(5), rate=rate))
    assert [picture.seconds for picture in pictures] == pytest.approx(np.arange(5) / rate, abs=1e-9)


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_animations_keep_their_own_delays(tmp_path, kind):
    from PIL import Image

    levels = (0, 255, 0, 130)
    stills = [Image.fromarray(np.full((16, 20, 3), level, np.uint8)) for level in levels]
    path = tmp_path / f"a.{kind}"
    options = {"lossless": True} if kind == "webp" else {}
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=[70, 30, 50, 200], loop=0, **options)
    clip, pictures = read(path)
    assert [picture.seconds for picture in pictures] == pytest.approx([0, 0.07, 0.10, 0.15], abs=1e-9)
    assert [int(shown(picture)[0, 0, 0]) for picture in pictures] == pytest.approx(levels, abs=2)
    assert clip.duration == pytest.approx(0.35)
    assert clip.loops
    assert "loops for ever" in clip.notes
    assert clip.problem is None
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(path.read_bytes()[:-20])
    if kind == "webp":  # Pillow refuses the whole
        with pytest.raises(InputError, match="cannot be read"):
            read(cut)
    else:
        assert read(cut)[0].problem
    once = {} if kind == "gif" else {"loop": 1}
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=100, **once)
    assert not open_clip(path).loops


# Shape


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_pictures_are_read_as_shown(tmp_path, degrees, mirrored):
    """Against NumPy: turned counter-clockwise, then mirrored."""
    frames = noise(2)
    path = tmp_path / "a.mp4"
    write(
        path, frames, "libx264rgb", "rgb24", options={"qp": "0"},
        before=lambda stream: stream.set_display_rotation(degrees, hflip=mirrored),
    )  # fmt: skip
    clip, pictures = read(path)
    want = np.rot90(frames[1], degrees // 90)
    want = want[:, ::-1] if mirrored else want
    assert clip.size == (want.shape[1], want.shape[0]) == pictures[1].size
    assert np.array_equal(shown(pictures[1]), want)
    assert np.array_equal(np.stack([plane.array() for plane in pictures[1].planes], -1), want)
    assert bool(clip.notes) == (degrees != 0 or mirrored)


def test_turned_chroma_follows():
    frame = av.VideoFrame.from_ndarray(noise(1)[0], "rgb24").reformat(format="yuv422p")
    flat, _ = of_frame(frame, 0.0)
    turned = flat.turned(Turn(left_right=True, swap=True))
    assert turned.shift == (0, 1)
    assert np.array_equal(shown(turned), np.rot90(shown(flat)))


def test_sample_aspect_is_said(tmp_path):
    options = {"x264-params": "sar=4/3"}
    clip, pictures = read(write(tmp_path / "a.mp4", noise(2), "libx264", "yuv420p", options=options))
    assert clip.size == (48, 32)
    assert clip.sample_aspect == Fraction(4, 3)
    assert pictures[0].aspect == pytest.approx(4 / 3)
    assert any("1.333 times" in note for note in clip.notes)


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_interlaced_frames_are_two_fields(tmp_path, order):
    rows = np.arange(32)[:, None, None] % 2
    frames = [np.broadcast_to(np.where(rows == 0, 60, 200), (32, 48, 3)).astype(np.uint8)] * 6
    path = write(tmp_path / "a.mkv", frames, "libx264", "yuv422p", 25, options={"x264-params": f"{order}=1", "qp": "0"})
    clip, pictures = read(path)
    assert len(pictures) == 12
    assert [picture.seconds for picture in pictures] == pytest.approx(np.arange(12) / 50, abs=1e-9)
    assert clip.rate == pytest.approx(50)
    assert clip.size == (48, 32)
    assert pictures[0].size == (48, 16)
    assert pictures[0].aspect == pytest.approx(0.5)
    levels = [np.unique(codes_of(picture)[0]) for picture in pictures[:2]]
    assert all(len(level) == 1 for level in levels)
    assert (levels[0] < levels[1]) == (order == "tff")
    assert any(f"{'top' if order == 'tff' else 'bottom'} field first" in note for note in clip.notes)


def test_fields_of_subsampled_chroma_and_doubled_fields():
    frame = av.VideoFrame.from_ndarray(noise(1, 16, 8)[0], "rgb24").reformat(format="yuv420p")
    whole, _ = of_frame(frame, 0.0)
    for parity in (0, 1):
        field = whole.field(parity, 1.5)
        assert field.size == (8, 8)
        assert field.seconds == 1.5
        assert np.array_equal(codes_of(field)[0], codes_of(whole)[0][parity::2])
        chroma = whole.planes[1].array()[parity::2]
        assert np.array_equal(codes_of(field)[1], chroma.repeat(2, 0).repeat(2, 1))
        doubled = whole.field(parity, 1.5, doubled=True)
        assert doubled.size == whole.size
        assert np.array_equal(codes_of(doubled)[0], codes_of(field)[0].repeat(2, 0))
        assert np.array_equal(codes_of(doubled)[1], codes_of(field)[1].repeat(2, 0))


# Bad files


def test_what_is_no_video_is_refused(tmp_path):
    for name, content, message in (
        ("empty.mp4", b"", "0 bytes"),
        ("text.mp4", b"these are words, not moving pictures\n" * 40, "cannot be read as a video"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            open_clip(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        open_clip(tmp_path / "missing.mp4")
    with pytest.raises(InputError, match="is a folder"):
        open_clip(tmp_path)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        open_clip(playlist)


@pytest.mark.parametrize("name", ["a.wav", "a.mp4"])
def test_audio_alone_is_refused(tmp_path, name):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("aac" if name.endswith("mp4") else "pcm_s16le", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"has no video, only these streams: audio"):
        open_clip(tmp_path / name)


def test_a_file_without_its_end_is_partial(tmp_path):
    whole = write(tmp_path / "a.mkv", noise(50)).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    clip, pictures = read(cut)
    assert 20 <= len(pictures) < 40
    assert "but says that it lasts 2.000 s" in clip.problem
    for picture, pixels in zip(pictures, noise(50), strict=False):
        assert np.array_equal(shown(picture), pixels)
    assert open_clip(tmp_path / "a.mkv").problem is None


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_a_fault_in_the_middle_ends_the_reading(tmp_path, name, codec):
    data = bytearray(write(tmp_path / name, noise(50, 120, 160), codec, "yuv420p", options={"g": "10"}).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(np.random.default_rng(1).integers(0, 256, 300, dtype=np.uint8))
    (tmp_path / name).write_bytes(data)
    clip, pictures = read(tmp_path / name)
    assert 5 < len(pictures) < 45
    assert f"after frame {len(pictures)} at " in clip.problem


def test_a_recording_that_begins_between_key_frames_is_read_from_the_next(tmp_path):
    options = {"g": "20", "x264-params": "open-gop=1:bframes=3"}
    whole = write(tmp_path / "a.ts", noise(80, 120, 160), "libx264", "yuv420p", options=options).read_bytes()
    frames = [shown(picture) for picture in read(tmp_path / "a.ts")[1]]
    notes = []
    for percent in (29, 33, 37, 41):
        (tmp_path / "b.ts").write_bytes(whole[len(whole) * percent // 100 // 188 * 188 :])
        clip, pictures = read(tmp_path / "b.ts")
        assert clip.problem is None
        assert 38 <= len(pictures) <= 60
        assert np.array_equal([shown(picture) for picture in pictures], frames[-len(pictures) :])
        notes += clip.notes
    assert any("between two key frames" in note for note in notes)


def test_a_file_of_which_nothing_can_be_decoded_is_refused(tmp_path):
    path = write(tmp_path / "a.mp4", noise(3), "libx264", "yuv420p")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.raises(InputError, match="not one frame can be decoded"):
        read(path)


def test_timestamps_that_go_backwards_end_the_reading(tmp_path):
    """NUT keeps the timestamps it is given."""
    path = tmp_path / "a.nut"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
        for number, pixels in enumerate(noise(20)):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="bgr0")
            frame.pts = number
            for packet in stream.encode(frame):
                packet.time_base = Fraction(1, 1000)
                packet.pts = 40 * (number if number < 12 else number - 6)
                packet.dts = number
                container.mux(packet)
    clip, pictures = read(path)
    assert len(pictures) == 12
    assert "backwards: 0.440 s is followed by 0.240 s" in clip.problem


def test_frames_that_change_in_size_end_the_reading(tmp_path):
    path = tmp_path / "a.h264"
    parts = [
        write(tmp_path / f"{height}.h264", noise(12, height), "libx264", "yuv420p").read_bytes() for height in (32, 64)
    ]
    path.write_bytes(b"".join(parts))
    clip, pictures = read(path)
    assert 6 <= len(pictures) <= 12
    assert "frames change from 48 × 32 to 48 × 64" in clip.problem


def test_giants_are_refused(tmp_path):
    with pytest.raises(InputError, match="20000 × 1 pixels is too large"):
        open_clip(write(tmp_path / "a.mkv", np.zeros((1, 1, 20000, 3), np.uint8)))
    with pytest.raises(InputError, match="20000 × 1 pixels is too large"):
        from_arrays(np.zeros((1, 1, 20000), np.uint8), [0.0])


def test_reading_again_gives_the_same(tmp_path):
    with open_clip(write(tmp_path / "a.mkv", noise(4))) as clip:
        first, again = ([shown(picture) for picture in clip.pictures()] for _ in range(2))
        assert np.array_equal(first, again)
        next(clip.pictures())  # left half-way


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"0000")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"sparring\[video\]"):
        open_clip(tmp_path / "a.mp4")


# Arrays


def test_arrays_are_read_without_a_copy():
    frames, seconds = noise(3), np.array([1.0, 1.5, 2.25])
    clip = opened((frames, seconds))
    pictures = list(clip.pictures())
    assert [picture.seconds for picture in pictures] == [1.0, 1.5, 2.25]
    assert all(np.shares_memory(plane.flat, frames) for picture in pictures for plane in picture.planes)
    assert np.array_equal(shown(pictures[2]), frames[2])
    assert np.array_equal(shown(list(clip.pictures())[1]), frames[1])
    assert clip.rate == pytest.approx(2 / 1.25)
    assert clip.size == (48, 32)
    sliced = frames[:, ::2, ::-1]
    assert np.array_equal(shown(next(from_arrays(sliced, seconds).pictures())), sliced[0])


def test_gray_deep_and_lazy_arrays():
    grey = noise(2)[..., 0]
    picture = next(from_arrays(grey, [0.0, 0.1]).pictures())
    assert picture.colour.model == "gray"
    assert np.array_equal(codes_of(picture)[0], grey[0])
    deep = Colour(bits=10, transfer="pq")
    assert next(from_arrays(noise(1).astype(np.uint16) * 4, [0.0], deep).pictures()).colour == deep
    clip = from_arrays((frame for frame in noise(3)), (n / 25 for n in range(3)))
    assert clip.size == (48, 32)
    assert [picture.seconds for picture in clip.pictures()] == [0, 0.04, 0.08]
    with pytest.raises(InputError, match="generator"):
        list(clip.pictures())


@pytest.mark.parametrize(
    ("frames", "seconds", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), [0, 1], "multiply by 255"),
        (np.zeros((2, 4, 4, 3), np.int64), [0, 1], "convert to uint8"),
        (np.zeros((2, 4, 4, 3), np.uint16), [0, 1], "10"),
        (np.zeros((2, 4, 4, 4), np.uint8), [0, 1], r"\(height, width, 3\)"),
        (np.zeros((4, 4), np.uint8), [0, 1, 2, 3], "shape"),
        (np.zeros((0, 4, 4), np.uint8), [], "no frames"),
        (np.zeros((2, 0, 4), np.uint8), [0, 1], "shape"),
        (np.zeros((2, 4, 4), np.uint8), [0], "2 frames but 1 times"),
        (np.zeros((2, 4, 4), np.uint8), [0, np.nan], r"seconds\[1\] is nan"),
        (np.zeros((3, 4, 4), np.uint8), [0, 1, 1], "followed by 1.0 at frame 2"),
        (np.zeros((2, 4, 4), np.uint8), [1, 0], "followed by 0.0 at frame 1"),
        ([np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)], [0, 1], "frame 1 is 5 × 4"),
        ((np.zeros((4, 4), np.uint8) for _ in range(3)), iter([0.0, 1.0]), "differ in number"),
        (iter([]), iter([]), "no frames"),
    ],
)
def test_bad_arrays_are_refused_with_a_remedy(frames, seconds, message):
    with pytest.raises(InputError, match=message):
        list(from_arrays(frames, seconds).pictures())


def test_bad_sources_are_refused(tmp_path):
    with pytest.raises(InputError, match="path of a video"):
        opened(np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(InputError, match="a file says itself"):
        opened(tmp_path / "a.mp4", Colour())
    with pytest.raises(InputError, match="seconds is None"):
        picture_of(np.zeros((4, 4), np.uint8), None)
