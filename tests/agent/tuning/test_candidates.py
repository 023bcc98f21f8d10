"""What is tried: what this machine can do, and the configuration leaves open."""

from agent.config import Settings
from agent.tuned import Choice
from agent.tuning import candidates

CPU, OPENVINO, CUDA = "CPUExecutionProvider", "OpenVINOExecutionProvider", "CUDAExecutionProvider"


def test_every_number_of_threads_is_tried_spinning_or_not() -> None:
    assert candidates.first(Settings(), 2, [CPU]) == [Choice(), Choice(threads=2), Choice(threads=2, spinning=True)]


def test_many_cores_are_tried_by_powers_of_two() -> None:
    found = candidates.first(Settings(spinning=False), 20, [CPU])
    assert [choice.threads for choice in found] == [1, 2, 3, 4, 8, 16, 20]


def test_every_provider_on_this_machine_is_tried_and_none_elsewhere() -> None:
    found = candidates.first(Settings(), 2, ["AzureExecutionProvider", CUDA, OPENVINO, CPU])
    assert found[0] == Choice(), "the simplest comes first"
    assert [choice for choice in found if choice.provider != CPU] == [
        Choice(CUDA),
        Choice(OPENVINO),
        Choice(OPENVINO, 2),
    ]


def test_what_the_configuration_says_is_not_tried_otherwise() -> None:
    said = Settings(providers=["cuda", "cpu"], threads=3, spinning=False, optimisation="basic")
    assert candidates.first(said, 4, [CUDA, CPU]) == [Choice(CUDA, 3, spinning=False, optimisation="basic")]
    assert candidates.other_levels([Choice()], said) == []
    assert candidates.first(Settings(threads=0), 4, [CPU])[0].threads == 4
    assert candidates.first(Settings(threads=1, spinning=True), 4, [CPU]) == [Choice(spinning=True)]


def test_other_levels_of_optimisation_are_tried_of_the_better_ones() -> None:
    found = candidates.other_levels([Choice(threads=2)], Settings())
    assert [(choice.threads, choice.optimisation) for choice in found] == [(2, "extended"), (2, "basic"), (2, "none")]
