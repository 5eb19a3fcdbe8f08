"""The function that is exported: image and mask to the composite, padding for any size included."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.nets.cpu.layer_swap import use_torch_layers
from lit_inpaint.nets.fourier_matrices import use_matrix_products
from lit_inpaint.types import composite


class InpaintingGraph(nn.Module):
    """A paper's generator with everything around it that `Inpainter.complete` does, for tracing.

    It holds a copy of the network with torch's own layers, contiguous weights, fixed spectral norms,
    and Fourier transforms as matrix products.

    Args:
        model: the paper, on the CPU.
    """

    def __init__(self, model: Inpainter) -> None:
        super().__init__()
        network = copy.deepcopy(model).requires_grad_(False).eval()
        network.discriminator = None
        network.subsample_above = None
        for layer in list(network.modules()):
            if is_parametrized(layer):
                _fix_parameters(layer)
        use_torch_layers(network)
        use_matrix_products(network)
        self.network = network

    def forward(self, image: Tensor, mask: Tensor, edges: Tensor | None = None) -> Tensor:
        """Fill the holes.

        Args:
            image: (B, 3, H, W) in [0, 1]; what its holes hold is ignored.
            mask: (B, 1, H, W), exactly 0 or 1, 1 = hole.
            edges: (B, 1, H, W), for papers with an edge detector; see `Inpainter.edges_input`.

        Returns:
            (B, 3, H, W) in [0, 1]; known pixels keep their exact values.
        """
        network = self.network
        output = network.predict(image, mask) if edges is None else network.predict_from_edges(image, mask, edges)
        return composite(image, output.clamp(0, 1), mask)


def _fix_parameters(layer: nn.Module) -> None:
    """Replace parametrized weights by their values; torch's function would also change the class, which the original shares."""
    values = {name: getattr(layer, name).detach() for name in cast(nn.ModuleDict, layer.parametrizations)}
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    for name, value in values.items():
        layer.register_parameter(name, nn.Parameter(value, requires_grad=False))


def example_inputs(height: int, width: int, with_edges: bool, seed: int = 0) -> dict[str, Tensor]:
    """Draw images with holes of five shapes: a box, a disc, the left third, scattered pixels, none.

    Args:
        height: in pixels.
        width: in pixels.
        with_edges: also draw edge maps.
        seed: of the images and the scattered pixels.

    Returns:
        `image` (5, 3, H, W) in [0, 1], `mask` (5, 1, H, W), 1 = hole, and `edges` (5, 1, H, W), 1 = edge.
    """
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    phases = torch.rand(5, 3, 1, 1, generator=rng) * 6
    waves = 0.5 + 0.4 * torch.sin(phases + (4 + phases) * rows) * torch.cos(phases * columns)
    image = waves + 0.1 * (torch.rand(5, 3, height, width, generator=rng) - 0.5)
    holes = [
        (rows.abs() < 0.4) & (columns.abs() < 0.3),
        rows**2 + (columns - 0.2) ** 2 < 0.25,
        (rows < 2) & (columns < -1 / 3),
        torch.rand(height, width, generator=rng) < 0.1,
        (rows > 2) & (columns > 2),
    ]
    inputs = {"image": image.clamp(0, 1), "mask": torch.stack([hole.float() for hole in holes])[:, None]}
    if with_edges:
        inputs["edges"] = (torch.rand(5, 1, height, width, generator=rng) < 0.03).float()
    return inputs


HOLES = ("box", "disc", "left third", "scattered pixels", "none")
"""Names of the shapes that `example_inputs` draws, in order."""
