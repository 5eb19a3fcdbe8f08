from pathlib import Path

from lit_inpaint.evaluation.method_labels import variant_of
from lit_inpaint.papers import PConv
from lit_inpaint.profiling.networks import Network, build_for_training, build_networks
from lit_inpaint.runs.checkpoint_file import load


def test_networks_are_built_for_the_size_of_the_epoch(checkpoint: Path) -> None:
    """PEPSI's discriminator has one size and PConv's losses use VGG: both are built so that they can be trained."""
    pepsi, pconv = (build_for_training(network, 32) for network in build_networks(["Diet-PEPSI", "PConv"]))
    assert (pepsi.hparams["size"], variant_of(pepsi)) == (32, "Diet-PEPSI")
    assert isinstance(pconv, PConv)
    assert "RANDOM" in pconv.vgg.description
    trained = Network("LPINet", "LPI", load(checkpoint), checkpoint)
    assert build_for_training(trained, 32) is trained.model
