"""On the device, in the order a frame travels.

==============  ==================================================================
cli             commands
config          the YAML file, typed
build           the one place that makes objects out of configuration
heap            one heap for all threads
service         the agent at work, from start to end
streams         a stream: one camera with one model
signals         SIGTERM and the like, heard by a thread
watchdog        who made progress when; systemd; the end in bounded time
health          whether the agent had better be started anew
starts          how the starts before went; safe mode
maintenance     somebody works at the camera: no alarm
telling         birth message, models, how the epoch before ended, the time
check           whether this device can work
predict         a model on pictures and videos, without a camera
inspecting      what a model is taken for, and why
loading         how the command line says that a model is to be loaded
benching/       how fast this device is with a model
preview/        a camera's live picture on a web page
answers         what a model saw, as data for people and programs
drawing         a picture with what was seen in it
clock           boot time, wall time and how well it is known: the one clock seam
sources/        where pixels come from: a protocol, and one file each
capture         a source behind a deadline, in its own process; frame numbers
frames          frames on their way from there to whoever looks at them
supervisor      keeps the capture process going: deadlines, attempts, what is told
captureprocess  that process, seen from the agent
capture_child   that process, from inside
timetable       when a stream is to be awake: times of the day
sun             sunrise and sunset
duty            what the plan wants of a stream now
dues            what it wanted, counted for the coverage
quality         what is wrong with a picture, by rule: frozen, black, white
masks           parts of the picture that nobody is to see
progress        how many frames were captured, in a file that outlives a crash
pictures        picture files, read robustly
model           a model: infer, and what it calls things
session         how ONNX Runtime runs it: providers, threads, spinning, optimisation
providers       names of execution providers, and where to get them
tuning/         measuring what runs a model fastest here
tuned           what was measured to be fastest here, beside the configuration
onnxheader      versions in an ONNX file's own header
adjusting       how a picture is prepared: the family, the file, the configuration
counting        scores that single classes need
region          the part of the picture that the model sees
preparing       frame to input tensor, in one pass
classnames/     names for models that bring none
decoders/       outputs to detections: a protocol, and one file per model family
gate            which frames need no look: the scene is still
loop            frame to observation: one hand or more for each stream
turns           which stream may look now
books           every frame's outcome, and the windows that sum them up
openwindows     windows in the making, in a file that outlives a kill
seal            what was observed, once a second, into the outbox
outbox/         sealed batches on disk: put, due, acked
glance          a picture for the dashboard now and then
snapshots       JPEGs on disk, until the collector has them
restarts        how often the agent may have itself started anew
uplink          outbox to broker, acks to outbox; birth and last will
vitals          how the device is
==============  ==================================================================

The loop never waits for the network. Nothing is deleted from the outbox before the collector says that
the store has it.
"""
