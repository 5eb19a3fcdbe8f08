"""A local web page on which pictures are repaired with a brush: `python -m lit_inpaint.app`."""
