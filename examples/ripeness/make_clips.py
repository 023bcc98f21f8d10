"""Render the three clips that the demo plays: `python -m examples.ripeness.make_clips`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Final

import cv2

from examples.ripeness.inference import HERE
from examples.ripeness.scenes import Motion, SceneParams, play


@dataclass(frozen=True)
class Clip:
    """One camera of the demo."""

    name: str
    seed: int
    params: SceneParams
    motion: Motion


# A touch of blur, calm air and little noise keep each file near a megabyte: OpenCV's writer offers no bitrate.
CLIPS: Final = (
    Clip(
        name="north",
        seed=11,
        params=SceneParams(
            season=0.22,
            time_of_day=0.3,
            warmth=-0.2,
            occlusion=0.25,
            leaf_density=0.5,
            fruit_count=11,
            zoom=1.15,
            blur=1.9,
            noise=0.003,
        ),
        motion=Motion(wind=0.22, sway=0.004, ripening=0.12, light_swing=0.05, passer=True),
    ),
    Clip(
        name="south",
        seed=25,
        params=SceneParams(
            season=0.88,
            time_of_day=0.72,
            warmth=0.35,
            brightness=1.08,
            occlusion=0.25,
            leaf_density=0.45,
            fruit_count=13,
            zoom=1.2,
            blur=2.1,
            noise=0.003,
        ),
        motion=Motion(wind=0.15, sway=0.003, ripening=0.08, light_swing=0.03, insect=True),
    ),
    Clip(
        name="roof",
        seed=34,
        params=SceneParams(
            season=0.55,
            time_of_day=0.12,
            brightness=0.6,
            warmth=-0.5,
            fog=0.12,
            occlusion=0.3,
            leaf_density=0.6,
            fruit_count=10,
            zoom=1.05,
            blur=1.9,
            noise=0.006,
        ),
        motion=Motion(wind=0.22, sway=0.005, ripening=0.0, light_swing=0.12, away=((0.3, 0.5), (0.72, 0.86))),
    ),
)


def write(clip: Clip) -> None:
    """Render one clip into an MP4 beside this file."""
    path = HERE / f"{clip.name}.mp4"
    size = (clip.params.width, clip.params.height)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), clip.motion.fps, size)
    for scene in play(clip.params, clip.seed, clip.motion):
        writer.write(scene.image)
    writer.release()
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


def main() -> None:
    """Render the clips named on the command line, or all."""
    arguments = argparse.ArgumentParser(description="Render the demo's clips.")
    arguments.add_argument("names", nargs="*", metavar="name", help=", ".join(clip.name for clip in CLIPS))
    wanted = arguments.parse_args().names
    for clip in CLIPS:
        if not wanted or clip.name in wanted:
            write(clip)


if __name__ == "__main__":
    main()
