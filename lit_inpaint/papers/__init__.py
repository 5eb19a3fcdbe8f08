"""One file per paper; each holds one `Inpainter`."""

from lit_inpaint.papers.lpi_net import LPINet

__all__ = ["LPINet"]
