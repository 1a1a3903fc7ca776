"""Devices: which of EGL's devices draws, in every kind of worker, and one sentence for those that are not there."""

import json
import os

import moderngl
import pytest
from tiny import World, dataset_bytes
from tiny import handsynth as run_handsynth

from handsynth.core.errors import AssetError, UsageError
from handsynth.dataset.generate import RunConfig
from handsynth.render import context
from handsynth.render.context import find_device, list_devices, make_context


class FakeContext:
    version_code = 450

    def __init__(self, renderer: str) -> None:
        self.info = {"GL_RENDERER": renderer, "GL_VERSION": "4.5"}

    def release(self) -> None:
        pass


@pytest.fixture
def machine(monkeypatch):
    """Makes EGL have these devices: names of renderers, None for one that cannot be opened."""

    def has(*renderers: str | None) -> None:
        def create_context(device_index: int, **_: object) -> FakeContext:
            if device_index >= len(renderers):
                raise Exception(f"requested device index {device_index}, but found {len(renderers)} devices")
            renderer = renderers[device_index]
            if renderer is None:
                raise Exception("eglInitialize failed (0x3001)")
            return FakeContext(renderer)

        monkeypatch.setattr(moderngl, "create_context", create_context)

    return has


GPUS = ("NVIDIA H200/PCIe/SSE2", "AMD Radeon Pro", "llvmpipe (LLVM 15.0.6, 256 bits)")


def test_kinds_are_found_by_what_the_driver_says(machine):
    """cpu is the first software device, gpu the first other one that opens; auto is EGL's first, a number itself."""
    machine(*GPUS)
    assert [find_device(wanted) for wanted in ("auto", "gpu", "cpu", "1")] == [0, 0, 2, 1]
    machine(None, *GPUS)
    assert [find_device(wanted) for wanted in ("auto", "gpu", "cpu", "0")] == [0, 1, 3, 0]
    assert [device.kind for device in list_devices()] == [None, "gpu", "gpu", "cpu"]
    assert "eglInitialize failed" in list_devices()[0].detail


def test_devices_that_are_not_there_are_one_sentence(machine):
    """Each says which device, on which machine, what is there instead and what to do."""
    machine(GPUS[0])
    with pytest.raises(AssetError, match=r"has no software device \(0: NVIDIA H200.*\): on Debian"):
        find_device("cpu")
    with pytest.raises(AssetError, match=r"there is no EGL device 1: .* has one, number 0; `handsynth doctor`"):
        find_device("1")
    machine(None, GPUS[2])
    with pytest.raises(AssetError, match=r"has no GPU .* on \(0: .*eglInit.*; 1: llvmpipe.*\): .* leave --device out"):
        find_device("gpu")
    with pytest.raises(AssetError, match="has 2, numbered from 0"):
        find_device("9")


def test_without_egl_the_packages_are_named(machine):
    """Where EGL has no device at all, whichever was wanted: making the context says what to install."""
    machine()
    assert list_devices() == []
    for wanted in ("auto", "cpu", "gpu", "3"):
        with pytest.raises(AssetError, match="apt-get install -y libegl1"):
            make_context(find_device(wanted))


@pytest.mark.parametrize("wanted", ["cuda", "-1", "", "CPU", "0.5", "1e3", "auto ", "٣"])
def test_what_is_no_device_is_wrong_usage(wanted, tiny_world, tmp_path):
    """Refused before anything is made."""
    with pytest.raises(UsageError, match="--device is auto, cpu, gpu, or a number"):
        tiny_world.generate(tmp_path / "out", run=RunConfig(device=wanted))
    assert not (tmp_path / "out").exists()


def test_the_software_device_of_this_machine_draws(monkeypatch):
    """The real EGL: Mesa's device is found, and a variable of the binding does not overrule the number."""
    software = [device for device in list_devices() if device.kind == "cpu"]
    assert find_device("cpu") == software[0].number
    monkeypatch.setenv("GLCONTEXT_DEVICE_INDEX", "7")
    made = make_context(software[0].number)
    assert context.driver_name(made) == software[0].driver
    made.release()


@pytest.mark.parametrize("renderer", ["moderngl", "pyrender"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_generate_draws_on_the_device(tiny_world: World, tmp_path, renderer, jobs):
    """In each worker: the software device by name and by number gives auto's bytes where it is the only one; others are refused."""
    options = ("--samples", 6, "--assets", tiny_world.assets, "--renderer", renderer, "--jobs", jobs, "--json")
    number = find_device("cpu")
    for device in ("cpu", number):
        out = tmp_path / f"out{device}"
        made = run_handsynth("generate", tiny_world.spec_path, out, *options, "--device", device)
        assert made.returncode == 0, made.stderr
    assert dataset_bytes(tmp_path / "outcpu") == dataset_bytes(tmp_path / f"out{number}")
    index = json.loads((tmp_path / "outcpu" / "index.json").read_bytes())
    assert all("llvmpipe" in driver or "softpipe" in driver for driver in index["drivers"])

    out = tmp_path / "none"
    ended = run_handsynth("generate", tiny_world.spec_path, out, *options, "--device", 4321)
    assert ended.returncode == 3
    assert f"there is no EGL device 4321: {os.uname().nodename} has" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert dataset_bytes(out) == {}


def test_the_device_is_no_part_of_a_dataset(tiny_world: World, tmp_path):
    """A dataset begun on one device is gone on with on another; the index names what drew."""
    begun = tiny_world.generate(tmp_path / "out", run=RunConfig(device="cpu", nnodes=2))
    assert not begun["complete"]
    done = tiny_world.generate(tmp_path / "out", run=RunConfig(device=str(find_device("cpu"))))
    assert (done["made"], done["complete"], done["dataset"]) == (1, True, begun["dataset"])
