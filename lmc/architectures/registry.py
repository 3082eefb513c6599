"""The networks known by name: a new one is a file, and a row here."""

from __future__ import annotations

from lmc.architectures.architecture import AbstractNetwork
from lmc.architectures.cnn import CNN
from lmc.architectures.cnn_bn import CnnBn
from lmc.architectures.gpt import GPT
from lmc.architectures.lenet import LeNet
from lmc.architectures.llama import Llama
from lmc.architectures.mlp import MLP
from lmc.architectures.recurrent import LSTM, RNN
from lmc.architectures.resnet import ResNet
from lmc.architectures.resnet20 import ResNet20
from lmc.architectures.vgg import VGG
from lmc.architectures.vit import ViT

NETWORKS: dict[str, type[AbstractNetwork]] = {
    network.name: network for network in (MLP, LeNet, CNN, CnnBn, ResNet, ResNet20, VGG, RNN, LSTM, ViT, GPT, Llama)
}
"""Name, as ``--model`` takes it, to class."""
