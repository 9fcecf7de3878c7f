"""Constants are cached outside every module, within a bound, and survive what users do to models and tensors."""

import copy
import pickle

import pytest
import torch
from torch import nn

from dsmixer.spectral import dct2, idct2, response_terms, synthesis2
from dsmixer.spectral.constants import CACHE_SIZE, SharedConstants, constant, is_traced
from dsmixer.spectral.dct import cosine_matrix
from dsmixer.spectral.responses import _terms


class LowPass(nn.Module):
    """The smallest module around the transform."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        constants = SharedConstants()
        return synthesis2(dct2(x, constants=constants) * self.scale, "cosine", "sine", constants=constants)


X = torch.randn(2, 6, 9, 3)


def test_a_matrix_is_built_once_per_size_dtype_and_device():
    n = 83
    first = cosine_matrix(n, torch.ones(()))
    assert cosine_matrix(n, torch.zeros(5)) is first
    assert cosine_matrix(n, torch.ones((), dtype=torch.float64)) is not first
    assert cosine_matrix(n, torch.ones((), device="meta")).device.type == "meta"
    assert not first.requires_grad


def test_blocks_on_two_devices_share_none():
    shared = SharedConstants()
    for device in ("cpu", "meta"):
        assert shared(cosine_matrix, 0, 7, torch.ones((), device=device)).device.type == device
    assert len(shared.made) == 2


def test_the_cache_is_bounded():
    for terms in range(CACHE_SIZE + 50):
        response_terms(3, terms, "cosine", torch.ones(()))
    assert _terms.cache_info().currsize == CACHE_SIZE


def test_nothing_of_it_is_in_a_module():
    module = LowPass()
    expected = module(X)
    assert list(module.state_dict()) == ["scale"]
    for clone in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(clone(X), expected)


def test_a_matrix_made_in_inference_mode_serves_training():
    x = torch.randn(1, 59, 61, 2)
    with torch.inference_mode():
        dct2(x)
    x.requires_grad_()
    dct2(x).square().sum().backward()
    # The transform keeps energy, so the gradient of the energy is 2x.
    assert torch.allclose(x.grad, 2 * x, atol=1e-4)


def test_a_matrix_made_inside_a_function_transform_serves_outside():
    x = torch.randn(1, 53, 47, 2)
    inside = torch.func.grad(lambda x: dct2(x).square().sum())(x)
    assert torch.allclose(inside, 2 * x, atol=1e-4)
    per_image = torch.func.vmap(dct2)(x[None].expand(3, -1, -1, -1, -1))
    assert torch.allclose(per_image[2], dct2(x), atol=1e-5)


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: torch.func.grad(f)(x),
        lambda f, x: torch.func.vmap(f)(x),
        lambda f, x: torch.func.vmap(torch.func.grad(f))(x),
    ],
)
def test_a_matrix_made_inside_a_function_transform_is_a_plain_tensor(transform):
    get = constant(lambda n, dtype, device: torch.eye(n, dtype=dtype, device=device))
    x = torch.randn(5, 5)
    transform(lambda x: (x @ get(5, x)).square().sum(), x)
    assert get.cache_info().currsize == 1
    assert torch.equal(copy.deepcopy(get(5, x)), torch.eye(5))


def test_other_default_devices_and_fake_tensors_leave_no_trace():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        assert is_traced(dct2(torch.randn(1, 43, 41, 2)))
    with torch.device("meta"):
        assert dct2(torch.empty(1, 43, 41, 2)).device.type == "meta"
    x = torch.randn(1, 43, 41, 2)
    assert torch.allclose(idct2(dct2(x)), x, atol=1e-5)


def test_compiles_without_a_graph_break_at_changing_sizes():
    module = LowPass()
    compiled = torch.compile(module, fullgraph=True, backend="eager", dynamic=True)
    for height, width in ((6, 9), (7, 5), (1, 16)):
        x = torch.randn(2, height, width, 3)
        assert torch.allclose(compiled(x), module(x), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:torch.distributed")  # gloo without a network interface to pick
def test_distributed_data_parallel(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(LowPass())
        parallel(X).sum().backward()
        assert torch.isfinite(parallel.module.scale.grad).all()
        assert list(parallel.module.state_dict()) == ["scale"]
    finally:
        torch.distributed.destroy_process_group()
