"""The contract of the transfer, on the CPU and, with a copy that comes late, as on a GPU."""

import gc
import threading

import numpy as np
import pytest
import torch

import featscope
from featscope.capturing import handover as handover_module
from featscope.capturing.transfer import Transfer


class LateTransfer(Transfer):
    """Copies in another thread, once it is let: what a side stream does."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()

    def _is_asynchronous(self, tensor):
        return True

    def _allocate(self, size, pinned):
        return super()._allocate(size, False)  # nothing to pin without a driver

    def _copy(self, source, target):
        done = threading.Event()

        def copy():
            self.gate.wait(10)
            target.copy_(source)
            done.set()

        threading.Thread(target=copy).start()
        return lambda: done.wait(10)


def _cuda():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return Transfer(), "cuda"


@pytest.fixture(params=["cpu", "late", "cuda"])
def transfer(request):
    if request.param == "cuda":
        return _cuda()
    return (Transfer() if request.param == "cpu" else LateTransfer()), "cpu"


def _open(transfer):
    if isinstance(transfer, LateTransfer):
        transfer.gate.set()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.bool, torch.uint8, torch.float64])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7,), (), (0, 3)])
def test_the_array_is_the_tensor(transfer, dtype, shape):
    copy, device = transfer
    tensor = (torch.rand(shape) * 10).to(dtype).to(device)
    array, ready = copy(tensor, owned=False)
    _open(copy)
    ready()
    np.testing.assert_array_equal(array, tensor.cpu().numpy())
    assert array.dtype == tensor.cpu().numpy().dtype


def test_later_operations_in_place_change_nothing(transfer):
    copy, device = transfer
    tensor = torch.ones(3, 4, device=device)
    array, ready = copy(tensor, owned=False)
    tensor.zero_()
    _open(copy)
    ready()
    assert (array == 1).all()


def test_a_buffer_is_used_again_when_nobody_holds_its_array(transfer):
    copy, device = transfer
    _open(copy)
    array, ready = copy(torch.ones(8, device=device), owned=False)
    ready()
    place = array.__array_interface__["data"][0]
    view = array[2:].reshape(3, 2)
    del array
    gc.collect()
    other, ready = copy(torch.zeros(8, device=device), owned=False)
    ready()
    assert other.__array_interface__["data"][0] != place, "a view of it is still held"
    assert (view == 1).all()
    del view
    gc.collect()
    third, ready = copy(torch.zeros(8, device=device), owned=False)
    ready()
    assert third.__array_interface__["data"][0] == place


def test_bfloat16_keeps_its_buffer_while_a_view_is_held(transfer):
    copy, device = transfer
    _open(copy)
    array, ready = copy(torch.ones(8, device=device, dtype=torch.bfloat16), owned=False)
    ready()
    view = array.reshape(2, 4)
    place = view.__array_interface__["data"][0]
    del array
    gc.collect()
    other, _ = copy(torch.zeros(8, device=device, dtype=torch.bfloat16), owned=False)
    assert other.__array_interface__["data"][0] != place


def test_a_run_waits_for_copies_that_come_late(tmp_path, monkeypatch):
    monkeypatch.setattr(handover_module, "Transfer", LateTransfer)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU(inplace=True)).eval()
    images = torch.randn(5, 1, 3, 8, 8)
    with torch.no_grad():
        expected = [model[0](image).numpy() for image in images]
        policy = {"channels": "top:2", "dtype": "uint8"}
        with featscope.capture(model, ["0"], to=tmp_path / "run", policy=policy) as session:
            for image in images:
                model(image)
            session._handover._transfer.gate.set()  # the forward never waited
    run = featscope.open_run(tmp_path / "run")
    for stored, whole in zip(run.maps, expected):
        (channels,) = stored.record.channels
        np.testing.assert_allclose(stored.load()[0], whole[0, channels], atol=np.ptp(whole) / 500)
    assert featscope.check_run(tmp_path / "run").problems == []
