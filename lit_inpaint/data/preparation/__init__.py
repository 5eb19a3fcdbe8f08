"""Check every image of a data set, and write resized copies for faster reading.

The output folder has one folder per split (`train/`, `val/`, `test/`), `report.csv` with one line per image, and `splits.json`
with the splits and the options. An image file is written atomically and before its line, so an interrupted preparation resumes.
"""

from lit_inpaint.data.preparation.file_checks import UNUSABLE, UNUSUAL
from lit_inpaint.data.preparation.file_report import PreparationSummary
from lit_inpaint.data.preparation.prepare_folder import prepare
from lit_inpaint.data.preparation.resize_options import ResizeOptions, required_shorter_side

__all__ = ["UNUSABLE", "UNUSUAL", "PreparationSummary", "ResizeOptions", "prepare", "required_shorter_side"]
