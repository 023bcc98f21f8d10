"""A Raspberry Pi's camera through picamera2, the system's own library.

picamera2 is made for the Python and the libcamera of Raspberry Pi OS and comes as the package `python3-picamera2`, not
as a wheel that fits. Where this environment does not see the system's packages, they are added behind everything else
and in this process only. picamera2 brings no numpy of its own: it takes the first one, and its compiled parts were
built for the system's. Which one was taken stands in the reason when that goes wrong.
"""

import contextlib
import importlib
import sys
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from agent.sources import Lost, Pixels, Unreadable

SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")

_BGR = "RGB888"
"""What libcamera calls the format whose bytes come as blue, green, red."""
_INSTALL = "sudo apt install python3-picamera2"

Side = Annotated[int, Meta(ge=16, le=16_384)]


class Picamera:
    """Frames from a camera that libcamera knows.

    Args:
        target: Its number, as `rpicam-hello --list-cameras` shows it.
        options: See `Options`.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What the configuration may say.

        Attributes:
            width: In pixels.
            height: In pixels.
            fps: Frames a second that the camera gives; None for what it chooses.
        """

        width: Side = 1280
        height: Side = 720
        fps: Annotated[float, Meta(gt=0, le=1000)] | None = None

    live = True

    def __init__(self, target: str, options: Options) -> None:
        if not target.isdecimal():
            raise ValueError(f"'picamera' must be the number of a camera, 0 for the first, got '{target}'")
        self._number = int(target)
        self._options = options
        self._camera: Any = None
        self._request: Any = None

    def __enter__(self) -> "Picamera":  # noqa: PYI034  # Self needs Python 3.11
        """Start the camera."""
        library = _picamera2()
        present = library.Picamera2.global_camera_info()
        if self._number >= len(present):
            there = ", ".join(f"{index}: {camera.get('Model', '?')}" for index, camera in enumerate(present)) or "none"
            raise Lost(f"there is no camera {self._number}; cameras here: {there}; see `rpicam-hello --list-cameras`")
        try:
            self._camera = library.Picamera2(self._number)
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={"size": (self._options.width, self._options.height), "format": _BGR},
                    controls={} if self._options.fps is None else {"FrameRate": self._options.fps},
                    buffer_count=4,
                    queue=False,  # so that a request waits for the next picture and gives none from before
                )
            )
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            self._close()
            raise Lost(f"camera {self._number} cannot be started, another program may be using it: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the camera and let go of it."""
        self._let_go()
        self._close()

    def grab(self) -> bool:
        """Wait for the next frame. One that never comes is the agent's deadline to see to."""
        self._let_go()
        self._request = self._camera.capture_request()
        if self._request is None:
            raise Lost(f"camera {self._number} gave no picture")
        return True

    def retrieve(self) -> Pixels:
        """The frame that `grab` waited for.

        Raises:
            Unreadable: It is no picture.
        """
        pixels = self._request.make_array("main")
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 3:  # noqa: PLR2004  # height, width, BGR
            raise Unreadable("the camera gave no picture")
        return np.asarray(pixels[:, :, :3], np.uint8)

    def read(self) -> Pixels | None:
        """The next frame. Raises `Unreadable` and `Lost`; a camera has no end."""
        self.grab()
        return self.retrieve()

    def _let_go(self) -> None:
        """Give the frame's memory back to the camera."""
        request, self._request = self._request, None
        if request is not None:
            request.release()

    def _close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            with contextlib.suppress(RuntimeError):
                camera.stop()
            with contextlib.suppress(RuntimeError):
                camera.close()


def _picamera2() -> Any:  # noqa: ANN401  # a module without types
    """The library: this environment's or the system's.

    Raises:
        Lost: Saying what to install, or what does not fit.
    """
    if str(SYSTEM_PACKAGES) not in sys.path:
        sys.path.append(str(SYSTEM_PACKAGES))  # this is the capture process, which imports nothing else from there
    try:
        return importlib.import_module("picamera2")
    except ModuleNotFoundError as error:
        missing = "" if error.name == "picamera2" else f" ({error.name} is missing)"
        raise Lost(f"picamera2 is not installed{missing}: {_INSTALL}; or use 'gstreamer: libcamerasrc …'") from error
    except (ImportError, ValueError, AttributeError) as error:
        here = f"Python {sys.version.split()[0]}, numpy {np.__version__} in {Path(np.__file__).parent}"
        raise Lost(
            f"the system's picamera2 does not fit this environment ({here}): {error}; make that with the system's "
            "Python and --system-site-packages, or use 'gstreamer: libcamerasrc …'"
        ) from error
