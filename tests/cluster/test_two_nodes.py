"""Two nodes without a scheduler, each started with `experiments/cluster/torchrun.sh`."""

import signal
import time
from pathlib import Path

import pytest
from tiny_pair import difference
from tiny_runs import assert_same_run, content, steps_logged
from torchrun_nodes import Nodes

from lit_inpaint import fit

pytestmark = pytest.mark.xdist_group("cluster")


def test_two_nodes_stop_and_resume_together_and_equal_one_node(
    project: Path, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    settings = ("--wandb.mode", "disabled", "--run_dir", str(run))
    with Nodes(project, 2, *settings) as nodes:
        end = time.monotonic() + 120
        while steps_logged(run) < 2:
            assert time.monotonic() < end, nodes.logs()
            assert None in [process.poll() for process in nodes.processes], nodes.logs()
            time.sleep(0.05)
        nodes.processes[1].send_signal(signal.SIGTERM)
        assert 0 not in nodes.statuses(), nodes.logs()
        print(nodes.logs())
        saved = content(run)["global_step"]
        assert 2 <= saved < 12
        assert nodes.logs().count(f"saved {run / 'checkpoints' / 'last.ckpt'} at step {saved};") == 1
    with Nodes(project, 2, *settings) as nodes:
        assert nodes.statuses() == [0, 0], nodes.logs()
        assert f"resumed at step {saved}" in nodes.logs()
    assert_same_run(run, uninterrupted)

    monkeypatch.chdir(project)
    alone = tmp_path / "alone"
    options = ["--wandb.mode", "disabled", "--run_dir", str(alone), "--data.batch_size", "2"]
    assert fit.main(["--experiment", "one.yaml", *options]) == 0
    assert difference(content(run)["state_dict"], content(alone)["state_dict"]) < 1e-4
    averages = [content(path)["callbacks"]["GeneratorEMA"]["weights"] for path in (run, alone)]
    assert difference(*averages) < 1e-4
