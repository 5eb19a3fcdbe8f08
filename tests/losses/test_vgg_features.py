"""VGG features by name; the weights are random or made by formula, so no test needs a download."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import vgg16, vgg19

from lit_inpaint.errors import UserError
from lit_inpaint.losses.vgg_features import Depth, ImageNetNormalization, VGGFeatures, layer_names
from lit_inpaint.storage.pretrained_weights import VGG16, VGG19

POOLS = ("pool1", "pool2", "pool3")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path))
    return tmp_path


def features_of(depth: Depth) -> nn.Sequential:
    with torch.device("meta"):
        layers: nn.Sequential = (vgg16 if depth == 16 else vgg19)(weights=None).features
    return layers


@pytest.mark.parametrize("depth", [16, 19])
def test_layer_names(depth: Depth) -> None:
    kinds = {nn.Conv2d: "conv", nn.ReLU: "relu", nn.MaxPool2d: "pool"}
    names, layers = layer_names(depth), features_of(depth)
    assert [re.sub(r"[\d_]", "", name) for name in names] == [kinds[type(layer)] for layer in layers]
    assert [name for name in names if name.startswith("conv")][-1] == ("conv5_3" if depth == 16 else "conv5_4")
    # Simonyan and Zisserman: the first convolution of each block widens, or, in the fifth, follows a fourth pooling.
    widths = {name: layer.out_channels for name, layer in zip(names, layers, strict=True) if isinstance(layer, nn.Conv2d)}
    assert [widths[f"conv{block}_1"] for block in range(1, 6)] == [64, 128, 256, 512, 512]


@pytest.mark.parametrize("depth", [16, 19])
def test_features_equal_the_layers_one_by_one(depth: Depth) -> None:
    layers = ("relu2_1", "conv1_1", "pool1", "conv2_2")  # in any order; a convolution is not its ReLU
    vgg = VGGFeatures(depth, layers, "random")
    image = torch.rand(2, 3, 20, 24)
    found = dict(zip(layers, vgg(image), strict=True))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    state, expected = vgg.load().network.state_dict(), {}
    for number, name in enumerate(layer_names(depth)[:9]):
        if name.startswith("conv"):
            x = torch.conv2d(x, state[f"layers.{number}.weight"], state[f"layers.{number}.bias"], padding=1)
        else:
            x = x.clamp(min=0) if name.startswith("relu") else torch.max_pool2d(x, 2)
        expected[name] = x
    assert found.keys() == set(layers)
    for name in layers:
        torch.testing.assert_close(found[name], expected[name], msg=name)
    assert (found["conv1_1"] < 0).any()


def test_random_weights_are_reproducible_and_use_no_global_rng() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = VGGFeatures(16, POOLS, "random"), VGGFeatures(16, POOLS, "random")
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for one, other in zip(first(image), second(image), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert "RANDOM" in first.description
    assert "RANDOM" not in VGGFeatures(16, POOLS).description
    # Kaiming keeps the size of what passes: a check value for the seed itself.
    assert float(first(image)[2].mean()) == pytest.approx(float(second(image)[2].mean()))
    assert 0.05 < float(first(image)[2].std()) < 20


def test_created_on_first_use_and_never_saved(cache: Path) -> None:
    paper = nn.ModuleDict({"vgg": VGGFeatures(19, ("relu1_1",))})  # ImageNet, whose weights are not there
    assert not paper.state_dict()
    vgg = VGGFeatures(19, ("relu1_1",), "random")
    vgg(torch.rand(1, 3, 8, 8))
    assert not vgg.state_dict()
    assert not list(vgg.parameters())
    assert not vgg.train().load().network.training
    assert vgg.load() is vgg.load()


def test_gradients_reach_the_image_only() -> None:
    vgg = VGGFeatures(16, ("pool1",), "random")
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    vgg(image)[0].sum().backward()
    assert image.grad is not None
    assert image.grad.any()
    assert all(parameter.grad is None for parameter in vgg.load().network.parameters())
    with torch.no_grad():
        assert not vgg(torch.rand(1, 3, 8, 8))[0].requires_grad


def test_float32_under_autocast() -> None:
    vgg, image = VGGFeatures(16, POOLS, "random"), torch.rand(1, 3, 16, 16)
    expected = vgg(image)
    with torch.autocast("cpu", torch.bfloat16):
        found = vgg(image.bfloat16().float())
    assert all(x.dtype == torch.float32 for x in found)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(x, y) for x, y in zip(vgg(image), expected, strict=True))
        assert vgg(image.bfloat16())[0].dtype == torch.float32


def test_moves_with_its_parent_to_double_precision() -> None:
    early, late = VGGFeatures(16, ("pool1",), "random"), VGGFeatures(16, ("pool1",), "random")
    early.load()
    for vgg in (early, late):  # made before or after the move
        assert vgg.double()(torch.rand(1, 3, 8, 8, dtype=torch.float64))[0].dtype == torch.float64


def test_unknown_layers() -> None:
    with pytest.raises(ValueError, match=r"VGG-16 has no layer conv3_4; it has conv1_1"):
        VGGFeatures(16, ("pool1", "conv3_4"))


@pytest.mark.parametrize(("depth", "file"), [(16, VGG16), (19, VGG19)])
def test_reads_weights_of_torchvision(depth: Depth, file: object, cache: Path) -> None:
    """A file like torchvision's, with a classifier that is not used."""
    assert file in (VGG16, VGG19)
    published = VGG16 if depth == 16 else VGG19
    network = features_of(depth).to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.1)
    content = {f"features.{name}": value for name, value in network.state_dict().items()}
    content["classifier.6.bias"] = torch.zeros(1000)
    torch.save(content, cache / published.file)
    image = torch.rand(1, 3, 16, 16)
    (found,) = VGGFeatures(depth, ("pool2",))(image)
    layers = network[: layer_names(depth).index("pool2") + 1]
    torch.testing.assert_close(found, layers(ImageNetNormalization()(image)))


@pytest.mark.parametrize(("first", "scale", "offset"), [(None, 1 / 0.229, 0.485), ((0.4800, 0.4085, -0.0651), 255, 0.48235)])
def test_reads_a_file_of_the_users_with_its_preprocessing(
    first: tuple[float, ...] | None, scale: float, offset: float, tmp_path: Path
) -> None:
    """A file that ends with the last needed layer, in half precision; Oxford's is known by its first kernel."""
    network = features_of(16)[:5].to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.1)
    if first is not None:
        network[0].weight.data[0, 0, 0] = torch.tensor(first)
    save_file({name: value.half() for name, value in network.state_dict().items()}, tmp_path / "own.safetensors")
    vgg = VGGFeatures(16, ("conv1_1", "pool1"), str(tmp_path / "own.safetensors"))
    image = torch.rand(1, 3, 16, 16)
    found = vgg(image)
    assert vgg.description.endswith("own.safetensors" if first is None else "own.safetensors, Oxford's preprocessing")
    normalized = vgg.normalization(image)
    torch.testing.assert_close(normalized[:, 0], (image[:, 0] - offset) * scale)
    torch.testing.assert_close(found[1], network.to(torch.float16).float()(normalized), rtol=1e-3, atol=1e-3)


def test_a_file_without_a_needed_layer_raises_one_line(tmp_path: Path) -> None:
    save_file({"0.weight": torch.zeros(64, 3, 3, 3), "0.bias": torch.zeros(64)}, tmp_path / "short.safetensors")
    with pytest.raises(UserError, match=r"short\.safetensors is not torchvision's VGG-16"):
        VGGFeatures(16, ("pool1",), str(tmp_path / "short.safetensors")).load()


def test_missing_weights_raise_one_line_with_a_remedy(cache: Path) -> None:
    with pytest.raises(UserError) as mistake:
        VGGFeatures(16, POOLS).load()
    line = str(mistake.value)
    assert str(cache / "vgg16-397923af.pth") in line
    assert "python -m lit_inpaint.fetch vgg16" in line
    assert "vgg: random" in line
    assert "\n" not in line


@pytest.mark.parametrize("kind", ["broken", "list", "other network"])
def test_a_wrong_file_raises_one_line(kind: str, cache: Path) -> None:
    path = cache / VGG16.file
    if kind == "broken":
        path.write_bytes(b"not a zip file, nor a pickle")
    else:
        torch.save([1, 2] if kind == "list" else {"weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=re.escape(str(path))):
        VGGFeatures(16, POOLS).load()


def test_normalization_and_its_inverse() -> None:
    normalization, image = ImageNetNormalization(), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(normalization.inverse(normalization(image)), image)
    assert float(normalization(torch.ones(1, 3, 1, 1))[0, 2, 0, 0]) == pytest.approx((1 - 0.406) / 0.225)
    assert not normalization.state_dict()
