"""Loading models: what is read from the file, and the sentence when it is none."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tinyonnx
from onnx import TensorProto, helper, numpy_helper

from agent.decoders import DECODERS, Thresholds
from agent.model import Model, ModelError

NAMES = "{0: 'red', 1: 'green', 2: 'blue'}"
FRAME = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture
def detector(tmp_path):
    return tinyonnx.save(tmp_path / "stages.onnx", {"out": tinyonnx.v8()}, metadata={"names": NAMES, "task": "detect"})


def look(model, frame=FRAME):
    looker = model.looker()
    tensor, placement = looker.prepare(frame)
    return looker.decode(looker.infer(tensor), placement)


def test_a_picture_goes_through(detector):
    found = look(Model.load(detector, threads=1), np.zeros((128, 128, 3), np.uint8))
    assert found.class_ids.tolist() == [1]
    assert found.scores == pytest.approx([0.9])
    assert found.boxes.tolist() == [[32, 32, 96, 80]]


def test_a_model_says_what_it_is(detector):
    model = Model.load(detector)
    digest = hashlib.sha256(detector.read_bytes()).hexdigest()
    assert (model.name, model.version, model.sha256) == ("stages", digest[:12], digest)
    assert (model.family, model.task, model.input_size, model.iou) == ("ultralytics-v8", "detect", (64, 64), 0.45)
    assert (model.names, model.names_source, model.warnings) == (("red", "green", "blue"), "metadata", ())
    assert model.provider == model.requested_provider == "CPUExecutionProvider"
    assert (model.class_name(2), model.class_name(7)) == ("blue", "class_7")


def test_the_files_own_name_and_version_come_first(tmp_path):
    own = {"name": "ripeness", "version": "1.4", "names": NAMES}
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}, metadata=own)
    model = Model.load(path, name="other", version="9")
    assert (model.name, model.version) == ("ripeness", "1.4")


def test_the_configuration_names_a_model_that_says_nothing(detector):
    model = Model.load(detector, name="other", version="9")
    assert (model.name, model.version) == ("other", "9")


def test_the_version_of_ultralytics_is_not_the_models(tmp_path):
    theirs = {"author": "Ultralytics", "version": "8.4.46", "task": "detect", "names": NAMES}
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}, metadata=theirs)
    assert Model.load(path).version == Model.load(path).sha256[:12]


def test_a_model_with_its_own_selection_has_no_iou(tmp_path):
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": np.zeros((1, 300, 6), np.float32)})
    assert Model.load(path).iou is None


def of_two_families():
    """For 64x64: 84 rows that a YOLOX with one class could give, or a model that ends in its own selection."""
    rows = np.tile(np.array([0, 0, 1, 1, 0.5, 1], np.float32), (84, 1))
    rows[:, 4] = np.linspace(0.9, 0.1, 84)
    return rows[None]


def test_the_configuration_can_name_the_family(tmp_path):
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": of_two_families()})
    with pytest.raises(ModelError, match="not clear"):
        Model.load(path)
    assert Model.load(path, decoder="yolox").family == "yolox"


def test_the_configuration_can_change_the_preparation(detector):
    model = Model.load(detector, preparation={"colour": "bgr", "fit": "stretch"})
    assert (model.preparation.colour, model.preparation.fit, model.preparation.pad) == ("bgr", "stretch", 114)


@pytest.mark.parametrize("key", ["color", "width", "dtype"])
def test_what_cannot_be_changed_in_the_preparation_is_refused(detector, key):
    with pytest.raises(ModelError, match=f"its preparation has no '{key}' to change; it has colour, fit, mean"):
        Model.load(detector, preparation={key: 1})


def load_dynamic(tmp_path, metadata=None, **options):
    """A model whose input may have any size."""
    path = tinyonnx.save(
        tmp_path / "m.onnx",
        {"out": tinyonnx.v8()},
        shape=("batch", 3, "height", "width"),
        metadata={"names": NAMES, "task": "detect"} | (metadata or {}),
        declared={"out": ("batch", 7, "columns")},
    )
    return Model.load(path, **options)


def test_a_dynamic_size_is_the_files_own(tmp_path):
    model = load_dynamic(tmp_path, {"imgsz": "[96, 128]"})
    assert (model.input_size, model.warnings) == ((128, 96), ())


def test_a_dynamic_size_is_the_configurations_whatever_the_file_recommends(tmp_path):
    model = load_dynamic(tmp_path, {"imgsz": "[96, 128]"}, size=(32, 64))
    assert (model.input_size, model.warnings) == ((32, 64), ())


def test_a_size_that_the_file_fixes_stays_with_a_sentence(detector):
    model = Model.load(detector, size=(32, 32))
    assert model.input_size == (64, 64)
    assert model.warnings == ("its input is 64x64 as the file fixes it; the size 32x32 is not used",)


def test_a_dynamic_size_is_the_configurations_when_the_file_says_none(tmp_path):
    model = load_dynamic(tmp_path, size=(128, 96))
    assert (model.input_size, model.warnings) == ((128, 96), ())


def test_a_dynamic_size_that_nothing_says_is_640_with_a_sentence(tmp_path):
    model = load_dynamic(tmp_path)
    assert model.input_size == (640, 640)
    assert model.warnings == ("the size of its input is dynamic and nothing says which: 640x640 is taken",)


def test_a_dynamic_size_that_is_too_large_is_refused(tmp_path):
    with pytest.raises(ModelError, match="8192 pixels at most"):
        load_dynamic(tmp_path, {"imgsz": "1000000"})


def test_a_dynamic_size_that_the_graph_cannot_take_says_what_to_try(tmp_path):
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    only = numpy_helper.from_array(np.zeros((1, 3, 64, 64), np.float32), "only")
    graph = helper.make_graph([helper.make_node("Add", ["images", "only"], ["out"])], "g", [picture], [out], [only])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(ModelError, match=r"zeros failed: .*; its size is open, .*: try multiples of 32$"):
        Model.load(path, size=(48, 48))


def test_a_dynamic_batch_is_one(tmp_path):
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}, shape=("n", 3, 64, 64), metadata={"names": NAMES})
    assert Model.load(path).warnings == ()


@pytest.mark.parametrize(("dtype", "name"), [(TensorProto.FLOAT16, "float16"), (TensorProto.UINT8, "uint8")])
def test_inputs_of_other_types(tmp_path, dtype, name):
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}, dtype=dtype, metadata={"names": NAMES})
    model = Model.load(path)
    assert model.preparation.dtype == name
    assert len(look(model).scores) == 1


def test_half_precision_outputs_are_decoded(tmp_path):
    path = tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8().astype(np.float16)}, metadata={"names": NAMES})
    assert look(Model.load(path)).scores == pytest.approx([0.9], abs=1e-3)


def test_initializers_that_old_files_list_as_inputs_do_not_count(tmp_path):
    tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}, metadata={"names": NAMES})
    model = onnx.load(tmp_path / "m.onnx")
    weights = model.graph.initializer[0]
    model.graph.input.append(helper.make_tensor_value_info(weights.name, weights.data_type, weights.dims))
    onnx.save(model, str(tmp_path / "old.onnx"))
    assert Model.load(tmp_path / "old.onnx").family == "ultralytics-v8"


def test_a_second_input_is_given_ones(tmp_path):
    """As the size that a DETR scales its boxes with: whatever the order of width and height."""
    kinds: dict[str, np.ndarray] = {
        "labels": np.array([[7]], np.int64),
        "boxes": np.array([[[0.25, 0, 0.75, 0.5]]], np.float32),
        "scores": np.array([[0.9]], np.float32),
    }
    tensors = [numpy_helper.from_array(values, f"{name}_values") for name, values in kinds.items()]
    nodes = [
        helper.make_node("Identity", ["labels_values"], ["labels"]),
        helper.make_node("Identity", ["scores_values"], ["scores"]),
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["size", "size"], ["sizes"], axis=1),
        helper.make_node("Mul", ["boxes_values", "sizes"], ["boxes"]),
    ]
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, ("N", 3, 64, 96)),
        helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ("N", 2)),
    ]
    outputs = [
        helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
        for name, tensor in zip(kinds, tensors, strict=True)
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    model = Model.load(tmp_path / "m.onnx", threads=1)
    assert (model.family, model.input_size, model.iou) == ("detr", (96, 64), None)
    assert look(model, np.zeros((200, 100, 3), np.uint8)).boxes.tolist() == [[25, 0, 75, 100]]


def test_faces_are_called_faces_unless_the_configuration_says_otherwise(tmp_path):
    scores = np.tile(np.array([1, 0], np.float32), (1, 9, 1))
    path = tinyonnx.save(tmp_path / "m.onnx", {"scores": scores, "boxes": np.zeros((1, 9, 4), np.float32)})
    model = Model.load(path)
    assert (model.family, model.names, model.names_source, model.warnings) == ("ultraface", ("face",), "family", ())
    assert Model.load(path, names=["head"]).names == ("head",)


# Files that are no model.


def write_nothing(path):
    pass


def write_folder(path):
    path.mkdir()


def write_empty(path):
    path.write_bytes(b"")


def write_two_bytes(path):
    path.write_bytes(b"\x08\x07")


def write_pointer(path):
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 232589\n")


def write_page(path):
    path.write_text("<!DOCTYPE html><html><body>404: the file that you are looking for is not here</body></html>")


def write_cut_short(path):
    tinyonnx.save(path, {"out": tinyonnx.v8()})
    path.write_bytes(path.read_bytes()[:1000])


def write_weights_elsewhere(path):
    model = onnx.load(tinyonnx.save(path, {"out": tinyonnx.v8()}))
    onnx.save(model, str(path), save_as_external_data=True, location="stages.data", size_threshold=0)
    (path.parent / "stages.data").unlink()


def write_no_picture(path):
    tinyonnx.save(path, {"out": np.zeros((1, 2), np.float32)}, shape=(1, 1, 4))


def write_two_inputs(path):
    tinyonnx.save(path, {"out": tinyonnx.v8()}, inputs=2)


def write_batch(path):
    tinyonnx.save(path, {"out": tinyonnx.v8()}, shape=(8, 3, 64, 64))


def write_unknown(path):
    tinyonnx.save(path, {"heat": np.zeros((1, 5, 16, 16), np.float32)})


def write_ambiguous(path):
    tinyonnx.save(path, {"out": of_two_families()})


def write_poses(path):
    tinyonnx.save(path, {"out": tinyonnx.v8()}, metadata={"task": "pose"})


def write_turned_boxes(path):
    tinyonnx.save(path, {"out": tinyonnx.v8()}, metadata={"task": "obb"})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (write_nothing, "no such file; give the path of an .onnx file"),
        (write_folder, "cannot be read (Is a directory)"),
        (write_empty, "is no ONNX model: it has only 0 bytes; copy or download it again"),
        (write_two_bytes, "is no ONNX model: it has only 2 bytes; copy or download it again"),
        (write_pointer, "is a git-LFS pointer, not the model; run `git lfs pull` where it came from"),
        (write_page, "is no ONNX model (it cannot be parsed); copy or download it again"),
        (write_cut_short, "is no ONNX model (it cannot be parsed); copy or download it again"),
        (write_weights_elsewhere, "its weights are in a separate file, which is missing: put stages.data beside it"),
        (
            write_no_picture,
            (
                "its input 'images' has the shape [1, 1, 4]; an image is [1, channels, height, width] or "
                "[1, height, width, channels] with 1 or 3 channels"
            ),
        ),
        (
            write_two_inputs,
            "it has 2 inputs (images, input1), which no family here has: one picture is expected",
        ),
        (write_batch, "it takes 8 pictures at once; export it with a batch size of 1"),
        (
            write_unknown,
            (
                "its family is not known from what the file says (input images [1, 3, 64, 64], output heat "
                f"[1, 5, 16, 16]); if it is one of {', '.join(DECODERS)}, name it as `decoder`"
            ),
        ),
        (
            write_ambiguous,
            (
                "its family is not clear from what the file says; name it as `decoder` (ultralytics-end2end: the "
                "output is 84 rows of corners, score and class; yolox: 84 rows are one for each cell of strides 8, "
                "16, 32, with objectness)"
            ),
        ),
        (
            write_poses,
            (
                "it is a model for the task 'pose', but not as Vigie knows them (input images [1, 3, 64, 64], "
                "output out [1, 7, 84])"
            ),
        ),
        (
            write_turned_boxes,
            (
                "it is a model for the task 'obb', which Vigie does not decode yet; it does "
                "detect, segment, pose, classify"
            ),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", "-"),
)
def test_what_is_no_model_is_refused_with_a_sentence(tmp_path, capfd, make, sentence):
    path = tmp_path / "stages.onnx"
    make(path)
    with pytest.raises(ModelError) as refused:
        Model.load(path)
    assert str(refused.value) == f"{path}: {sentence}"
    assert capfd.readouterr().out == ""


def test_a_provider_that_fails_to_start_gives_way_to_the_cpu(detector, monkeypatch, capfd):
    """As when CUDA's libraries are not those that the runtime was built for."""
    made = onnxruntime.InferenceSession

    def start(path, options, providers, enable_fallback):
        if providers[0] != "CPUExecutionProvider":
            raise RuntimeError("libcudnn.so.9: cannot open shared object file")
        return made(path, options, providers=providers, enable_fallback=enable_fallback)

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    model = Model.load(detector, providers=["cuda", "cpu"])
    assert (model.provider, model.requested_provider) == ("CPUExecutionProvider", "CUDAExecutionProvider")
    assert "not on CUDAExecutionProvider" in model.warnings[0]
    assert capfd.readouterr() == ("", "")


def test_a_model_that_is_too_new_is_refused_with_the_way_out(tmp_path):
    model = onnx.load(tinyonnx.save(tmp_path / "m.onnx", {"out": tinyonnx.v8()}))
    model.opset_import[0].version = 99
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        ModelError, match=rf"onnxruntime {onnxruntime.__version__} cannot run it, a newer one may: .*99"
    ):
        Model.load(tmp_path / "m.onnx")


def test_a_provider_that_there_is_not_is_refused(detector):
    with pytest.raises(ModelError, match="there is no execution provider 'turbo'; there are cpu, cuda, tensorrt"):
        Model.load(detector, providers=["turbo"])


def test_a_provider_that_this_machine_lacks_is_told(detector, capfd):
    """No development machine has all three of them."""
    model = Model.load(detector, providers=["openvino", "xnnpack"])
    assert model.requested_provider == "OpenVINOExecutionProvider"
    if model.provider == "CPUExecutionProvider":
        assert model.warnings == (
            "it runs on CPUExecutionProvider, not on OpenVINOExecutionProvider, which does not work on this machine",
        )
    assert capfd.readouterr().err == ""


def test_a_wrong_tensor_is_refused_by_the_runtime_with_the_files_name(detector):
    with pytest.raises(ModelError, match=r"stages\.onnx: .*(dimension|rank)"):
        Model.load(detector).infer(np.zeros((1, 3, 32, 32), np.float32))


def test_streams_share_a_model_and_nothing_else(detector):
    """Eight threads with pictures of different sizes: each gets its own boxes."""
    model = Model.load(detector, threads=1)
    results: dict[int, set[tuple[int, ...]]] = {}

    def watch(side):
        looker = model.looker()
        for _ in range(50):
            tensor, placement = looker.prepare(np.zeros((side, side, 3), np.uint8))
            boxes = looker.decode(looker.infer(tensor), placement).boxes
            results.setdefault(side, set()).add(tuple(np.rint(boxes[0]).astype(int).tolist()))

    threads = [threading.Thread(target=watch, args=(64 * n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {64 * n: {(16 * n, 16 * n, 48 * n, 40 * n)} for n in range(1, 9)}


def test_thresholds_decide_what_counts(detector):
    assert len(look(Model.load(detector, thresholds=Thresholds(score=0.95))).scores) == 0


def test_the_demos_model_says_everything_itself():
    model = Model.load(Path(__file__).parents[2] / "examples" / "ripeness" / "ripeness.onnx", threads=1)
    assert (model.name, model.family, model.task) == ("ripeness", "ultralytics-v8", "detect")
    assert (model.names, model.names_source, model.warnings) == (("green", "turning", "ripe"), "metadata", ())
    assert model.version == model.graph.metadata["version"]


@pytest.mark.parametrize(("output", "scale"), [("net/rescaling/mul", 1), ("net/normalization/mul", 1 / 127.5)])
def test_a_layer_of_keras_that_rescales_is_known_by_its_name(tmp_path, output, scale):
    path = tinyonnx.save(tmp_path / "keras.onnx", {output: np.zeros((1, 10), np.float32)}, shape=(1, 64, 64, 3))
    assert Model.load(path).preparation.scale[0] == pytest.approx(scale)
