"""Canny edge maps of images, in loader processes and inside networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from lit_inpaint.errors import UserError

CannyLibrary = Literal["scikit-image", "kornia"]

_GRAY = (0.2125, 0.7154, 0.0721)
_LOW, _HIGH = 0.1, 0.2  # of the gradient's magnitude: scikit-image's and kornia's default


def to_gray(image: Tensor) -> Tensor:
    """Convert RGB (B, 3, H, W) to gray (B, 1, H, W) by ITU-R 709, rounded as in scikit-image's `rgb2gray`."""
    weights = torch.cat([image.new_full((1, 1, 1), weight) for weight in _GRAY])  # not copied from the host, as `new_tensor` is
    return (image * weights).sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class CannyEdges:
    """Canny's edge detector with thresholds 0.1 and 0.2 on gray images, as in knazeri/edge-connect @3142579.

    Attributes:
        sigma: standard deviation of the Gaussian filter in pixels.
        library: "scikit-image" computes on the CPU, in float32. "kornia" computes on the image's device. The two differ: of
            scikit-image's photo `astronaut` at 256x256, their edges overlap to 0.86 (intersection over union, sigma 2).

    Raises:
        UserError: `sigma` is not above 0.
    """

    sigma: float = 2.0
    library: CannyLibrary = "scikit-image"

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise UserError(f"the sigma of Canny's edges is {self.sigma}; give a number of pixels above 0, such as 2")

    @torch.no_grad()
    def __call__(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Detect edges.

        Args:
            image: (B, 3, H, W), uint8, or float in [0, 1].
            mask: (B, 1, H, W), 1 = hole. Neither the content of holes nor their borders give edges. None: no holes.

        Returns:
            (B, 1, H, W) float32, 0 or 1 (edge), on the device of `image`.
        """
        with torch.autocast(image.device.type, enabled=False):
            gray = to_gray(image.float() / 255 if image.dtype == torch.uint8 else image.float())
            known = None if mask is None else mask <= 0.5
            return (self._scikit_image if self.library == "scikit-image" else self._kornia)(gray, known)

    def _scikit_image(self, gray: Tensor, known: Tensor | None) -> Tensor:
        from skimage import feature  # imported here: most papers need no edges

        canny: Any = feature.canny  # without annotations
        images = gray[:, 0].cpu().numpy()
        masks = [None] * len(images) if known is None else known[:, 0].cpu().numpy()
        edges = [
            canny(x, self.sigma, _LOW, _HIGH, mask=None if mask is None or mask.all() else mask)
            for x, mask in zip(images, masks, strict=True)
        ]
        return torch.from_numpy(np.stack(edges)[:, None]).to(gray)

    def _kornia(self, gray: Tensor, known: Tensor | None) -> Tensor:
        from kornia.filters import canny, gaussian_blur2d  # imported here: it takes half a second

        weight = torch.ones_like(gray) if known is None else known.to(gray)
        width = 2 * int(4 * self.sigma + 0.5) + 1
        blur = partial(gaussian_blur2d, kernel_size=(width, width), sigma=(self.sigma, self.sigma), border_type="constant")
        smooth = blur(gray * weight) / (blur(weight) + torch.finfo(gray.dtype).eps)  # ignores holes, as scikit-image
        edges: Tensor = canny(smooth, _LOW, _HIGH, kernel_size=(1, 1), sigma=(1.0, 1.0))[1]
        beside_hole = max_pool2d(1 - weight, 3, stride=1, padding=1)
        inside = torch.zeros_like(weight)  # scikit-image finds no edge in the outermost pixels
        inside[..., 1:-1, 1:-1] = 1
        return edges * (1 - beside_hole) * inside
