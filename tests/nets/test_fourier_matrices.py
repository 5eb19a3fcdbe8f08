import pytest
import torch
from torch import nn
from torch.export import Dim

from lit_inpaint.engine.any_size import pad_to_multiple
from lit_inpaint.exporting.formats import run_onnx, to_onnx
from lit_inpaint.exporting.trace import any_deep_size
from lit_inpaint.nets.fourier_convolution import FourierUnit, from_spectrum, to_spectrum
from lit_inpaint.nets.fourier_matrices import MatrixFourierUnit, from_matrix_spectrum, matrix_spectrum, use_matrix_products
from lit_inpaint.nets.padding import reflect_pad


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (6, 9), (3, 2), (32, 31)])
def test_matrix_products_equal_the_fast_transforms(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    spectrum = to_spectrum(x)
    torch.testing.assert_close(matrix_spectrum(x), spectrum)
    other = torch.randn_like(spectrum)  # no transform of real numbers, as after a layer's convolution
    torch.testing.assert_close(from_matrix_spectrum(other, size[1]), from_spectrum(other, size))


def test_a_unit_keeps_its_function_and_weights() -> None:
    torch.manual_seed(0)
    unit = FourierUnit(4).eval()
    x = torch.randn(1, 4, 24, 17)
    expected, names = unit(x), list(unit.state_dict())
    use_matrix_products(unit)
    assert type(unit) is MatrixFourierUnit
    assert list(unit.state_dict()) == names
    torch.testing.assert_close(unit(x), expected, atol=2e-6, rtol=0)


def test_onnx_takes_them_at_any_size() -> None:
    """With the padding before it, as in a network's graph; by PyTorch, a remainder by a free number is not converted."""

    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x, _ = pad_to_multiple(x, x, 4, 8, "symmetric")
            x = reflect_pad(x, 9)
            return from_matrix_spectrum(matrix_spectrum(x), x.shape[-1])

    free = {2: Dim("height", min=4), 3: Dim("width", min=4)}
    with torch.no_grad(), any_deep_size():
        program = torch.export.export(Twice(), (torch.rand(1, 1, 21, 13),), dynamic_shapes=({0: None, 1: None} | free,))
    run = run_onnx(to_onnx(program, None, {})[0])
    for size in ((5, 30), (32, 7)):
        x = torch.rand(1, 1, *size)
        padded = reflect_pad(pad_to_multiple(x, x, 4, 8, "symmetric")[0], 9)
        torch.testing.assert_close(run({"x": x}), padded, atol=1e-5, rtol=0)
