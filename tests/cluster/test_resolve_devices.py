import pytest

from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.cluster.resolve_devices import Devices, resolve_devices
from lit_inpaint.errors import UserError

SRUN, TORCHRUN, ALONE = (
    LaunchInfo("srun", nodes=2, per_node=4),
    LaunchInfo("torchrun", nodes=2, per_node=4),
    LaunchInfo("Lightning"),
)


@pytest.mark.parametrize(
    ("launch", "devices", "num_nodes", "gpus", "expected"),
    [
        (SRUN, "auto", 1, None, Devices(2, 4)),  # left open by the user
        (SRUN, 4, 2, 4, Devices(2, 4)),
        (TORCHRUN, "0,1,2,3", 1, 8, Devices(2, 4)),
        (TORCHRUN, -1, 2, 4, Devices(2, 4)),
        (ALONE, "auto", 1, None, Devices(1, 1)),
        (ALONE, "auto", 1, 4, Devices(1, 4)),
        (ALONE, [1, 3], 1, 4, Devices(1, 2)),
        (ALONE, 3, 1, None, Devices(1, 3)),
    ],
)
def test_devices_come_from_the_arguments_or_the_launcher(
    launch: LaunchInfo, devices: object, num_nodes: int, gpus: int | None, expected: Devices
) -> None:
    assert resolve_devices(launch, devices, num_nodes, "auto", gpus) == expected


@pytest.mark.parametrize(
    ("launch", "devices", "num_nodes", "strategy", "gpus", "message"),
    [
        (
            LaunchInfo("srun", per_node=1),
            4,
            1,
            "auto",
            4,
            "devices 4, but srun started 1 process per node.*srun --ntasks-per-node=4",
        ),
        (SRUN, 2, 2, "auto", None, "devices 2, but srun started 4 processes per node.*--ntasks-per-node=2, or leave"),
        (SRUN, "auto", 3, "auto", None, "num_nodes 3, but srun runs on 2 nodes: use srun --nodes=3, or leave"),
        (TORCHRUN, [0, 1], 1, "auto", None, "devices 0,1, but torchrun started 4 .*torchrun --nproc-per-node=2"),
        (TORCHRUN, "auto", 4, "auto", None, "num_nodes 4, but torchrun runs on 2 nodes: use torchrun --nnodes=4"),
        (TORCHRUN, "auto", 1, "ddp_spawn", None, "ddp_spawn starts processes itself, beside those of torchrun"),
        (SRUN, "auto", 1, "auto", 1, "each sees 1 GPU and .*--gpus-per-node=4, not --gpus-per-task or --gpu-bind"),
        (TORCHRUN, "auto", 1, "auto", 2, "started 4 processes per node, but each sees 2 GPUs and .*--nproc-per-node=2"),
        (ALONE, 2, 2, "auto", None, "num_nodes 2, but nothing started this on other nodes; use torchrun --nnodes=2 or srun"),
    ],
)
def test_contradictions(
    launch: LaunchInfo,
    devices: object,
    num_nodes: int,
    strategy: str,
    gpus: int | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=message) as error:
        resolve_devices(launch, devices, num_nodes, strategy, gpus)
    assert "\n" not in str(error.value)
