"""ResNets, basic and bottleneck, under the key names that torchvision and timm share.

stem (7x7, or 3x3 for small images) -> stages of residual blocks, each twice as wide and half as fine as the one
before -> global average -> linear head.  With `width_per_group` 128 the bottlenecks are those of wide ResNets,
with `groups` 32 those of ResNeXt.

References
----------
He, Zhang, Ren, Sun (2016), Deep residual learning for image recognition.
Zagoruyko, Komodakis (2016), Wide residual networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from hessent.arch.activations import activation_function


@dataclass(frozen=True)
class BlockStyle:
    """What all residual blocks of one network share."""

    groups: int
    width_per_group: int
    norm_eps: float
    act: Callable[[Tensor], Tensor]
    stride_first: bool  # a bottleneck's stride on its first 1x1 convolution instead of on the 3x3

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Return a batch norm over `channels`."""
        return nn.BatchNorm2d(channels, eps=self.norm_eps)

    def downsample(self, inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
        """Return the projection of a shortcut, None where the input can be added as it is."""
        if stride == 1 and inputs == outputs:
            return None
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), self.norm(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added; `planes` channels come out."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, style: BlockStyle) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = style.norm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = style.norm(planes)
        self.downsample = style.downsample(inputs, planes, stride)
        self.act = style.act

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, planes, H / stride, W / stride)."""
        hidden = self.act(self.bn1(self.conv1(inputs)))
        hidden = self.bn2(self.conv2(hidden))
        carried = inputs if self.downsample is None else self.downsample(inputs)
        return self.act(hidden + carried)


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, around which the input is added; 4 · `planes` channels come out."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, style: BlockStyle) -> None:
        super().__init__()
        inner = planes * style.width_per_group // 64 * style.groups
        outputs = planes * self.expansion
        first, second = (stride, 1) if style.stride_first else (1, stride)
        self.conv1 = nn.Conv2d(inputs, inner, 1, stride=first, bias=False)
        self.bn1 = style.norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=second, padding=1, groups=style.groups, bias=False)
        self.bn2 = style.norm(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = style.norm(outputs)
        self.downsample = style.downsample(inputs, outputs, stride)
        self.act = style.act

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 4 · planes, H / stride, W / stride)."""
        hidden = self.act(self.bn1(self.conv1(inputs)))
        hidden = self.act(self.bn2(self.conv2(hidden)))
        hidden = self.bn3(self.conv3(hidden))
        carried = inputs if self.downsample is None else self.downsample(inputs)
        return self.act(hidden + carried)


class ResNet(nn.Module):
    """A ResNet; its parameters are the options of `hessent.arch.resnet_reading.OPTIONS`."""

    def __init__(
        self,
        *,
        block: str,
        depths: tuple[int, ...],
        width: int,
        groups: int,
        width_per_group: int,
        channels: int,
        classes: int,
        stem: str,
        stem_stride: int,
        max_pool: bool,
        strides: tuple[int, ...],
        bottleneck_stride: str,
        norm_eps: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.act = activation_function(activation)
        style = BlockStyle(groups, width_per_group, norm_eps, self.act, bottleneck_stride == "conv1")
        make_block = BasicBlock if block == "basic" else Bottleneck
        kernel = 7 if stem == "imagenet" else 3
        self.conv1 = nn.Conv2d(channels, width, kernel, stride=stem_stride, padding=kernel // 2, bias=False)
        self.bn1 = style.norm(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if max_pool else None
        self.stages: list[str] = []  # "layer1", "layer2", …
        inputs = width
        for index, (depth, stride) in enumerate(zip(depths, strides, strict=True)):
            planes = width * 2**index
            outputs = planes * make_block.expansion
            blocks = [make_block(inputs, planes, stride, style)]
            blocks += [make_block(outputs, planes, 1, style) for _ in range(depth - 1)]
            self.stages.append(f"layer{index + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, classes)."""
        hidden = self.act(self.bn1(self.conv1(images)))
        if self.maxpool is not None:
            hidden = self.maxpool(hidden)
        for stage in self.stages:
            hidden = self.get_submodule(stage)(hidden)
        logits: Tensor = self.fc(hidden.mean(dim=(2, 3)))  # global average: (B, C, H, W) -> (B, C)
        return logits
