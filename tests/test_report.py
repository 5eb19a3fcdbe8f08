import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
import yaml
from PIL import Image
from run_directories import SCORES, STEPS, write_run

from lit_inpaint import report
from lit_inpaint.errors import UserError


class Page(HTMLParser):
    """A parsed page: text, tags, links and JSON data; unclosed tags are an error."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.data: list[Any] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster", "action", "data")]
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"] and self.tags[-1][1].get("type") == "application/json":
            self.data.append(json.loads(data))
        elif self.open[-1:] not in (["script"], ["style"]):
            self.text += data + "\n"

    def with_class(self, tag: str, name: str) -> list[dict[str, str | None]]:
        return [attrs for found, attrs in self.tags if found == tag and name in (attrs.get("class") or "").split()]


def report_page(tmp_path: Path, *argv: str) -> Page:
    output = tmp_path / "out" / "report.html"
    assert report.main([*argv, "--output", str(output)]) == 0
    assert [path.name for path in output.parent.iterdir()] == ["report.html"]
    return Page(output)


def best(html: str) -> list[str]:
    """Numbers marked as best in the final evaluation."""
    return re.findall(r'<td class="best">([\d.]+)</td>', html.partition('<section id="final">')[2])


def test_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = report_page(tmp_path, str(write_run(tmp_path / "one")))
    for link in page.links:
        assert link.startswith(("data:", "#")), link[:80]
    assert "http" not in re.sub(r"data:[^\"]*", "", (tmp_path / "out" / "report.html").read_text())
    values = [f"{value + step / 1000:.6g}" for value in SCORES.values() for step in STEPS]
    for text in (*values, "20.28", "21.38", "22.50*"[:-1], "no samples", "LPINet", "Mean fill", "adversarial", "seed", "7"):
        assert text in page.text, text
    assert "</script><b>bold</b>" in page.text, "settings are text, whatever they hold"
    charts = {tuple(line["name"] for line in about["lines"]): about for about in page.data if "lines" in about}
    assert charts["10-20%", "20-30%"]["lines"][1]["points"][2] == [30, pytest.approx(19.155)]
    losses = [about["lines"][0]["points"] for about in page.data if about.get("lines") and about["lines"][0]["name"] == "one"]
    assert [[step, pytest.approx(1 / step)] for step in STEPS] in losses
    assert [[step, step / 64] for step in STEPS] in losses
    images = [attrs for tag, attrs in page.tags if tag == "img" and attrs.get("data-step")]
    assert [(image["data-step"], "hidden" in image) for image in images] == [("10", True), ("20", True), ("30", False)]
    assert len(page.with_class("div", "compare")) == 4
    assert page.text.index("image 3") < page.text.index("image 2") < page.text.index("image 0")
    assert best((tmp_path / "out" / "report.html").read_text()) == ["22.50", "7.500"]
    assert re.search(r"1 run in .*report.html, \d\.\d MB", capsys.readouterr().out)


def test_runs_side_by_side(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "one"), write_run(tmp_path / "two", lr=5e-4, offset=0.25, manifest="cd" * 32)
    page = report_page(tmp_path, str(first), str(second))
    assert {tuple(line["name"] for line in about["lines"]) for about in page.data if "lines" in about} == {("one", "two")}
    html = (tmp_path / "out" / "report.html").read_text()
    changed = re.findall(r'<tr class="changed"><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>', html)
    assert changed == [("model.init_args.generator_optimizer.init_args.lr", "0.001", "0.0005")]
    assert "one (LPINet)" in page.text
    assert "two (LPINet)" in page.text
    assert "cannot be compared" in page.text
    assert html.count("Mean fill") == 2, "a table for each list of samples"
    assert best(html) == ["22.50", "7.500", "22.50", "7.500"]
    shutil.rmtree(second)
    together = report_page(tmp_path, str(first), str(write_run(tmp_path / "two", offset=1.5)))
    assert "cannot be compared" not in together.text
    assert together.text.count("Mean fill") == 1, "equal rows of a baseline stand once"
    assert best((tmp_path / "out" / "report.html").read_text()) == ["22.88", "7.125"]


def test_the_loss_curve_has_training_validation_and_changes_of_rate(tmp_path: Path) -> None:
    """As in the report on partial convolutions: its stages differ in the learning rate."""
    run, lines = tmp_path / "one", ["step,val/psnr,val_loss/generator,train/generator,train/lr_generator"]
    write_run(run)
    for step in range(1, 41):
        validated = f"{20 + step / 40},{2 / step}" if step % 10 == 0 else ","
        lines.append(f"{step},{validated},{1 / step},{2e-4 if step < 20 else 5e-5 if step < 30 else 2.5e-5}")
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    page = report_page(tmp_path, str(run))
    (curve,) = [about for about in page.data if "lines" in about and about["lines"][0]["points"][0] == [1, 1.0]]
    assert [line["name"] for line in curve["lines"]] == ["one", "one, validation"]
    assert curve["lines"][1]["points"] == [[step, pytest.approx(2 / step)] for step in (10, 20, 30, 40)]
    html = (tmp_path / "out" / "report.html").read_text()
    figure = html[html.index("generator, sum of weighted terms") :].partition("</figure>")[0]
    assert re.findall(r">(rate [\d.e-]+)<", figure) == ["rate 5e-05", "rate 2.5e-05"]
    assert figure.count('class="change"') == 2
    assert re.search(r'class="line c0 dashed" d="M', figure)
    assert "val_loss" not in page.text[: page.text.index("Training")], "the metrics of the validation are not losses"


def test_an_unfinished_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", finished=False)
    with (run / "metrics.csv").open("a") as file:
        file.write("40,20.1")  # the row is being written
    page = report_page(tmp_path, str(run))
    assert "unfinished" in page.text
    assert "has no final_evaluation.json" in page.text
    assert not any(
        step == 40 for about in page.data if "lines" in about for line in about["lines"] for step, _ in line["points"]
    )


def test_values_that_are_not_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one")
    metrics = run / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("20.27", "nan").replace("20.28", "inf"))
    page = report_page(tmp_path, str(run))
    assert [line["points"][1][1] for about in page.data[:1] for line in about["lines"] for _ in range(2)] == [None, None]
    assert "nan" in page.text
    assert "20.26" in page.text


@pytest.mark.parametrize(("low", "high"), [("-1e308", "1e308"), ("1e308", "1e308"), ("-1e300", "1e300"), ("0", "5e-324")])
def test_values_near_the_limits_of_floats(low: str, high: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "one")
    metrics = run / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("20.26", low).replace("20.27", high))
    page = report_page(tmp_path, str(run))
    shown = next(line["points"] for about in page.data for line in about["lines"])
    drawn = [None if abs(float(value)) > 1e300 else float(value) for value in (low, high)]
    assert [value for _, value in shown] == [*drawn, 20.28]
    assert not re.search(r"(,\d{3}){10}", page.text), "labels of charts are short"


def test_few_of_many_grids(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one")
    for step in range(40, 100, 10):
        shutil.copy(run / "samples" / "step_0000030.png", run / "samples" / f"step_{step:07d}.png")
    page = report_page(tmp_path, str(run), "--grids", "3")
    assert [attrs["data-step"] for tag, attrs in page.tags if tag == "img" and attrs.get("data-step")] == ["10", "50", "90"]
    assert "(3 of 9 grids)" in page.text


def test_worst_and_best_of_the_validation_set(checkpoint: Path, tmp_path: Path) -> None:
    """A real run with its own data and checkpoint, and the versions in that checkpoint."""
    run = checkpoint.parents[1]
    table = json.loads((run / "final_evaluation.json").read_text())["rows"]
    mean = next(row["value"] for row in table if row["bucket"] == "all" and row["metric"] == "psnr")

    def scores(count: int) -> list[float]:
        found = report_page(tmp_path, str(run), "--images", str(count), "--weights", "last")
        assert "Of all 8 validation samples, completed with last.ckpt" in found.text
        assert len(found.with_class("div", "compare")) == 2 * count
        return [float(text) for text in re.findall(r"PSNR ([\d.]+) dB, SSIM [\d.]+, L1 [\d.]+ %, mask ratio \d+%", found.text)]

    every = scores(4)
    assert every == [*sorted(every)[:4], *sorted(every, reverse=True)[:4]]
    assert sum(every) / 8 == pytest.approx(mean, abs=0.01)
    assert scores(2) == [*every[:2], *every[4:6]]
    page = Page(tmp_path / "out" / "report.html")
    versions = torch.load(checkpoint, weights_only=True)["lit_inpaint"]["versions"]
    for version in versions.values():
        assert version in page.text
    start = yaml.safe_load((run / "launches.yaml").read_text())[-1]
    assert start["machine"]["host"] in page.text
    assert start["machine"]["cpu"] in page.text
    assert "1 x cpu" in page.text


@pytest.mark.parametrize("content", ["", "[", "{}", "- processes: 3", "- {processes: [a cpu], machine: {}}"])
def test_broken_machines_yaml_is_left_out(checkpoint: Path, tmp_path: Path, content: str) -> None:
    run = shutil.copytree(checkpoint.parents[1], tmp_path / "run")
    (run / "launches.yaml").write_text(content)
    assert "1 x cpu" not in report_page(tmp_path, str(run)).text


def change_config(run: Path, key: str, value: object) -> None:
    config = run / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {key: value}))


def change_row(run: Path, key: str, value: object) -> None:
    rows = json.loads((run / "final_evaluation.json").read_text())["rows"]
    (run / "final_evaluation.json").write_text(json.dumps({"rows": [rows[0], {**rows[1], key: value}, *rows[2:]]}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "one is not a run directory: it has no config.yaml"),
        (lambda run: shutil.rmtree(run), "one is not a run directory: it does not exist"),
        (lambda run: (run / "config.yaml").write_text("a: [1"), ".*config.yaml is not valid YAML"),
        (
            lambda run: (run / "config.yaml").write_text("a: 1"),
            "cannot read .*config.yaml .*it should hold the configuration of a run",
        ),
        (lambda run: change_config(run, "data", "CelebA"), r"cannot read .*config.yaml \(data has no class_path"),
        (lambda run: change_config(run, "data", {"class_path": 1.5}), "cannot read .*config.yaml .*the class_path 1.5"),
        (lambda run: change_config(run, "data", {"init_args": [1]}), r"cannot read .*config.yaml \(data has no class_path"),
        (lambda run: (run / "metrics.csv").unlink(), "no metrics.csv, so no validation yet"),
        (lambda run: (run / "metrics.csv").write_text("step,train/l1\n20,0.5\n"), "no validation yet"),
        (
            lambda run: (run / "metrics.csv").write_text("step,val/psnr\n20,good\n"),
            r"cannot read .*metrics.csv \(line 2: .*good",
        ),
        (
            lambda run: (run / "metrics.csv").write_text("step,val/psnr\n20,1,2\n"),
            r"cannot read .*metrics.csv \(line 2: more cells",
        ),
        (lambda run: (run / "metrics.csv").write_text("val/psnr\n20\n"), "cannot read .*metrics.csv .*no column 'step'"),
        (lambda run: (run / "metrics.csv").write_bytes(b"\xff\xfe\x00"), "cannot read .*metrics.csv"),
        (
            lambda run: (run / "final_evaluation.json").write_text('{"rows": [{"method": "x"}]}'),
            "cannot read .*final_evaluation.json",
        ),
        (lambda run: change_row(run, "n", None), "cannot read .*final_evaluation.json .*n = None"),
        (lambda run: change_row(run, "bucket", [1]), r"cannot read .*final_evaluation.json .*the bucket \[1\]"),
        (lambda run: change_row(run, "n", "12"), "cannot read .*final_evaluation.json .*n = '12'"),
        (lambda run: change_row(run, "value", "20.5"), "cannot read .*final_evaluation.json .*'20.5'"),
        (lambda run: (run / "final_evaluation.json").write_text("{"), "cannot read .*final_evaluation.json"),
        (
            lambda run: (run / "samples" / "step_0000020.png").write_bytes(b"PNG"),
            "cannot read .*step_0000020.png as an image .*delete this sample grid",
        ),
    ],
)
def test_broken_runs(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    run = write_run(tmp_path / "one")
    spoil(run)
    with pytest.raises(UserError, match=message):
        report.main([str(run), "--output", str(tmp_path / "out" / "report.html")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--output", "report.htm"], r"must end with \.html"),
        ([], "--output"),
        (["--output", "report.html", "--images", "0"], "--images.*at least 1"),
        (["--output", "report.html", "--images", "2"], "no checkpoint at .*best.ckpt"),
        (["--output", "report.html", "--data.root", "x"], "--data.root goes with --images"),
        (["--output", "report.html", "--grid", "2"], "--grid; did you mean '--grids'"),
    ],
)
def test_mistakes(argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        report.main([str(run), *argv])
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file, not a folder"):
        report.main([str(run), "--output", str(tmp_path / "file" / "report.html")])


def test_as_a_command(tmp_path: Path) -> None:
    done = forked.run(["-m", "lit_inpaint.report", str(tmp_path), "--output", str(tmp_path / "report.html")])
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "is not a run directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


PROBE = """<script>
const set = (element, value, kind) => { element.value = value; element.dispatchEvent(new Event(kind)); };
const found = {};
const steps = document.querySelector(".steps");
set(steps.querySelector("input"), 0, "input");
found.shown = [...steps.querySelectorAll("img")].filter((image) => image.offsetHeight > 0).map((image) => image.dataset.step);
found.label = steps.querySelector("output").textContent;
const card = document.querySelector(".compare"), stack = card.querySelector(".stack");
const before = getComputedStyle(stack.querySelector(".over")).clipPath;
set(stack.querySelector("input"), 80, "input");
found.cut = [before, getComputedStyle(stack.querySelector(".over")).clipPath];
const completed = stack.querySelector(".under").src;
set(card.querySelector("select"), "target", "change");
found.swapped = completed !== stack.querySelector(".under").src;
const svg = document.querySelector(".chart svg"), box = svg.getBoundingClientRect();
svg.dispatchEvent(new PointerEvent("pointermove", {clientX: box.right - 15, clientY: box.top + 50}));
found.tip = document.querySelector(".chart .tip").textContent;
const tip = document.querySelector(".chart .tip").getBoundingClientRect();
found.inside = tip.top > box.top && tip.bottom < box.bottom;
const pale = getComputedStyle(document.body).backgroundColor;
document.querySelector("#theme").click();
found.themes = [pale, getComputedStyle(document.body).backgroundColor];
found.wide = document.documentElement.scrollWidth - innerWidth;
found.rows = [...document.querySelectorAll(".settings tbody tr")].filter((row) => row.offsetHeight > 0).length;
found.errors = window.problems;
document.body.dataset.found = JSON.stringify(found);
</script></body>"""
WATCH = "<head><script>window.problems = []; onerror = (text) => problems.push(String(text));</script>"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH (Debian: apt install chromium)")
@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser(tmp_path: Path, width: int) -> None:
    page = tmp_path / "report.html"
    assert (
        report.main(
            [str(write_run(tmp_path / "one")), str(write_run(tmp_path / "two", lr=5e-4, offset=0.25)), "--output", str(page)]
        )
        == 0
    )
    probed = tmp_path / "probed.html"
    html = page.read_text(encoding="utf-8")
    probed.write_text(html.replace("<head>", WATCH, 1).replace("</body>", PROBE, 1), encoding="utf-8")

    def chromium(*options: str) -> subprocess.CompletedProcess[str]:
        base = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
        base += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1400", "--virtual-time-budget=2000"]
        home = {**os.environ, "HOME": str(tmp_path)}
        return subprocess.run([*base, *options], capture_output=True, text=True, timeout=120, env=home)

    done = chromium("--dump-dom", probed.as_uri())
    match = re.search(r'data-found="([^"]*)"', done.stdout)
    assert match, done.stderr[-2000:]
    found = json.loads(match[1].replace("&quot;", '"').replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert found["errors"] == []
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    assert (found["shown"], found["label"]) == (["10"], "step 10")
    assert found["cut"] == ["inset(0px 50% 0px 0px)", "inset(0px 20% 0px 0px)"]
    assert found["swapped"] is True
    assert found["tip"] == "step 30one20.28 dBtwo20.53 dB"
    assert found["inside"], "the values stand on the chart"
    assert len(set(found["themes"])) == 2
    assert found["wide"] <= 0, "the page itself never scrolls sideways"
    assert found["rows"] == 1, "of the settings only what differs is shown at first"
    if width == 1280:
        chromium(f"--screenshot={tmp_path / 'page.png'}", page.as_uri())
        with Image.open(tmp_path / "page.png") as image:
            colors = image.convert("RGB").getcolors(maxcolors=2**24) or []
        assert max(count for count, _ in colors) < 0.95 * 1280 * 1400, "a blank page"
        assert {(37, 99, 201), (217, 100, 12)} <= {color for _, color in colors}, "the lines of both runs"
