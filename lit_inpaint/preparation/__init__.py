"""Data sets checked picture by picture and shrunk once, so that no run meets a broken file or shrinks large ones anew.

The output folder holds `train/`, `val/` and `test/` as the data set tells them apart, `report.csv` with a line for each
picture, and `lists.json` with what the splits are and how they were made. A picture appears whole or not at all, and its line
is written after it, so a preparation that was ended in whatever way goes on where it was.
"""

from lit_inpaint.preparation.folder import prepare
from lit_inpaint.preparation.oddities import LEFT_OUT, TAKEN
from lit_inpaint.preparation.recipe import Recipe, shorter_side
from lit_inpaint.preparation.report import Tally

__all__ = ["LEFT_OUT", "TAKEN", "Recipe", "Tally", "prepare", "shorter_side"]
