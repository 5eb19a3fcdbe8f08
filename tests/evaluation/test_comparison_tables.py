import csv
import io

import pytest

from lit_inpaint.evaluation.comparison_tables import MARK, build_table, images_csv, print_table, to_csv, to_latex, to_markdown
from lit_inpaint.metrics import LPI, DistributionScore, ScoreRow, find_protocol
from lit_inpaint.published import PublishedTable


def rows(values: dict[str, tuple[float | None, ...]], bucket: str = "10-20%") -> list[ScoreRow]:
    """Rows of PSNR, SSIM and L1 in one bucket, with intervals of ± 1 %."""
    return [
        {
            "method": method,
            "protocol": "lpi",
            "bucket": bucket,
            "metric": metric.name,
            "value": value,
            "n": 3,
            "low": None if value is None else 0.99 * value,
            "high": None if value is None else 1.01 * value,
            "nan": 2 if value is None else 0,
        }
        for method, column in values.items()
        for metric, value in zip(LPI.metrics, column, strict=True)
    ]


PUBLISHED = PublishedTable(
    name="paper_set",
    source="Someone, table 1",
    dataset="Set",
    size=256,
    n=100,
    masks="holes",
    note="",
    units={"psnr": "dB", "ssim": "", "fid": ""},
    figures={"Published A": {"10-20%": {"psnr": 99.5, "ssim": 0.9}}, "Published B": {"10-20%": {"psnr": 9.25, "fid": 1.0}}},
)
FOUND = rows({"A_1": (20.0, 0.5, 3.0), "B|2": (21.0, 0.5, 2.0), "C": (None, 0.4, 4.0)})
TABLE = build_table(FOUND, LPI, "Title & more", ["50 % of it"], published=[PUBLISHED])


def test_the_best_evaluated_method_is_marked_not_a_published_one() -> None:
    lines = {line.method: line for line in TABLE.sections[0].lines}
    assert list(lines) == ["A_1", "B|2", "C", f"Published A {MARK}", f"Published B {MARK}"]
    assert [cell.best for cell in lines["A_1"].cells] == [False, True, False]  # equal: both
    assert [cell.best for cell in lines["B|2"].cells] == [True, True, True]
    assert [cell.text for cell in lines["C"].cells] == ["NaN (2)", "0.400", "4.000"]
    assert [cell.text for cell in lines[f"Published A {MARK}"].cells] == ["99.50", "0.9", "-"]
    assert [cell.text for cell in lines[f"Published B {MARK}"].cells] == ["9.25", "-", "-"]
    assert not any(cell.best for method in (f"Published A {MARK}", f"Published B {MARK}") for cell in lines[method].cells)
    alone = build_table(rows({"A": (20.0, 0.5, 3.0)}), LPI, "")
    assert not any(cell.best for cell in alone.sections[0].lines[0].cells)
    assert [(section.label, section.n) for section in TABLE.sections][:2] == [("10-20%", 5), ("20-30%", 0)]


def test_all_samples_have_a_row_and_those_outside_the_buckets_one_if_there_are_any() -> None:
    def sections(found: list[ScoreRow], protocol: str = "lpi") -> list[tuple[str, int]]:
        return [(section.label, section.n) for section in build_table(found, find_protocol(protocol), "").sections]

    empty = [(label, 0) for label in LPI.labels]
    everything = rows({"A": (20.0, 0.5, 3.0)}, "all")
    assert sections(everything) == [*empty, ("all", 3)]
    assert sections([*rows({"A": (20.0, 0.5, 3.0)}, "outside"), *everything]) == [*empty, ("outside", 3), ("all", 3)]
    assert sections(everything, "deepgin") == [("all", 3)]
    perfect: ScoreRow = {**everything[0], "value": None, "n": 0, "infinite": 4}
    assert sections([perfect]) == [*empty, ("all", 4)], "infinite scores are samples too"


def test_distribution_metrics_have_their_own_column_and_section() -> None:
    fid = DistributionScore("fid_3", "", False, 7.0, 3, 3)
    kid: ScoreRow = {
        "method": "A_1",
        "protocol": "lpi",
        "bucket": "all",
        "metric": "fid_3",
        "value": 7.0,
        "n": 3,
        "std": 0.25,
    }
    table = build_table([*FOUND, *rows({"A_1": (20.0, 0.5, 3.0)}, "all"), kid], LPI, "", distribution_scores=[fid])
    assert [section.label for section in table.sections] == [*LPI.labels, "all"]
    assert table.columns[-1].heading == "FID_3"
    assert table.sections[0].lines[0].cells[-1].text == "-"
    cell = table.sections[-1].lines[0].cells[-1]
    assert (cell.text, cell.interval) == ("7.000", "± 0.250")


@pytest.mark.parametrize(("column", "text"), [("fid", "1.0"), ("fid_100", "1.0"), ("fid_99", "-")])
def test_a_published_fid_of_as_many_images_stands_in_the_column_of_that_number(column: str, text: str) -> None:
    fid = DistributionScore(column, "", False, 7.0, 3, 3)
    table = build_table(FOUND, LPI, "", distribution_scores=[fid], published=[PUBLISHED])
    (line,) = (line for line in table.sections[0].lines if line.method == f"Published B {MARK}")
    assert line.cells[-1].text == text


def test_print_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(TABLE)
    printed = capsys.readouterr().out
    assert "Title & more; * = best" in printed
    assert "21.00*" in printed
    assert "no samples" in printed
    assert printed.splitlines()[-1] == "50 % of it"


def test_markdown() -> None:
    lines = to_markdown(TABLE).splitlines()
    assert lines[2] == "| mask ratio | n | method | PSNR dB | SSIM | L1 % |"
    assert lines[4] == "| 10-20% | 5 | A_1 | 20.00 [19.80, 20.20] | **0.500** [0.495, 0.505] | 3.000 [2.970, 3.030] |"
    assert lines[5].startswith(r"|  |  | B\|2 | **21.00** ")
    assert lines[9] == "| 20-30% | 0 | no samples | - | - | - |"
    assert len({line.replace(r"\|", "").count("|") for line in lines if line.startswith("|")}) == 1
    assert "- 50 % of it" in lines


def test_latex() -> None:
    text = to_latex(TABLE)
    assert r"\caption{Title \& more; in bold the best. 50 \% of it.}" in text
    assert r"\multicolumn{3}{c}{10-20\% ($n=5$)}" in text
    (line,) = (line for line in text.splitlines() if line.startswith(r"A\_1"))
    assert line == r"A\_1 & 20.00 & \textbf{0.500} & 3.000" + " & -" * 12 + r" \\"
    assert r"\midrule" + "\n" + r"Published A $\dagger$ & 99.50" in text
    rows_of_cells = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count("&") for line in rows_of_cells} == {15}
    assert text.count("{") == text.count("}")


def test_csv_round_trip() -> None:
    found = list(csv.DictReader(io.StringIO(to_csv([*FOUND, {"method": "x, y", "value": 1 / 3, "source": "paper"}]))))
    assert [line["method"] for line in found[::3]] == ["A_1", "B|2", "C", "x, y"]
    assert (float(found[-1]["value"]), found[-1]["source"], found[0]["source"]) == (1 / 3, "paper", "")
    assert (found[6]["value"], found[6]["nan"]) == ("", "2")


def test_images_csv_round_trip() -> None:
    text = images_csv(["a, b", "c"], [0.1, 1 / 3], ["10-20%", "outside"], {"m psnr": [20.0, float("inf")]})
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"name": "a, b", "mask_ratio": "0.1", "bucket": "10-20%", "m psnr": "20.0"},
        {"name": "c", "mask_ratio": repr(1 / 3), "bucket": "outside", "m psnr": "inf"},
    ]


def test_a_file_gets_the_full_width(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    name = "A method with quite a long name " * 4
    in_all_buckets = [row for bucket in LPI.labels for row in rows({name: (3.0, 3.0, 3.0)}, bucket)]
    print_table(build_table(in_all_buckets, LPI, "title"))
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines if line.startswith(("│", "├", "┃"))}) == 1
    assert sum(name.strip() in line for line in lines) == 4
