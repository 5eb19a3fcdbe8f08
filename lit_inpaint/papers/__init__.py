"""One file per paper; each holds one `Inpainter`."""

from lit_inpaint.papers.context_encoder import ContextEncoder
from lit_inpaint.papers.deepfill_v1 import DeepFillV1
from lit_inpaint.papers.deepfill_v2 import DeepFillV2
from lit_inpaint.papers.deepgin import DeepGIN
from lit_inpaint.papers.edgeconnect import EdgeConnect
from lit_inpaint.papers.glcic import GLCIC
from lit_inpaint.papers.lama import LaMa
from lit_inpaint.papers.lpi_net import LPINet
from lit_inpaint.papers.pconv import PConv
from lit_inpaint.papers.pepsi import PEPSI
from lit_inpaint.papers.residual_unet import ResidualUNet
from lit_inpaint.papers.unet import UNet
from lit_inpaint.papers.wavemix import WaveMix

__all__ = [
    "GLCIC",
    "PEPSI",
    "ContextEncoder",
    "DeepFillV1",
    "DeepFillV2",
    "DeepGIN",
    "EdgeConnect",
    "LPINet",
    "LaMa",
    "PConv",
    "ResidualUNet",
    "UNet",
    "WaveMix",
]
