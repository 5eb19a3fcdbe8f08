"""Every paper: the output depends on known pixels and the mask alone; runs resume; load_official's errors."""

import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from golden import CURVES, fit_masks
from host_reads import CountInBatches, count_host_reads
from tiny_gan import loader, make_trainer
from torch import nn
from torch.utils.data import DataLoader

from lit_inpaint import papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.losses import gradient_penalty
from lit_inpaint.nets.cpu.convolution import CPUConv2d
from lit_inpaint.types import Batch

MODELS: dict[str, Callable[[], Inpainter]] = {
    **CURVES,
    "wavemix official": partial(papers.WaveMix, variant="official", modules=2, blocks=2, dimension=16),
    "wavemix wavepaint": partial(papers.WaveMix, variant="wavepaint", modules=2, blocks=2, dimension=16),
}


def test_no_paper_is_left_out() -> None:
    classes = {getattr(papers, name) for name in papers.__all__}
    assert {type(make()) for make in MODELS.values()} == classes


@pytest.mark.parametrize("name", MODELS)
def test_the_content_of_holes_is_ignored(name: str, batch: Batch) -> None:
    torch.manual_seed(0)
    batch = fit_masks(name, batch)
    model = MODELS[name]().eval().double()  # new gated convolutions leave less of the input than single precision resolves
    original, mask = batch["image"].double(), batch["mask"].double()
    other_mask = fit_masks(name, {**batch, "mask": 1 - mask})["mask"]
    other_holes = torch.where(mask == 1, torch.rand(2, 3, 32, 32, dtype=torch.float64), original)
    changed = original.clone()
    changed[0, :, 0, 0] = 1 - changed[0, :, 0, 0]
    with torch.no_grad():
        image = model(original, mask).image
        assert torch.equal(model(other_holes, mask).image, image)
        assert not torch.equal(model(changed, mask).image, image), "known pixels are not ignored"
        assert not torch.equal(model(other_holes, other_mask).image, image), "the mask is not ignored"


@pytest.mark.parametrize("name", CURVES)
def test_a_run_resumed_within_each_stage_equals_the_uninterrupted_one(name: str, batch: Batch, tmp_path: Path) -> None:
    """Two batches in each stage, and a stop after the first one."""
    stages = tuple(replace(stage, iterations=2, epochs=None) for stage in CURVES[name]().stages())
    batches, file, states = [fit_masks(name, batch)] * 2 * len(stages), tmp_path / "x.ckpt", []
    for stops in ([2 * len(stages)], [*range(1, 2 * len(stages), 2), 2 * len(stages)]):
        for number, stop in enumerate(stops):
            torch.manual_seed(0)
            model, trainer = CURVES[name](stages=stages), make_trainer(stop)
            trainer.fit(model, loader(batches), ckpt_path=file if number else None, weights_only=True if number else None)
            trainer.save_checkpoint(file)
        states.append(model.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", MODELS)
def test_the_generators_losses_exist_in_validation_too(name: str, batch: Batch) -> None:
    """They need nothing that only batches and predictions of the training have."""
    torch.manual_seed(0)
    model = MODELS[name]()
    batch = fit_masks(name, batch)
    validation = Batch(image=batch["image"], mask=batch["mask"], name=batch["name"])
    terms = model.generator_losses(batch, model(batch["image"], batch["mask"]))
    model.eval().measures_validation_loss = True
    with torch.no_grad():
        prediction = model(validation["image"], validation["mask"])
        losses = model.generator_losses(validation, prediction)
        assert losses.keys() == terms.keys()
        for term in losses.values():
            with suppress(UserError):  # a loss network without its file of weights
                assert float(term() if callable(term) else term) < math.inf


@pytest.mark.parametrize("name", ["lpi_net", "pepsi", "unet"])
def test_papers_without_public_weights_raise_one_line(name: str) -> None:
    model = CURVES[name]()
    with pytest.raises(UserError, match=f"^no public PyTorch weights of {type(model).__name__} are known"):
        model.load_official({})


@pytest.mark.parametrize("name", ["pconv", "wavemix"])
def test_a_state_dict_for_a_missing_discriminator_raises(name: str) -> None:
    model = CURVES[name]()
    with pytest.raises(UserError, match=f"^{type(model).__name__} has no discriminator: give load_official the generator's"):
        model.load_official({}, {})


@pytest.mark.parametrize(
    "name", [name for name in MODELS if "variant" in inspect.signature(getattr(MODELS[name], "func", MODELS[name])).parameters]
)
def test_the_default_variant_is_the_papers(name: str) -> None:
    paper = getattr(MODELS[name], "func", MODELS[name])
    assert inspect.signature(paper).parameters["variant"].default == "paper"


@pytest.mark.parametrize("name", MODELS)
def test_fast_cpu_layers_keep_names_values_and_outputs(name: str, batch: Batch) -> None:
    torch.manual_seed(0)
    model, batch = MODELS[name]().eval(), fit_masks(name, batch)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        expected = model(batch["image"], batch["mask"]).image
        model.configure_model()
        found = model(batch["image"], batch["mask"]).image
    assert any(type(layer) is CPUConv2d for layer in model.generator.modules())
    assert not any(type(layer) is nn.Conv2d and layer.groups == 1 for layer in model.modules())
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_reads_nothing_from_the_device(name: str, batch: Batch) -> None:
    """A value that is read makes a GPU idle until the host has started the next kernels."""
    counter = CountInBatches(count_host_reads, first=2, last=3)
    model = MODELS[name]()
    batch = fit_masks(name, batch)
    if model.edge_detector is not None:
        batch = {**batch, "edges": model.edge_detector(batch["image"])}  # as loaders do
    make_trainer(4, counter).fit(model, DataLoader([batch] * 4, batch_size=None))
    assert counter.found == {}


@pytest.mark.parametrize("name", CURVES)
def test_the_networks_to_compile_exist(name: str) -> None:
    """A discriminator whose gradient the loss differentiates again is left out."""
    with torch.device("meta"):
        model = CURVES[name]()
    for network in model.compiled_modules:
        if network != "discriminator" or model.discriminator is not None:
            assert isinstance(model.get_submodule(network), nn.Module)
    module = __import__(type(model).__module__, fromlist=["x"])
    differentiated = [value for value in vars(module).values() if getattr(value, "__module__", "") == gradient_penalty.__name__]
    assert bool(differentiated) == ("discriminator" not in {network.partition(".")[0] for network in model.compiled_modules})
