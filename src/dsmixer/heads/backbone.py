"""The pyramid of any timm model, and what heads on it share: where it starts from, how fast each layer learns."""

from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

STAGES = (-4, -3, -2, -1)  # a ResNet's features begin with its stem, at stride 2, which no head of the papers reads


def features(backbone: str, kwargs: dict[str, Any]) -> nn.Module:
    """The timm model as a list of the last four stages' features, fine to coarse; ``ValueError`` for an unknown name.

    timm's getter of features: it keeps the names of the parameters, and gives (B, C, H, W) where the model itself has
    its channels last.
    """
    if not timm.is_model(backbone.split(".", maxsplit=1)[0]):
        raise ValueError(f"backbone is {backbone!r}, which is not registered with timm; dsm_tiny is")
    return timm.create_model(backbone, features_only=True, feature_cls="getter", out_indices=STAGES, **kwargs)


class OnBackbone(nn.Module):
    """A network whose backbone, made by ``features``, lies at the place ``body``.

    ``classifier`` names the layers whose outputs are classes.
    """

    body = "backbone"
    classifier: tuple[str, ...]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers of the backbone for layer-wise learning rate decay; the rest is the last, at the full rate."""
        inner = self._model().group_matcher(coarse=coarse)
        return {name: _below(f"{self.body}.model", patterns) for name, patterns in inner.items()}

    def no_weight_decay(self) -> set[str]:
        """What the backbone spares."""
        return {f"{self.body}.model.{name}" for name in getattr(self._model(), "no_weight_decay", set)()}

    def start_backbone(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Load a whole timm model's weights, such as a classifier's, into its features; the classifier is left out.

        ``path`` is where they come from, for the ``ValueError`` where they do not fit.
        """
        model = self._model()
        for key, tensor in model.state_dict().items():
            found = tensors.get(key)
            if found is None or found.shape != tensor.shape:
                there = "missing" if found is None else f"of shape {tuple(found.shape)}"
                raise ValueError(
                    f"{path} does not fit this backbone: {key}, of shape {tuple(tensor.shape)}, is {there}"
                )
        model.load_state_dict({key: tensors[key] for key in model.state_dict()})

    def _model(self) -> Any:
        return self.get_submodule(f"{self.body}.model")


def _below(place: str, patterns: Any) -> Any:
    """timm's patterns, one or a list of (pattern, order), anchored at the backbone's place."""
    if isinstance(patterns, str):
        return rf"^{place.replace('.', '[.]')}\.(?:{patterns.replace('^', '')})"  # the pattern may be an alternative
    return [(_below(place, pattern), order) for pattern, order in patterns]
