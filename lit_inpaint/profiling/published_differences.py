"""Why a number of `python -m lit_inpaint.cost` is not the one that the paper prints, in a line for each network.

Keys are the names of `published_as`. The heads of the files in `lit_inpaint.papers` say more.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NOTES: Mapping[str, str] = MappingProxyType(
    {
        "LPI": "The paper gives no widths. MobileNetV2's, whose block it uses, come nearest to its counts: 0.8 % above them.",
        "LPI-Large": "As LPI; 0.4 % above the paper's count.",
        "WaveMix": (
            "The paper's 14 M is torchsummary's print-out, which counts the last of four modules twice: 5 x 2.734 M = 13.67 M. "
            "Published images/s: 96x96, batches of 40, one NVIDIA 1080."
        ),
        "Custom CNN": "Published images/s: 96x96, batches of 40, one NVIDIA 1080.",
        "PConv": (
            "Published by LPI-Net's authors, of an unofficial implementation. 393 x 10^6 bytes are 12 for each "
            "parameter, as for weights and both moments of Adam; here the file holds the weights alone."
        ),
        "PEPSI": "Published part by part in a report that reproduces it; the generator is encoder, attention and decoder.",
        "PEPSI depthwise-separable": "As PEPSI.",
        "Diet-PEPSI": (
            "The paper says about 30 % fewer than PEPSI's generator; here 34 %, with a scale and a shift for each pair of "
            "channels. It gives no count, and what could be read does not say which shape these have."
        ),
    }
)
