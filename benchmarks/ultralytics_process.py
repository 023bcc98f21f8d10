"""Ultralytics' `predict`, as a process that works when it is told to; for an environment that has `ultralytics`.

    python ultralytics_process.py export FOLDER      a YOLO11n of 320 pixels with random weights; prints its path
    python ultralytics_process.py predict MODEL CLIP SIDE
        each line on standard input is a number of seconds; the answer is how many frames a second were done

It is no dependency of Vigie and imports nothing of it.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    """Do what the command line says."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # ultralytics prints
    from ultralytics import YOLO  # noqa: PLC0415  # after standard output is safe

    if sys.argv[1] == "export":
        os.chdir(sys.argv[2])
        answers.write(str(Path(YOLO("yolo11n.yaml").export(format="onnx", imgsz=320)).resolve()) + "\n")
        return
    frames = forever(YOLO(sys.argv[2], task="detect"), sys.argv[3], int(sys.argv[4]))
    next(frames)
    for line in sys.stdin:
        done, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < float(line):
            next(frames)
            done += 1
        answers.write(f"{done / passed}\n")
        answers.flush()


def forever(model: Any, clip: str, side: int) -> Iterator[object]:  # noqa: ANN401  # ultralytics has no types
    """Results of the clip, again and again."""
    while True:
        yield from model.predict(clip, stream=True, imgsz=side, conf=0.25, verbose=False, device="cpu")


if __name__ == "__main__":
    main()
