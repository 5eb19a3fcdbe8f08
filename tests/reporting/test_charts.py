from lit_inpaint.reporting.charts import Chart, Line

NAN = float("nan")


def test_long_lines_are_averaged() -> None:
    points = tuple((step, float(step % 2)) for step in range(5000))
    shown = Chart("loss", [Line("run", 0, points)]).data["lines"][0]["points"]
    assert len(shown) <= 800
    assert shown[-1][0] == 4999
    assert all(0.3 < value < 0.7 for _, value in shown)


def test_coordinates() -> None:
    """The value range gets a margin of 6 % at each end; steps begin at 0."""
    chart = Chart("loss", [Line("run", 0, ((0, 1.0), (100, 3.0)))])
    assert chart.lines[0].path == "M62.0,208.8L466.0,21.3"
    assert chart.lines[0].dots == [("62.0", "208.8"), ("466.0", "21.3")]
    assert [label for _, label in chart.x_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert chart.y_ticks == [("208.8", "1"), ("161.9", "1.5"), ("115.0", "2"), ("68.1", "2.5"), ("21.3", "3")]


def test_gaps() -> None:
    chart = Chart("loss", [Line("run", 0, ((0, 1.0), (1, NAN), (2, 1.0), (3, 2.0)))])
    assert chart.lines[0].path.count("M") == 2
    assert chart.lines[0].path.count("L") == 1
    assert chart.data["lines"][0]["points"] == [[0, 1.0], [1, None], [2, 1.0], [3, 2.0]]
    assert Chart("loss", [Line("run", 0, ((0, NAN),))]).lines[0].path == ""


def test_marks_are_vertical_lines_with_the_text_inside() -> None:
    marks = [(20, "rate 0.1"), (80, "rate 0.01"), (500, "never")]
    chart = Chart("loss", [Line("run", 0, ((0, 1.0), (100, 3.0)))], marks=marks)
    assert chart.marks == [("142.8", "start", "rate 0.1"), ("385.2", "end", "rate 0.01")]


def test_more_lines_than_colors_are_dashed() -> None:
    chart = Chart("loss", [Line(f"run {number}", number, ((0, 1.0),)) for number in range(9)])
    assert [line.css for line in chart.lines[-2:]] == ["c7", "c0 dashed"]


def test_the_last_step_fits_beside_the_axis() -> None:
    chart = Chart("loss", [Line("run", 0, ((0, 1.0), (1_000_000, 3.0)))])
    x, label = chart.x_ticks[-1]
    assert label == "1,000,000"
    assert float(x) + 7 / 2 * len(label) <= Chart.width  # digits of the page are up to 7 wide
