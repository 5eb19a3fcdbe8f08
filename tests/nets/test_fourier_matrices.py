import pytest
import torch

from lit_inpaint.nets.fourier_convolution import FourierUnit, from_spectrum, to_spectrum
from lit_inpaint.nets.fourier_matrices import MatrixFourierUnit, from_matrix_spectrum, matrix_spectrum, use_matrix_products


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
