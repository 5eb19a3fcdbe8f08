"""Against the layer table of EdgeConnect's discriminator (facts_edgeconnect.md section 3)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_inpaint.nets.patch_discriminator import PatchDiscriminator


def test_parameter_counts() -> None:
    assert sum(p.numel() for p in PatchDiscriminator().parameters()) == 2_763_776
    assert sum(p.numel() for p in PatchDiscriminator(in_channels=2).parameters()) == 2_762_752


def test_layers() -> None:
    layers = list(PatchDiscriminator().layers)
    convolutions = layers[::2]
    assert [(c.in_channels, c.out_channels, c.stride) for c in convolutions] == [
        (3, 64, (2, 2)),
        (64, 128, (2, 2)),
        (128, 256, (2, 2)),
        (256, 512, (1, 1)),
        (512, 1, (1, 1)),
    ]
    assert all(c.kernel_size == (4, 4) and c.padding == (1, 1) and c.bias is None for c in convolutions)
    assert all(isinstance(layer, nn.LeakyReLU) and layer.negative_slope == 0.2 for layer in layers[1::2])
    assert len(layers) == 9
    assert not any(name.endswith("bias") for name, _ in PatchDiscriminator().named_parameters())


@pytest.mark.parametrize(("size", "logits"), [((256, 256), (30, 30)), ((24, 24), (1, 1)), ((64, 96), (6, 10))])
def test_logit_shapes(size: tuple[int, int], logits: tuple[int, int]) -> None:
    with torch.no_grad():
        assert PatchDiscriminator()(torch.rand(1, 3, *size)).shape == (1, 1, *logits)


def test_logits_are_not_bounded() -> None:
    """They are logits, not probabilities: larger image values change them without bound."""
    torch.manual_seed(0)
    net = PatchDiscriminator().eval()
    with torch.no_grad():
        assert net(1e4 * torch.randn(1, 3, 32, 32)).abs().max() > 1


def test_receptive_field_is_70_pixels() -> None:
    net = PatchDiscriminator(widths=(4, 4, 4, 4)).eval()
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    net(image)[0, 0, 15, 15].backward()
    assert image.grad is not None
    touched = image.grad.abs().sum(dim=(0, 1))
    assert (touched.sum(0) != 0).sum() == 70
    assert (touched.sum(1) != 0).sum() == 70


def test_every_convolution_has_spectral_norm_1() -> None:
    torch.manual_seed(0)
    net = PatchDiscriminator(widths=(8, 16, 32, 64)).train()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(7.0)  # so that only the parametrization makes the norm 1
        for _ in range(200):
            net(torch.zeros(1, 3, 24, 24))
        net.eval()
        norms = [float(torch.linalg.matrix_norm(c.weight.flatten(1), ord=2)) for c in net.layers[::2]]
    assert norms == pytest.approx([1.0] * 5, abs=0.01)


def test_evaluation_does_not_change_the_estimate() -> None:
    net = PatchDiscriminator(widths=(4, 4, 4, 4)).eval()
    image = torch.rand(1, 3, 32, 32)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(net(image), net(image))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_weights_start_at_a_deviation_of_2_percent() -> None:
    torch.manual_seed(0)
    for name, weight in PatchDiscriminator().requires_grad_(False).named_parameters():
        if weight.numel() > 50_000:
            assert float(weight.std()) == pytest.approx(0.02, rel=0.02), name
            assert abs(float(weight.mean())) < 0.0005, name
