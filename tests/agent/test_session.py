"""How a model is run is what was asked for, or somebody is told."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import tinyonnx

from agent import providers
from agent.model import Model, ProviderError
from agent.session import ProviderMissing, Runtime, nodes_by_provider, open_session, session_options

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tinyonnx.save(tmp_path / "stages.onnx", {"out": tinyonnx.v8()})


@pytest.mark.parametrize("spinning", [True, False])
def test_threads_spinning_and_optimisation_reach_the_session(model: Path, spinning: bool) -> None:  # noqa: FBT001  # a case
    runtime = Runtime(threads=3, spinning=spinning, optimisation="basic")
    got = open_session(model, runtime).get_session_options()
    assert got.intra_op_num_threads == 3
    assert got.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert got.get_session_config_entry("session.intra_op.allow_spinning") == ("1" if spinning else "0")


def test_a_provider_with_threads_of_its_own_gets_them_and_the_runtime_keeps_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = asked(monkeypatch, Runtime(("openvino",), threads=4, options={"OpenVINO": {"device_type": "CPU"}}))
    assert given == [("OpenVINOExecutionProvider", {"num_of_threads": "4", "device_type": "CPU"}), CPU]
    assert session_options(Runtime(("openvino",), threads=4), "OpenVINOExecutionProvider").intra_op_num_threads == 1
    assert session_options(Runtime(("openvino",), threads=4), CPU).intra_op_num_threads == 4, "as a fall-back"


def test_tensorrt_keeps_its_engines_and_leaves_the_rest_to_cuda(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = asked(monkeypatch, Runtime(("tensorrt",), engines=tmp_path / "state" / "engines"))
    assert given[0] == (
        "TensorrtExecutionProvider",
        {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(tmp_path / "state" / "engines"),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(tmp_path / "state" / "engines"),
        },
    )
    assert given[1:] == [CUDA, CPU]
    assert (tmp_path / "state" / "engines").is_dir()


def asked(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> list[object]:
    """What a build with every provider would be asked for."""
    got: list[object] = []

    class Session:
        def __init__(self, _path: str, _options: object, providers: list[object], enable_fallback: int) -> None:
            assert enable_fallback == 0
            got.extend(providers)

    monkeypatch.setattr(ort, "get_available_providers", lambda: list(providers.SHORT.values()))
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("looked for CUDA"), raising=False)  # noqa: T201  # as it does
    monkeypatch.setattr(ort, "InferenceSession", Session)
    open_session(Path("m.onnx"), runtime)
    return got


def test_cudas_libraries_are_looked_for_without_a_word_among_the_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, Runtime(("cuda",))) == [CUDA, CPU]
    assert capsys.readouterr() == ("", "looked for CUDA\n")


def test_a_required_provider_that_the_build_lacks_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    with pytest.raises(ProviderError) as refused:
        Model.load(model, runtime=Runtime(("cuda",), require_provider=True))
    assert str(refused.value) == (
        f"{model}: CUDAExecutionProvider was asked for, but this onnxruntime {ort.__version__} has only {CPU}: install "
        "onnxruntime-gpu, on a Jetson NVIDIA's build for its JetPack, in place of onnxruntime, or do without "
        "'require_provider'"
    )


def test_a_required_provider_that_does_not_start_is_refused_with_the_reason(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ort.InferenceSession

    def start(path: str, options: object, providers: list[str], enable_fallback: int) -> ort.InferenceSession:
        if providers[0] != CPU:
            raise RuntimeError("libcudnn.so.9: cannot open shared object file")
        return made(path, options, providers=providers, enable_fallback=enable_fallback)

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", start)
    with pytest.raises(ProviderMissing, match=r"does not start on this machine \(.*libcudnn\.so\.9: cannot open"):
        open_session(model, Runtime(("cuda",), require_provider=True))
    assert open_session(model, Runtime(("cuda",))).get_providers() == [CPU]


def test_a_required_provider_that_drops_out_silently_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA's does when its driver is too old: the session starts, on the CPU, without an error."""
    made = ort.InferenceSession

    def start(path: str, options: object, providers: list[str], enable_fallback: int) -> ort.InferenceSession:
        assert providers == [CUDA, CPU]
        return made(path, options, providers=[CPU], enable_fallback=enable_fallback)

    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", start)
    with pytest.raises(ProviderMissing, match="does not start on this machine: are its driver and libraries installed"):
        open_session(model, Runtime(("cuda",), require_provider=True))


def test_the_nodes_that_each_provider_runs_are_counted(model: Path) -> None:
    feeds = {"images": np.zeros((1, 3, 64, 64), np.float32)}
    assert nodes_by_provider(model, Runtime(optimisation="none"), feeds) == {CPU: 1}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("cuda", CUDA),
        ("CUDA", CUDA),
        ("CUDAExecutionProvider", CUDA),
        ("cudaexecutionprovider", CUDA),
        ("Dml", "DmlExecutionProvider"),
        ("directml", "DmlExecutionProvider"),
        ("BrandNewExecutionProvider", "BrandNewExecutionProvider"),
    ],
)
def test_a_provider_has_its_own_name_and_short_ones(name: str, own: str) -> None:
    assert providers.full(name) == own
    assert providers.full(providers.short(own)) == own


def test_a_provider_that_a_newer_runtime_might_have_is_refused_by_this_one(model: Path) -> None:
    with pytest.raises(ValueError, match=r"knows no execution provider 'BrandNewExecutionProvider'"):
        open_session(model, Runtime(("BrandNewExecutionProvider",)))
