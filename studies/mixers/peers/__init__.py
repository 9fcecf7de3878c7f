"""The peers, each the token mixer that its paper defines: our words, or timm's module where it has one."""

from studies.mixers.frame import Mixer
from studies.mixers.peers import attention, convolution, mlp, spectral

PEERS: dict[str, Mixer] = convolution.PEERS | attention.PEERS | mlp.PEERS | spectral.PEERS
