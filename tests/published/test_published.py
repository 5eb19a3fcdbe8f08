import inspect
from collections.abc import Mapping
from typing import Any

import pytest

from lit_inpaint import data, masks
from lit_inpaint.papers import LPINet
from lit_inpaint.published import PublishedTable, cost_figure, quality_tables, tables


def table(name: str) -> PublishedTable:
    return {found.name: found for found in tables()}[name]


def test_tables_have_unique_names_a_source_and_a_unit_for_each_number() -> None:
    assert len({found.name for found in tables()}) == len(tables()) >= 3
    for found in tables():
        assert found.source
        for method, buckets in found.figures.items():
            for bucket, figures in buckets.items():
                for metric in figures:
                    figure = found.figure(method, metric, bucket)
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
    method, metric, bucket, value = where
    figure = found.figure(method, metric, bucket)
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


def test_lpi_nets_table_3_is_complete() -> None:
    """The parameters of two-stage networks are those of each generator, "x2"; the last column is the network type."""
    cost = table("lpi_cost")
    assert {method: row["all"].get("generators") for method, row in cost.figures.items() if "generators" in row["all"]} == {
        "CA": 2,
        "EdgeConnect": 2,
    }
    assert cost.network_types.keys() == cost.figures.keys()
    assert cost.network_types["CA"] == "Two-stage GAN"


@pytest.mark.parametrize("name", ["lpi_places2", "lpi_celeba"])
def test_lpi_nets_notes_say_that_edgeconnect_measures_gray_images_in_windows_of_51(name: str) -> None:
    assert "EdgeConnect's public code measures gray images, SSIM in windows of 51x51 pixels" in table(name).note


def test_better_numbers_for_smaller_holes() -> None:
    """Detects most copying errors: they would break the order of the columns."""
    for name in ("lpi_places2", "lpi_celeba"):
        for buckets in table(name).figures.values():
            columns = [buckets[bucket] for bucket in sorted(buckets)]
            assert [c["psnr"] for c in columns] == sorted((c["psnr"] for c in columns), reverse=True)
            assert [c["ssim"] for c in columns] == sorted((c["ssim"] for c in columns), reverse=True)
            assert [c["l1"] for c in columns] == sorted(c["l1"] for c in columns)


def test_quality_tables_record_the_data_set_the_size_and_the_masks() -> None:
    """As classes and options, so that an evaluation can be compared with them."""
    for found in tables():
        assert (found.data_class is None) == (found.dataset is None)
        if found.data_class is not None:
            parameters = inspect.signature(getattr(data, found.data_class)).parameters
            assert found.data_options.keys() <= parameters.keys()
            assert found.size == "native" or isinstance(found.size, int)
            for sources in found.mask_sources:
                for source in sources:
                    require_mask_source(source)


def require_mask_source(options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(getattr(masks, options["class"])).parameters
    assert options.keys() - {"class"} <= parameters.keys()
    for source in options.get("sources", ()):
        require_mask_source(source)


def test_only_wavemixs_random_masks_cannot_be_had() -> None:
    assert [found.name for found in tables() if found.data_class and not found.mask_sources] == ["wavemix_stl10"]


def test_deepgins_table_2_is_one_table_for_each_data_set_set_of_masks_and_size() -> None:
    found = {table.name: table for table in quality_tables("deepgin")}
    assert len(found) == 1 + 2 * 2 * 2
    for name, quality in found.items():
        if name != "deepgin_celebahq":
            assert quality.size == ("native" if name.endswith("_os") else 256)
            assert list(quality.figures) == ["DeepFillv1", "DeepFillv2", "DeepGIN"]
    figure = found["deepgin_oxford_three_masks_256"].figure("DeepGIN", "psnr")
    assert figure is not None
    assert figure.value == 23.6


def test_deepgins_l1_cannot_be_of_whole_images() -> None:
    """No mean absolute error exceeds the root mean square error; why its key is l1_hole."""
    checked = 0
    for found in quality_tables("deepgin"):
        for buckets in found.figures.values():
            figures = buckets["all"]
            if "l1_hole" in figures:
                checked += 1
                assert figures["l1_hole"] > 1.4 * 100 * 10 ** (-figures["psnr"] / 20)
    assert checked == 30


def test_captions() -> None:
    caption = table("lpi_celeba").caption
    assert caption.endswith(
        "ICONIP 2020, table 2: CelebA, test; n = 10,000, 256 px; masks: PConv's irregular masks, by mask ratio"
    )
    assert "n is not stated" in table("wavemix_8x8").caption


def test_not_comparable_names_metrics_of_the_table() -> None:
    reasons = {found.name: found.not_comparable for found in tables() if found.not_comparable}
    assert all("lpips" in of_table for of_table in reasons.values())
    assert all(set(found.not_comparable) <= set(found.units) for found in tables())
    assert len(reasons) == 9


def test_epoch_times_have_their_setting() -> None:
    timed = [found for found in tables() if found.training is not None]
    assert [(found.name, found.training) for found in timed] == [("wavemix_cost", {"images": 80_000, "size": 96, "batch": 40})]
    assert {found.name for found in tables() if "epoch" in found.units} == {"wavemix_cost"}
