import pytest

from lit_inpaint.papers import LPINet
from lit_inpaint.published import PublishedTable, cost_figure, tables


def table(name: str) -> PublishedTable:
    return {found.name: found for found in tables()}[name]


def test_tables_have_unique_names_a_source_and_a_unit_for_each_number() -> None:
    assert len({found.name for found in tables()}) == len(tables()) >= 3
    for found in tables():
        assert found.source
        for method, buckets in found.figures.items():
            for bucket, figures in buckets.items():
                for measure in figures:
                    figure = found.figure(method, measure, bucket)
                    assert figure is not None
                    assert figure.value > 0


@pytest.mark.parametrize(
    ("name", "methods", "where"),
    [("lpi_places2", 6, ("LPI", "l1", "40-50%", 3.91)), ("lpi_celeba", 5, ("LPI-Large", "psnr", "10-20%", 37.03))],
)
def test_quality_tables_of_lpi_net(name: str, methods: int, where: tuple[str, str, str, float]) -> None:
    found = table(name)
    assert (len(found.figures), found.n, found.size) == (methods, 10_000, 256)
    assert all(
        set(buckets) == {"10-20%", "20-30%", "30-40%", "40-50%"}
        and all(set(row) == {"psnr", "ssim", "l1"} for row in buckets.values())
        for buckets in found.figures.values()
    )
    method, measure, bucket, value = where
    figure = found.figure(method, measure, bucket)
    assert figure is not None
    assert figure.value == value


def test_cost_of_lpi_net() -> None:
    assert set(LPINet.published_as) <= set(table("lpi_cost").figures)
    figure = cost_figure("lpi_net", "LPI", "parameters")
    assert figure is not None
    assert (figure.value, figure.unit) == (1.67, "2^20")
    assert "table 3" in figure.source
    assert cost_figure("lpi_net", "LPI", "latency") is None
    assert cost_figure("lpi_net", "Nobody", "parameters") is None
    assert cost_figure("no_such_paper", "LPI", "parameters") is None


def test_better_numbers_for_smaller_holes() -> None:
    """A slip of a digit while copying would most likely break the order of the columns."""
    for name in ("lpi_places2", "lpi_celeba"):
        for buckets in table(name).figures.values():
            columns = [buckets[bucket] for bucket in sorted(buckets)]
            assert [c["psnr"] for c in columns] == sorted((c["psnr"] for c in columns), reverse=True)
            assert [c["ssim"] for c in columns] == sorted((c["ssim"] for c in columns), reverse=True)
            assert [c["l1"] for c in columns] == sorted(c["l1"] for c in columns)
