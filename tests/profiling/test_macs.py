import pytest
import torch
from torch import nn

from lit_inpaint.papers import DeepFillV1, DeepFillV2, LPINet
from lit_inpaint.profiling.macs import count_params_macs


def test_macs_against_a_count_by_hooks() -> None:
    model = LPINet(blocks=1)
    counted = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d)
        per_pixel = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        counted += output.numel() * per_pixel

    measured = count_params_macs(model, 48).macs
    for module in model.generator.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.rand(1, 3, 48, 48), torch.zeros(1, 1, 48, 48))
    assert measured == counted > 0


@pytest.mark.parametrize("paper", [DeepFillV1, DeepFillV2])
def test_the_two_networks_of_deepfill_are_counted_apart(paper: type[DeepFillV1] | type[DeepFillV2]) -> None:
    """Table 3 of LPI-Net gives the parameters of one of two networks, so `cost` shows those of each."""
    model = paper(width=8, discriminator_width=4)
    parts = dict(count_params_macs(model, 64).parts)
    assert list(parts) == ["coarse", "refinement", "discriminator", "total"]
    assert parts["coarse"] == sum(p.numel() for p in model.generator.coarse.parameters())
    assert parts["coarse"] + parts["refinement"] == sum(p.numel() for p in model.generator.parameters())
