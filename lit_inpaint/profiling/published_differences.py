"""Explain differences between the costs of our networks and published ones, in a line for each network.

Keys are the names of `published_as`. Module docstrings in `lit_inpaint.papers` have the details.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NOTES: Mapping[str, str] = MappingProxyType(
    {
        "LPI": "The paper gives no widths. With those of MobileNetV2, whose block it uses, the count is 0.8 % above the paper.",
        "LPI-Large": "As LPI; 0.4 % above the paper.",
        "WaveMix": (
            "The paper's 14 M is the output of torchsummary, which counts the last of 4 modules twice: 5 x 2.734 M = 13.67 M. "
            "Published images/s: 96x96, batches of 40, one NVIDIA 1080."
        ),
        "LaMa": "Published images/s: 96x96, batches of 40, one NVIDIA 1080.",
        "Custom CNN": "Published images/s: 96x96, batches of 40, one NVIDIA 1080.",
        "EdgeConnect": (
            "Published by LPI-Net's authors: parameters and file of one of two generators. They are the edge generator's, with "
            "10,761,089 = 10.26 x 2^20 parameters; the inpainting generator has 10,774,595."
        ),
        "CA": (
            "Both generators together. LPI-Net's authors print 2.9 (x2), but their file of 13.8 MB holds 3.6 M parameters: "
            "those of both generators. 2.9 x 2^20 is the count of neither, 1.4 and 2.2 x 10^6."
        ),
        "GLCIC": "Published by LPI-Net's authors; their file of 46.3 MB is twice the weights.",
        "PConv": (
            "Published by LPI-Net's authors, of an unofficial implementation. 393 x 10^6 bytes are 12 per parameter, as "
            "for weights and both moments of Adam; the file here holds the weights alone."
        ),
        "PEPSI": "Published by part, in a report that reproduces the paper; the generator is encoder, attention and decoder.",
        "PEPSI depthwise-separable": "As PEPSI.",
        "Diet-PEPSI": (
            "The paper states about 30 % fewer parameters than PEPSI's generator; here 34 %, with a scale and a shift for each "
            "pair of channels. It gives neither a count nor, in the parts available, the shapes."
        ),
    }
)
