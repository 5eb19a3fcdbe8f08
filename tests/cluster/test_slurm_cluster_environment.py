import pytest
from fake_slurm import step

from lit_inpaint.cluster.slurm_cluster_environment import SrunEnvironment


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> SrunEnvironment:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return SrunEnvironment()


def test_a_step_of_a_larger_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of the job's tasks, on two of its nodes."""
    srun = use(
        monkeypatch, {**step(3, 4, 2), "SLURM_NTASKS": "64", "SLURM_NODELIST": "a[1-8]", "SLURM_STEP_NODELIST": "a[5,7]"}
    )
    assert (srun.world_size(), srun.global_rank(), srun.node_rank(), srun.local_rank()) == (4, 3, 1, 1)
    assert srun.main_address == "a5"
    assert srun.creates_processes_externally


def test_each_step_of_a_job_has_its_own_port_for_all_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = [step(rank, 2, SLURM_STEP_ID=number) for number in ("0", "1") for rank in (0, 1)]
    starts.append(step(0, 2, SLURM_RESTART_COUNT="1"))
    first, same, second, _, restarted = (use(monkeypatch, variables).main_port for variables in starts)
    assert first == same
    assert len({first, second, restarted}) == 3
    assert all(15_000 <= port < 32_000 for port in (first, second, restarted))
    monkeypatch.setenv("MASTER_PORT", "1234")
    assert SrunEnvironment().main_port == 1234
