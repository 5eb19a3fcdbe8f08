import torch
from torch.utils.data import DataLoader

from lit_inpaint.reporting.worst_and_best import evaluate_examples


class Doubling:
    """A model whose error in the hole is the image's own value."""

    def predict(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return 2 * image


def test_extremes_of_all_batches() -> None:
    """Sample k is wrong by a tenth of the number in its name; NaN is the worst."""
    levels = [3.0, 1.0, float("nan"), 4.0, 0.5, 5.0, 2.0]
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1
    samples = [{"image": torch.full((3, 16, 16), level / 10), "mask": mask, "name": str(level)} for level in levels]
    loader = DataLoader(samples, batch_size=4)
    for count, bad, good in ((2, ["nan", "5.0"], ["0.5", "1.0"]), (5, ["nan", "5.0", "4.0", "3.0", "2.0"], ["0.5", "1.0"])):
        worst, best, total = evaluate_examples(Doubling(), loader, count, torch.device("cpu"))
        assert ([example.name for example in worst], [example.name for example in best], total) == (bad, good, 7)
    assert worst[1].scores["mask_ratio"] == 0.5
    assert worst[1].composite.getpixel((0, 0)) == (255, 255, 255)
    assert worst[1].composite.getpixel((15, 0)) == worst[1].target.getpixel((15, 0)) == (128, 128, 128)
