"""Names of the images in each split."""

from lit_inpaint.data.splits import Splits


def stems(splits: Splits) -> list[list[str]]:
    """Return the file stems of train, val and test."""
    return [[path.stem for path in files] for files in (splits.train, splits.val, splits.test)]
