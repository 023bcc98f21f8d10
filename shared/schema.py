"""Each stored or sent field once: name, unit, kind, meaning. The docs and the dashboard are made from it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Field:
    """One value that a device tells: `unit` is "1" for counts and ratios."""

    name: str
    unit: str
    kind: Literal["int", "float", "bool"]
    meaning: str


TIMINGS = (
    Field("capture", "ms", "float", "reading and decoding the frame from its source"),
    Field("wait", "ms", "float", "from capture to the start of prepare"),
    Field("prepare", "ms", "float", "frame to input tensor"),
    Field("infer", "ms", "float", "the model"),
    Field("decode", "ms", "float", "outputs to detections"),
)
"""The stages of a frame, in order; the response time is all but the first."""

VITALS = (
    Field("uptime_s", "s", "float", "time since the agent started"),
    Field("cpu_percent", "%", "float", "processor use of the whole device since the last reading, 100 = all cores"),
    Field("memory_percent", "%", "float", "memory in use on the whole device"),
    Field("memory_available_bytes", "B", "int", "memory that programs can still get"),
    Field("rss_bytes", "B", "int", "resident memory of the agent and its capture processes"),
    Field("disk_free_bytes", "B", "int", "free space where the outbox lies"),
    Field("temperature_c", "°C", "float", "hottest sensor of the processor"),
    Field("throttled", "1", "bool", "the board runs slower than it could, for heat or power"),
    Field("under_voltage", "1", "bool", "the supply voltage is too low"),
    Field("outbox_batches", "1", "int", "sealed batches that the collector has not confirmed"),
    Field("outbox_bytes", "B", "int", "size of the outbox on disk"),
    Field("outbox_oldest_s", "s", "float", "age of the oldest batch not confirmed"),
    Field("snapshots_waiting", "1", "int", "pictures not confirmed"),
    Field("snapshots_dropped", "1", "int", "pictures dropped by their quota since the start"),
    Field("reconnects", "1", "int", "connections to the broker since the start, less the first"),
)

EVENTS = {
    "agent_started": "the agent started; the detail says whether the last run ended cleanly",
    "agent_stopped": "the agent ended in good order; the detail says whether it was asked to or every source has ended",
    "agent_restarting": "the agent ended to be started anew, because it does not work; the detail says why",
    "safe_mode": "the agent works without cameras and models, because its starts ended too soon; the detail says why",
    "maintenance_began": "somebody works at the device: nobody is to be alarmed; the detail says until when",
    "maintenance_ended": "maintenance is over",
    "restart_refused": "starting the agent anew might help, but it did so often enough today; the detail says why",
    "camera_lost": "a source could not be opened or ended; the detail says why",
    "camera_stalled": "a source gave no frame, or none that can be read, within its deadline; its process was ended",
    "camera_back": "frames come again; the detail says after how long",
    "picture_frozen": "a live source gave the same picture again and again for `frozen_s` seconds and is opened again",
    "picture_black": "pictures were nothing but black for `blank_s` seconds: darkness, or a covered lens",
    "picture_white": "pictures were nothing but white for `blank_s` seconds: too much light",
    "picture_well": "pictures are neither frozen nor black nor white again; the detail says what they were",
    "stream_changed": "frames have another size than before",
    "stream_ended": "a source that does not loop reached its end",
    "stream_asleep": "the plan wants no frames for now, and the camera was closed; the detail says until when",
    "stream_awake": "the plan wants frames again; the detail says until when",
    "inference_failed": "the model failed on a frame for the first time, or in another way; the detail says how",
    "provider_fallback": "another execution provider than the one asked for runs the model",
    "tuning_stale": "model, machine or runtime changed since the model was tuned; the detail says which",
    "outbox_reset": "the outbox could not be read; it was set aside and a new one begun",
    "outbox_thinned": "the quota thinned detail batches; the detail says how many",
    "outbox_unwritable": "the outbox could not be written for a while; the detail says why",
    "client_id_taken": "another client connects to the broker under this device's name; each throws the other out",
    "device_twice": "two devices use one name: starts of it are heard in turns; the collector tells it",
    "gap_remains": "batches did not come although the device was asked again and again; the collector tells it",
    "gap_filled": "batches that had been given up came after all; the collector tells it",
    "time_known": "the device learnt the time; the detail says from where",
    "clock_disagrees": "the device's synchronised clock and the collector's differ; the detail says by how much",
}
"""Names of events that a device tells, or the collector of it, with their meaning."""
