"""PyTorch models for the tests, built by callables as a person would write them. Imported only where torch is."""

from __future__ import annotations

import torch
from torch import nn


class Recurrent(nn.Module):
    """Two LSTM layers and a head over the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, series):
        return self.head(self.lstm(series)[0][:, -1])


class Bessel(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x):
        return torch.special.bessel_j0(x)


@torch.library.custom_op("yard::twist", mutates_args=())
def twist(x: torch.Tensor) -> torch.Tensor:
    """A custom operator."""
    return x.flip(-1).clone()


@twist.register_fake
def _(x):
    return torch.empty_like(x)


class Twist(nn.Module):
    """Calls a custom operator."""

    def forward(self, x):
        return torch.ops.yard.twist(x)


class Branch(nn.Module):
    """Does one of two things, as the data says."""

    def forward(self, x):
        return x * 2 if x.mean() > 0.25 else x - 1


class Liar(nn.Module):
    """Answers one thing while it is captured, and another when it runs."""

    def forward(self, x):
        return x + (1.0 if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export() else 1.5)


class Two(nn.Module):
    """Two inputs, a dictionary of outputs."""

    def forward(self, left, right):
        return {"sum": left + right, "difference": left - right}


def lstm():
    torch.manual_seed(1)
    return Recurrent(), torch.rand(1, 20, 8)


def unsupported():
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(3, 3, 3))
    net.add_module("odd", Bessel())
    net.add_module("first_twist", Twist())
    net.add_module("second_twist", Twist())
    return net, torch.rand(1, 3, 16, 16)


def branching():
    return nn.Sequential(Branch()), torch.rand(1, 3, 8, 8)


def lying():
    return Liar(), torch.rand(1, 3, 8, 8)


def two():
    return Two(), (torch.rand(1, 4), torch.rand(1, 4))


def shapeless():
    return nn.Conv2d(3, 4, 3)


def raising():
    raise KeyError("no such backbone")


def a_number():
    return 7


not_callable = 7
