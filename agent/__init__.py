"""On the device, in the order a frame travels.

==============  ==================================================================
cli             commands
config          the YAML file, typed
build           the one place that makes objects out of configuration
clock           boot time, wall time and how well it is known: the one clock seam
sources/        where pixels come from: a protocol, and one file each
capture         a source behind a deadline, in its own process; frame numbers
model           the ONNX session: prepare, infer
decoders/       outputs to detections: a protocol, and one file per model family
loop            frame to observation
books           every frame's outcome, and the windows that sum them up
seal            what was observed, once a second, into the outbox
outbox          sealed batches on disk: put, due, acked
snapshots       JPEGs on disk, until the collector has them
uplink          outbox to broker, acks to outbox; birth and last will
vitals          how the device is
==============  ==================================================================

The loop never waits for the network. Nothing is deleted from the outbox before the collector says that
the store has it.
"""
