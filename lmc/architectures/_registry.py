"""The networks known by name: a new one is a file, and a row here."""

from __future__ import annotations

from lmc.architectures._architecture import AbstractNetwork
from lmc.architectures._cnn_bn import CnnBn
from lmc.architectures._gpt import GPT
from lmc.architectures._lenet import LeNet
from lmc.architectures._mlp import MLP
from lmc.architectures._recurrent import LSTM, RNN
from lmc.architectures._resnet20 import ResNet20
from lmc.architectures._vit import ViT

NETWORKS: dict[str, type[AbstractNetwork]] = {
    network.name: network for network in (MLP, LeNet, CnnBn, ResNet20, RNN, LSTM, ViT, GPT)
}
"""Name, as ``--model`` takes it, to class."""
