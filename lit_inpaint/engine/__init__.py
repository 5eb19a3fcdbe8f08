"""Training engine: update order, loss weighting, accumulation, freezing, step counting, several processes."""

from lit_inpaint.engine.inpainter import Inpainter

__all__ = ["Inpainter"]
