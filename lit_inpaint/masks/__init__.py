"""Where holes come from: each source is a frozen dataclass of options, called as `source((H, W), rng) -> (1, H, W)`.

A mask is a pure function of the size and of the generator's state. It holds exactly 0 and 1, and 1 marks a hole.
"""

from lit_inpaint.masks.base import MaskSource, hole_share
from lit_inpaint.masks.boxes import Boxes
from lit_inpaint.masks.cellular_automaton import CellularAutomaton
from lit_inpaint.masks.centre import Centre
from lit_inpaint.masks.crossed_strokes import CrossedStrokes
from lit_inpaint.masks.damage_ratio import DamageRatio
from lit_inpaint.masks.free_form import FreeForm
from lit_inpaint.masks.from_folder import FromFolder, read_mask
from lit_inpaint.masks.mixture import Mixture

__all__ = [
    "Boxes",
    "CellularAutomaton",
    "Centre",
    "CrossedStrokes",
    "DamageRatio",
    "FreeForm",
    "FromFolder",
    "MaskSource",
    "Mixture",
    "hole_share",
    "read_mask",
]
