"""Train any paper: update order, loss weighting, stages, accumulation, freezing, step counting, several processes."""

from lit_inpaint.engine.inpainter import Inpainter

__all__ = ["Inpainter"]
