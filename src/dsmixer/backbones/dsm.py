"""Dynamic Spectrum Mixer: a pyramid of blocks whose tokens meet in the frequency domain.

Paper: Hu & Yu, "Dynamic Spectrum Mixer for Visual Recognition", arXiv 2309.06721. Of it the abstract is at hand: an
MLP-like backbone, DCT token mixing, a dynamic spectrum weight generation layer. Everything else is our design
(docs/paper-and-ours.md). Written from scratch; Apache-2.0.
"""

import math
from contextlib import nullcontext
from typing import Any, Literal, cast

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import NormMlpClassifierHead, calculate_drop_path_rates, register_notrace_module, trunc_normal_
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dsmixer.backbones.pretrained import pretrained_cfg, read_packaged, tag_of
from dsmixer.backbones.timm_private import feature_take_indices
from dsmixer.layers.block import SpectrumBlock
from dsmixer.layers.embed import Downsample, Stem
from dsmixer.spectral.constants import SharedConstants

__all__ = ["DynamicSpectrumMixer"]  # register_model adds the variants


register_notrace_module(Stem)  # a leaf where timm traces, so that its checks of images stay


@torch.fx.wrap  # a leaf of every symbolic trace: transforms depend on the size, which its symbols do not have
def run_blocks(blocks: nn.Sequential, x_BHWC: Tensor, checkpointed: bool) -> Tensor:
    """One block after another on one token grid, whose constants they share."""
    constants = SharedConstants()
    for block in blocks:
        x_BHWC = checkpoint(block, x_BHWC, constants, use_reentrant=False) if checkpointed else block(x_BHWC, constants)
    return x_BHWC


class Stage(nn.Module):
    """Optional downsampling, then blocks on one token grid; features NCHW in and out, channels last in memory."""

    def __init__(self, in_dim: int, dim: int, stride: int | None, drop_path: list[float], **block: Any) -> None:
        super().__init__()
        self.downsample = nn.Identity() if stride is None else Downsample(in_dim, dim, stride)
        self.blocks = nn.Sequential(*(SpectrumBlock(dim, drop_path=rate, **block) for rate in drop_path))
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """Features of this stage's width and grid."""
        x_BHWC = self.downsample(x).permute(0, 2, 3, 1)
        x_BHWC = run_blocks(self.blocks, x_BHWC, self.grad_checkpointing and self.training)
        return x_BHWC.permute(0, 3, 1, 2)


class DynamicSpectrumMixer(nn.Module):
    """The backbone: stem, four stages, norm, head. Any input size, at once and in turn, with the same weights.

    A grid whose sides do not divide by the stride is rounded up, its border completed with zeros
    (`dsmixer.layers.embed`): a 225 × 97 image at stride 32 gives 8 × 4 tokens.

    Args:
        in_chans: channels of the images.
        num_classes: classes of the head; 0 for none.
        global_pool: ``"avg"``, ``"max"``, ``"avgmax"`` or ``""`` for none.
        output_stride: 8, 16 or 32. Below the network's own stride the last stages keep their grid.
        depths: blocks per stage.
        dims: channels per stage.
        stem_stride: 4; 2 or 1 for small images.
        mlp_ratio: hidden channels of the gated MLP over the stage's.
        init_values: initial layer scale; None for none.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block, rising linearly from 0 at the first.
        mixer: options of `dsmixer.layers.SpectrumMixer`.

    Raises:
        ValueError: for options that cannot be honoured; from ``forward`` for images that are not (B, in_chans, H, W)
            floating point with at least one image and one pixel.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        output_stride: int = 32,
        depths: tuple[int, ...] = (3, 3, 9, 3),
        dims: tuple[int, ...] = (96, 192, 384, 768),
        stem_stride: Literal[1, 2, 4] = 4,
        mlp_ratio: float = 1.5,
        init_values: float | None = 0.5,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        mixer: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        strides = _stage_strides(stem_stride, output_stride, len(depths))
        if len(depths) != len(dims):
            raise ValueError(f"depths {tuple(depths)} and dims {tuple(dims)} differ in the number of stages")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = dims[-1]
        self.feature_info: Any = []

        self.stem = Stem(in_chans, dims[0], stem_stride)
        drop_path: Any = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        block = dict(mlp_ratio=mlp_ratio, init_values=init_values, **(mixer or {}))
        stages = []
        reduction, in_dim = stem_stride, dims[0]
        for index, (dim, stride) in enumerate(zip(dims, strides, strict=True)):
            stages.append(Stage(in_dim, dim, stride, drop_path[index], **block))
            reduction, in_dim = reduction * (stride or 1), dim
            self.feature_info.append({"num_chs": dim, "reduction": reduction, "module": f"stages.{index}"})
        self.stages = nn.Sequential(*stages)
        self.head = NormMlpClassifierHead(dims[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.init_weights()

    def init_weights(self) -> None:
        """Truncated normal projections of std 1/√(3·fan-in), zero biases; every other module as it starts.

        Sets every parameter, so after ``to_empty()`` too.
        """
        self.apply(_init_weights)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """None by name: timm already spares vectors (norms, biases, layer scale)."""
        return set()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups for layer-wise learning rate decay."""
        fine = [(r"^stages\.(\d+)\.downsample", (0,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None)]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: recompute the blocks in the backward pass."""
        for stage in self.stages:
            cast(Stage, stage).grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None, reset_other: bool = False) -> None:
        """A fresh classifier for another number of classes; ``reset_other`` also drops the final norm."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, reset_other=reset_other, in_features=self.num_features)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Features of the chosen stages, and the final ones unless ``intermediates_only``.

        Args:
            x: images.
            indices: stages to take; the last n for a number, all for None.
            norm: accepted for timm's sake; the final norm is part of the head, so there is nothing to apply.
            stop_early: do not run stages behind the last one taken.
            output_fmt: ``"NCHW"``, the one format of this network.
            intermediates_only: return the list alone.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt {output_fmt!r} is not supported; use 'NCHW'")
        take, last = feature_take_indices(len(self.stages), indices)
        intermediates = []
        x = self.stem(x)
        for index, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x = stage(x)
            if index in take:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages behind the last of ``indices``, and the head; returns the indices kept."""
        take, last = feature_take_indices(len(self.stages), indices)
        ends_early = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        if ends_early:
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_head or ends_early:
            self.reset_classifier(0, "", reset_other=True)
        return take

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to the last stage's features (B, C, ceil(H/stride), ceil(W/stride))."""
        return self.stages(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool, normalise and classify features."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _stage_strides(stem_stride: int, output_stride: int, num_stages: int) -> list[int | None]:
    """Stride of each stage's downsampling; None for the first stage, which has none."""
    if stem_stride not in (1, 2, 4):
        raise ValueError(f"stem_stride {stem_stride} is not supported; use 1, 2 or 4")
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride {output_stride} is not supported; use 8, 16 or 32")
    reductions = [stem_stride * 2**index for index in range(num_stages)]
    return [None, *(2 if reduction <= output_stride else 1 for reduction in reductions[1:])]


def _init_weights(module: Any) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        # The usual constant 0.02 is this at a fan-in of 833; in narrow layers it would all but switch the mixers off.
        trunc_normal_(module.weight, std=(3 * module.weight[0].numel()) ** -0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif hasattr(module, "reset_parameters"):
        module.reset_parameters()


def _create(
    variant: str, pretrained: bool, *, device: Any = None, dtype: torch.dtype | None = None, **kwargs: Any
) -> DynamicSpectrumMixer:
    tagged = {name: about.model_kwargs for name, (_, about) in PACKAGED.items() if name.startswith(f"{variant}.")}
    cfg = kwargs.get("pretrained_cfg")
    if pretrained and tagged and cfg is None and not kwargs.get("pretrained_cfg_overlay"):
        raise RuntimeError(f"No pretrained weights exist for {variant} alone. Ask for {' or '.join(tagged)}.")
    options = {**VARIANTS[variant], **tagged.get(f"{variant}.{tag_of(cfg)}", {}), **kwargs}
    with nullcontext() if device is None else torch.device(device):
        model = build_model_with_cfg(
            DynamicSpectrumMixer,
            variant,
            pretrained,
            feature_cfg={"out_indices": (0, 1, 2, 3), "flatten_sequential": True},
            **options,
        )
    return model if dtype is None else model.to(dtype)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    untrained = {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.fc",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2309.06721",
        "paper_name": "Dynamic Spectrum Mixer for Visual Recognition",
    }
    return {**untrained, **kwargs}


# Depths are those of the ConvNeXt of the same name (zepto: convnext_zepto_rms), from `dsm_small` on the widths too;
# below it they are a little smaller, so that parameters and MACs at 224 are within 10 % of that ConvNeXt's.
# `dsmixer models` prints them, and which have weights; no ImageNet weights exist yet.
VARIANTS: dict[str, dict[str, Any]] = {
    "dsm_test": {"depths": (1, 1, 2, 1), "dims": (16, 32, 48, 64)},
    "dsm_zepto": {"depths": (2, 2, 4, 2), "dims": (24, 48, 112, 256)},
    "dsm_atto": {"depths": (2, 2, 6, 2), "dims": (32, 64, 144, 320)},
    "dsm_femto": {"depths": (2, 2, 6, 2), "dims": (40, 80, 176, 384)},
    "dsm_pico": {"depths": (2, 2, 6, 2), "dims": (56, 112, 240, 512)},
    "dsm_nano": {"depths": (2, 2, 8, 2), "dims": (72, 144, 304, 640)},
    "dsm_tiny": {"depths": (3, 3, 9, 3), "dims": (96, 184, 368, 768)},
    "dsm_small": {"depths": (3, 3, 27, 3), "dims": (96, 192, 384, 768)},
    "dsm_base": {"depths": (3, 3, 27, 3), "dims": (128, 256, 512, 1024)},
    "dsm_large": {"depths": (3, 3, 27, 3), "dims": (192, 384, 768, 1536)},
}

PACKAGED = read_packaged(VARIANTS)


def _reduction(depths: Any, stem_stride: Any = 4, output_stride: int = 32, **_: Any) -> int:
    return math.prod(stride or 1 for stride in _stage_strides(stem_stride, output_stride, len(depths))) * stem_stride


# The star makes the untrained network the default of its name, so that weights which ship do not change it.
_cfgs: dict[str, Any] = {
    name: _cfg(**pretrained_cfg(path, about, _reduction(**VARIANTS[about.architecture] | about.model_kwargs)))
    for name, (path, about) in PACKAGED.items()
}
default_cfgs = generate_default_cfgs({**_cfgs, **{f"{name}.untrained*": _cfg() for name in VARIANTS}})


@register_model
def dsm_test(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The smallest: for tests and small images."""
    return _create("dsm_test", pretrained, **kwargs)


@register_model
def dsm_zepto(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_zepto_rms: for small images."""
    return _create("dsm_zepto", pretrained, **kwargs)


@register_model
def dsm_atto(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_atto."""
    return _create("dsm_atto", pretrained, **kwargs)


@register_model
def dsm_femto(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_femto."""
    return _create("dsm_femto", pretrained, **kwargs)


@register_model
def dsm_pico(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_pico."""
    return _create("dsm_pico", pretrained, **kwargs)


@register_model
def dsm_nano(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_nano."""
    return _create("dsm_nano", pretrained, **kwargs)


@register_model
def dsm_tiny(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_tiny."""
    return _create("dsm_tiny", pretrained, **kwargs)


@register_model
def dsm_small(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_small."""
    return _create("dsm_small", pretrained, **kwargs)


@register_model
def dsm_base(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_base."""
    return _create("dsm_base", pretrained, **kwargs)


@register_model
def dsm_large(pretrained: bool = False, **kwargs: Any) -> DynamicSpectrumMixer:
    """The size of convnext_large."""
    return _create("dsm_large", pretrained, **kwargs)
