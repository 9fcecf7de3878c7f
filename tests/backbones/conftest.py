"""Every registered model is tested the day it is registered."""

import pytest
import timm
import torch

import dsmixer  # noqa: F401 - registers the models

SMALL = "dsm_test"
MODELS = timm.list_models("dsm_*")


def images(*size: int, batch: int = 2, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return timm.create_model(SMALL, num_classes=7).eval()


def enliven(model):
    """Make ``model`` as after training: branches as strong as the tokens, gains that differ between images."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith(("band_weights", "exponents")):
            torch.nn.init.normal_(parameter, std=0.5, generator=generator)
        elif parameter.ndim > 1 and "coefficients" not in name:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=generator)
    return model


@pytest.fixture
def lively(small):
    return enliven(small)
