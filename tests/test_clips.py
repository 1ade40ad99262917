"""Clips: what they are read from and written to, and a run on one."""

import shutil
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src import motion
from src.core import video
from src.core.errors import InputError
from src.core.images import load_png, save_png
from src.inputs import load_scene
from src.inputs.clips import find_clip
from src.metrics.evaluation import DepthEvaluator, measure_run_folder
from src.metrics.run_pictures import ground_truth_depth
from src.pipeline import clip as clips
from src.pipeline.config import resolve
from src.runs.clip import write_clip
from src.runs.reader import Run
from tests.running import TINY_DEPTH, compose, run, summary

SHIFT = 2  # px to the left per frame
OPTIONS = ("size=48", "clip.steps=2", "steps=3")
RUN = ("+experiment=naive", *OPTIONS)


def scenery(seed: int = 0) -> Tensor:
    noise = torch.rand(1, 3, 6, 16, generator=torch.Generator().manual_seed(seed))
    wide = torch.nn.functional.interpolate(noise, (36, 96), mode="bicubic")
    return (0.2 + 0.6 * wide).clamp(0, 1)


def write_frames(folder: Path, count: int = 4, seed: int = 0, first: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        left = SHIFT * number
        window = scenery(seed)[..., left : left + 48]
        save_png(window, folder / f"frame_{first + number}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "frames")


def pixels(count: int = 6, height: int = 36, width: int = 48) -> list[np.ndarray]:
    moving = (scenery()[0, :, :height].permute(1, 2, 0) * 255).byte().numpy()
    return [moving[:, SHIFT * k : SHIFT * k + width] for k in range(count)]


@pytest.fixture
def mp4(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    video.write(pixels(), path, "mp4", Fraction(30))
    return path


def test_a_video_comes_back(mp4: Path) -> None:
    assert video.info(mp4, "content") == (6, 30)
    for got, written in zip(video.frames(mp4, "content"), pixels(), strict=True):
        assert np.abs(got.astype(float) - written).mean() < 6
        assert np.abs(got.mean((0, 1)) - written.mean((0, 1))).max() < 2


def test_of_an_odd_size_the_last_row_and_column_are_left_out(tmp_path: Path) -> None:
    video.write(pixels(2, 35, 47), tmp_path / "odd.mp4", "mp4", Fraction(25))
    assert next(video.frames(tmp_path / "odd.mp4", "content")).shape == (34, 46, 3)


def test_webp_has_the_frames_and_their_time(tmp_path: Path) -> None:
    path = tmp_path / "clip.webp"
    video.write(pixels(), path, "webp", Fraction(20))
    with Image.open(path) as animation:
        assert animation.n_frames == 6
        assert animation.info["loop"] == 0
        animation.seek(1)
        animation.load()
        assert animation.info["duration"] == 50
        got = np.asarray(animation.convert("RGB")).astype(float)
    assert np.abs(got - pixels()[1]).mean() < 6


def test_frames_in_any_order_are_those_in_turn(mp4: Path) -> None:
    in_turn = list(video.frames(mp4, "content"))
    for index in (3, 4, 1, 5, 0):
        assert np.array_equal(video.frame(mp4, index, "content"), in_turn[index])
    with pytest.raises(InputError, match="content_index: got 6 of a video of 6 frames"):
        video.frame(mp4, 6, "content")


def test_a_phones_video_is_upright(mp4: Path) -> None:
    """With the matrix of a phone held upright in its track: a quarter clockwise."""
    data = bytearray(mp4.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12: the matrix of a header of version 0
    quarter = (0, 1, 0, -1, 0, 0, 0, 0, 16384)
    data[at : at + 36] = b"".join((65536 * x).to_bytes(4, "big", signed=True) for x in quarter)
    turned = mp4.with_name("turned.mp4")
    turned.write_bytes(data)
    upright, lying = (next(video.frames(path, "content")) for path in (turned, mp4))
    assert np.array_equal(upright, np.rot90(lying, -1))
    scene = load_scene(turned, index=2, size=24, need_depth=False)
    assert scene.image.shape == (1, 3, 24, 18)


@pytest.mark.parametrize("content", [b"", b"no video", bytes(2000)])
def test_what_is_no_video_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^content: got '.*clip.mp4', .*; expected a clip"):
        find_clip(str(path), None)


def test_a_playlist_is_no_video(tmp_path: Path, mp4: Path) -> None:
    """FFmpeg would open the files that it names."""
    path = tmp_path / "list.mp4"
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", str(mp4), "#EXT-X-ENDLIST", ""]
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"^content: got '.*list.mp4', which cannot be read"):
        find_clip(str(path), None)


def test_a_video_that_says_it_has_more_frames_ends_where_it_does(
    mp4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(video, "info", lambda *_: video.VideoInfo(9, Fraction(30)))
    whole = run(tmp_path / "run", *RUN, "clip.steps=1", f"content={mp4}")
    assert summary(whole)["status"] == "done"
    assert summary(whole)["frames"]["of"] == 6
    assert "ends after 6 of the 9 frames" in caplog.text


def test_half_a_video_is_one_line(mp4: Path) -> None:
    mp4.write_bytes(mp4.read_bytes()[:-600])
    with pytest.raises(InputError, match=r"^content: got"):
        find_clip(str(mp4), None)


def test_without_the_library_it_says_how_to_get_it(
    mp4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"PyAV is not installed; expected `make setup`, or `pip"):
        find_clip(str(mp4), None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"OpenCV is not installed; expected `make setup`, or"):
        motion.check_library("content")


def test_a_folders_frames_are_in_natural_order(tmp_path: Path) -> None:
    found = find_clip(str(write_frames(tmp_path / "f", 11)), None)
    assert found is not None
    assert [frame.path.name for frame in found.frames] == [f"frame_{k}.png" for k in range(11)]
    assert found.rate == 25
    assert {frame.depth_path for frame in found.frames} == {None}


def add_depth(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        ramp = np.tile(np.linspace(1000, 4000, 48), (36, 1)).astype(np.uint16)
        Image.fromarray(ramp).save(folder / name)
    return folder


def test_depth_files_beside_the_frames(folder: Path) -> None:
    add_depth(folder, [f"frame_{k}_depth.png" for k in range(4)])
    found = find_clip(str(folder), None)
    assert found is not None
    assert [str(x.depth_path) for x in found.frames] == [
        str(folder / f"frame_{k}_depth.png") for k in range(4)
    ]


def test_an_estimate_leaves_the_files_beside_the_frames(folder: Path) -> None:
    add_depth(folder, [f"frame_{k}_depth.png" for k in range(4)])
    found = find_clip(str(folder), None, "estimate")
    assert found is not None
    assert len(found.frames) == 4
    assert {x.depth_path for x in found.frames} == {None}


def test_depth_of_some_frames_is_left_out_with_a_word(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_depth(folder, ["frame_1_depth.png"])
    found = find_clip(str(folder), None)
    assert found is not None
    assert {x.depth_path for x in found.frames} == {None}
    assert "not every frame has its depth file" in caplog.text


def test_a_folder_of_depth_by_name_or_in_order(folder: Path, mp4: Path, tmp_path: Path) -> None:
    named = add_depth(tmp_path / "named", [f"frame_{k}.png" for k in (3, 1, 0, 2, 7)])
    found = find_clip(str(folder), str(named))
    assert found is not None
    assert [x.depth_path and x.depth_path.name for x in found.frames] == [
        f"frame_{k}.png" for k in range(4)
    ]
    ordered = add_depth(tmp_path / "ordered", [f"{k}.png" for k in range(8, 14)])
    of_video = find_clip(str(mp4), str(ordered))
    assert of_video is not None
    assert [x.depth_path and x.depth_path.stem for x in of_video.frames] == [
        "8", "9", "10", "11", "12", "13",
    ]  # fmt: skip
    with pytest.raises(InputError, match="with 6 depth files for 4 frames; expected one per"):
        find_clip(str(folder), str(ordered))
    with pytest.raises(
        InputError, match=r"depth.path: got .* for a clip of 4 frames; expected a f"
    ):
        find_clip(str(folder), str(folder / "frame_0.png"))


def test_unrelated_photos_are_no_clip(folder: Path) -> None:
    save_png(torch.rand(1, 3, 40, 40), folder / "other.png")
    with pytest.raises(InputError, match=r"of 40 x 40, 48 x 36 pixels; .* -m \+sweep=folder"):
        find_clip(str(folder), None)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without pictures; expected a folder of frames"):
        find_clip(str(tmp_path), None)


@pytest.mark.parametrize("content", ["motorcycle", "missing.mp4", "nyu:0000"])
def test_other_contents_are_no_clips(content: str) -> None:
    assert find_clip(content, None) is None


def test_a_picture_says_that_settings_of_clips_do_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert clips.open_clip(resolve(compose("+experiment=naive"))) is None
    assert caplog.text == ""
    clips.open_clip(resolve(compose("+experiment=naive", "clip.count=3")))
    assert "clip: not used, for content=motorcycle is one picture" in caplog.text


def test_of_transparent_frames_the_clip_is_white_there(tmp_path: Path) -> None:
    alpha = torch.zeros(1, 1, 36, 48)
    save_png(scenery()[..., :48], tmp_path / "0.png", alpha)
    path = write_clip([tmp_path / "0.png"], tmp_path, Fraction(25), "mp4")
    assert path == tmp_path / "pastiche.mp4"
    assert next(video.frames(path, "content")).min() > 250


def result(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "frames").glob("*.png"))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a clip of four frames."""
    folder = tmp_path_factory.mktemp("clip")
    content = write_frames(folder / "frames")
    return run(folder / "run", *RUN, f"content={content}")


def test_a_run_leaves_the_clip_its_frames_and_numbers(finished: Path) -> None:
    found = Run(finished)
    assert found.status == "done"
    assert len(list(video.frames(finished / "pastiche.mp4", "content"))) == 4
    assert video.info(finished / "pastiche.mp4", "content").rate == 25
    assert [path.name for path in sorted((finished / "frames").glob("*.png"))] == [
        f"{k:06d}.png" for k in range(4)
    ]
    assert found.frames["frame"] == [1, 2, 3]
    assert found.terms["step"] == [0, 3]
    frames = summary(finished)["frames"]
    assert (frames["done"], frames["of"]) == (4, 4)
    assert frames["warped_difference"] == pytest.approx(sum(found.frames["warped_difference"]) / 3)
    assert 0.5 < frames["visible"] < 1


def test_the_first_frame_is_a_run_of_its_own(finished: Path, tmp_path: Path) -> None:
    content = finished.parent / "frames" / "frame_0.png"
    alone = run(tmp_path / "alone", *RUN, f"content={content}")
    pictures = [load_png(path / "pastiche.png") for path in (alone, finished)]
    assert torch.equal(*pictures)
    assert torch.equal(load_png(finished / "frames" / "000000.png"), pictures[0])


def test_frames_move_as_the_clip_does(tmp_path: Path) -> None:
    content = write_frames(tmp_path / "frames")
    options = ("+experiment=naive", "size=48", "steps=12", "clip.steps=4")
    alone = [
        load_png(
            run(tmp_path / f"{k}", *options, f"content={content}/frame_{k}.png") / "pastiche.png"
        )
        for k in range(4)
    ]
    clip = run(tmp_path / "clip", *options, f"content={content}")
    together = [load_png(clip / "frames" / f"{k:06d}.png") for k in range(4)]
    flow = torch.zeros(1, 2, 36, 48)
    flow[:, 0] = SHIFT
    inside = torch.ones(1, 1, 36, 48)
    inside[..., -SHIFT - 2 :] = 0

    def difference(frames: list[Tensor]) -> float:
        parts = [motion.warped_difference(b, a, flow, inside) for a, b in pairwise(frames)]
        return sum(parts) / len(parts)

    assert difference(together) < 0.4 * difference(alone)


class Stopped:
    """A `build` that is interrupted at its last call, as by Ctrl-C or a kill."""

    def __init__(self, calls: int, error: type[BaseException]) -> None:
        self.calls, self.error, self.build = calls, error, clips.build

    def __call__(self, *args: Any) -> Any:
        self.calls -= 1
        if self.calls < 0:
            raise self.error
        return self.build(*args)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_resumed_run_is_the_same_bit_for_bit(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    content = f"content={finished.parent / 'frames'}"
    monkeypatch.setattr(clips, "build", Stopped(1, error))
    with pytest.raises(error):
        run(tmp_path / "first", *RUN, content)
    stopped = Run(tmp_path / "first")
    if error is KeyboardInterrupt:
        assert stopped.reason == "interrupted after 2 of 4 frames"
        assert len(list(video.frames(stopped.path / "pastiche.mp4", "content"))) == 2
    else:
        assert stopped.status == "unfinished"
    monkeypatch.undo()
    resumed = run(tmp_path / "second", *RUN, content, f"resume={stopped.path}")
    assert result(resumed) == result(finished)
    assert Run(resumed).frames == Run(finished).frames
    assert Run(resumed).terms == Run(finished).terms


def test_a_broken_state_is_what_is_said(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / "frames" / "last.ckpt").write_bytes(b"broken")
    content = f"content={finished.parent / 'frames'}"
    with pytest.raises(InputError, match="which is not a clip's checkpoint"):
        run(tmp_path / "again", *RUN, content, f"resume={folder}")
    assert Run(tmp_path / "again").reason.startswith("resume: got")


def test_a_frame_that_is_a_link_is_not_taken_over(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    secret = tmp_path / "secret.png"
    (folder / "frames" / "000001.png").rename(secret)
    (folder / "frames" / "000001.png").symlink_to(secret)
    secret.write_bytes(b"secret")
    content = f"content={finished.parent / 'frames'}"
    again = run(tmp_path / "again", *RUN, content, f"resume={folder}")
    assert result(again) == result(finished)


def test_a_frame_that_cannot_be_read_costs_no_other(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.parent / "frames", tmp_path / "frames"))
    broken = folder / "frame_2.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"content: got '.*frame_2.png', which cannot be read"):
        run(tmp_path / "run", *RUN, f"content={folder}")
    assert Run(tmp_path / "run").status == "failed"
    assert len(list(video.frames(tmp_path / "run" / "pastiche.mp4", "content"))) == 2


def test_of_another_first_frame_no_frame_is_taken_over(finished: Path, tmp_path: Path) -> None:
    content = f"content={finished.parent / 'frames'}"
    more = run(tmp_path / "more", *RUN, content, f"resume={finished}", "steps=4")
    assert not set(result(more)) & set(result(finished))
    assert Run(more).frames["frame"] == [1, 2, 3]


def test_a_broken_or_another_clips_state_is_one_line(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    assert clips.State.read(path, 3, torch.Size((1, 3, 36, 48))) is None
    path.write_bytes((finished / "frames" / "last.ckpt").read_bytes())
    with pytest.raises(InputError, match="resume: got frames of 48 x 36 pixels; expected 9 x 9"):
        clips.State.read(path, 3, torch.Size((1, 3, 9, 9)))
    path.write_bytes(b"broken")
    with pytest.raises(InputError, match="which is not a clip's checkpoint; expected one that"):
        clips.State.read(path, 3, torch.Size((1, 3, 36, 48)))


def test_a_cut_starts_anew(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", 2)
    write_frames(folder, 2, seed=1, first=2)
    cut = Run(run(tmp_path / "run", *RUN, "clip.steps=1", f"content={folder}"))
    assert [value > 0 for value in cut.frames["temporal"]] == [True, False, True]
    assert cut.frames["visible"][1] < 0.25
    alone = run(tmp_path / "alone", *RUN, f"content={folder}/frame_2.png")
    third = load_png(cut.path / "frames" / "000002.png")
    assert torch.equal(third, load_png(alone / "pastiche.png"))
    after = torch.load(cut.path / "frames" / "last.ckpt", weights_only=True)
    assert after["shot"] == 2


def test_resumed_after_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_frames(tmp_path / "frames", 1)
    write_frames(folder, 3, seed=1, first=1)
    options = (*RUN, "+mask@styles.main.mask=sigmoid", "colors=match", f"content={folder}")
    options += ("refine_masks=false", "clip.steps=1", "steps=2", *TINY_DEPTH)
    whole = run(tmp_path / "whole", *options)
    monkeypatch.setattr(clips, "build", Stopped(2, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "first", *options)
    monkeypatch.undo()
    resumed = run(tmp_path / "second", *options, f"resume={tmp_path / 'first'}")
    assert result(resumed) == result(whole)


def test_measured_depth_steers_every_frame(folder: Path, tmp_path: Path) -> None:
    add_depth(folder, [f"frame_{k}_depth.png" for k in range(4)])
    masked = run(
        tmp_path / "run", *OPTIONS, "+experiment=masked_style", "mask=step", "mask.threshold=0.5",
        f"content={folder}", "depth.scale=1000", "clip.count=2",
    )  # fmt: skip
    near = load_png(masked / "frames" / "000001.png")[..., :20]
    photo = load_png(folder / "frame_1.png")[..., :20]
    far = load_png(masked / "frames" / "000001.png")[..., 28:]
    assert (near - photo).abs().mean() < 0.2 * (
        far - load_png(folder / "frame_1.png")[..., 28:]
    ).abs().mean()


def test_count_rate_and_format(finished: Path, tmp_path: Path) -> None:
    content = f"content={finished.parent / 'frames'}"
    short = run(
        tmp_path / "run", *RUN, content, "clip.count=2", "clip.rate=12.5", "clip.format=webp"
    )
    with Image.open(short / "pastiche.webp") as animation:
        assert animation.n_frames == 2
        animation.load()
        assert animation.info["duration"] == 80


def test_one_frame_of_a_video_is_a_picture(mp4: Path, tmp_path: Path) -> None:
    still = run(tmp_path / "run", *RUN, f"content={mp4}", "content_index=3")
    assert not (still / "frames").exists()
    content = (load_png(still / "inputs" / "content.png")[0].permute(1, 2, 0) * 255).numpy()
    np.testing.assert_allclose(content, video.frame(mp4, 3, "content"), atol=1)


def test_evaluate_measures_the_first_frame_and_the_calm(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    values = measure_run_folder(folder, DepthEvaluator())
    assert values["warped_difference"] == pytest.approx(
        sum(Run(finished).frames["warped_difference"]) / 3
    )
    assert values["style_gram"] > 0


def test_the_first_frames_depth_is_the_measured_one(folder: Path) -> None:
    add_depth(folder, [f"frame_{k}_depth.png" for k in range(4)])
    depth = {"source": "auto", "path": None, "kind": "depth", "scale": 1000}
    found = ground_truth_depth({"content": str(folder), "depth": depth, "size": 48})
    assert found is not None
    assert found.unit == "m"


def test_a_search_cannot_minimise_what_only_later_frames_have() -> None:
    with pytest.raises(InputError, match="optimized_metric: got 'temporal', a term that this run"):
        resolve(compose("+experiment=naive", "optimized_metric=[temporal]"))
