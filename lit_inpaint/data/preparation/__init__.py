"""Data sets checked picture by picture and shrunk once, so that no run meets a broken file or shrinks large ones anew.

The output folder holds `train/`, `val/` and `test/` as the data set tells them apart, `report.csv` with a line for each
picture, and `lists.json` with what the splits are and how they were made. A picture appears whole or not at all, and its line
is written after it, so a preparation that was ended in whatever way goes on where it was.
"""

from lit_inpaint.data.preparation.file_checks import LEFT_OUT, TAKEN
from lit_inpaint.data.preparation.file_report import PreparationSummary
from lit_inpaint.data.preparation.prepare_folder import prepare
from lit_inpaint.data.preparation.resize_options import ResizeOptions, shorter_side

__all__ = ["LEFT_OUT", "TAKEN", "PreparationSummary", "ResizeOptions", "prepare", "shorter_side"]
