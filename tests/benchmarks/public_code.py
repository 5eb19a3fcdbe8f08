"""Compare networks with the public code that they follow: speed, and whether the outputs are equal.

    python tests/benchmarks/public_code.py --context_encoder DIR --deepfill DIR --deepfill_v1 DIR --edgeconnect DIR --gin DIR
        --glcic DIR --lama DIR --pconv DIR --wavemix DIR [--only NAME ...] [--modes MODE ...] [--compile] [--rounds 5]

Each DIR is a clone of one of these repositories; the script reads the given commit:

    git clone https://github.com/nipponjo/deepfillv2-pytorch                           4899fd3  model/networks.py
    git clone https://github.com/daa233/generative-inpainting-pytorch                  c6cdaea  model/networks.py, …/tools.py
    git clone https://github.com/BoyuanJiang/context_encoder_pytorch                   01cbf96  model.py
    git clone https://github.com/knazeri/edge-connect                                  3142579  src/networks.py
    git clone https://github.com/rlct1/gin                                             cfcef5d  models/networks.py
    git clone https://github.com/otenim/GLCIC-PyTorch                                  3f9de13  models.py, layers.py
    git clone https://github.com/naoto0804/pytorch-inpainting-with-partial-conv        8d64e7e  net.py
    git clone https://github.com/remag2069/WaveMix-Inpainting                          97b502f  suppliment.py
    git clone https://github.com/advimman/lama                                         786f593  …/training/modules/ffc.py

WaveMix also needs pywavelets. Packages that its networks do not use (lpips, piqa, einops) are not needed. DeepFill v1 is run
without the color picture of its attention that its port draws in each forward pass.

Each implementation runs in a process of its own; the two run interleaved, and each measures its own processor time and wall
time. The public code runs unchanged, in float32, even if lit_inpaint runs under bfloat16 autocast. lit_inpaint runs as in
training and evaluation: with channels-last weights and with freed memory kept. Inference runs in evaluation mode; training is
forward and backward in training mode, without a feature extractor or an optimizer. Weights, images, masks and tolerance are
those of the parity tests; with another batch size, each sample has a mask of its own,
except in DeepFill.

`--compile` adds a third process, in which `torch.compile` has compiled the generator, with the weights frozen in inference
unless `--compile plain` is given. The seconds of compilation are not in the ratios. PyTorch 2.15 freezes WaveMix wrongly: it
folds a batch norm into a transposed convolution along the wrong axis where both sides have equally many channels.

The last line of each network tells what direct convolutions allow: the ratio if the multiplications and additions of
lit_inpaint's convolutions and matrix products took all of its time, at the speed of a dense 3x3 convolution of 256 channels.
Training counts three times those of inference.
"""

import argparse
import logging
import multiprocessing
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.utils.flop_counter import FlopCounterMode

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.nets.cpu import winograd
from lit_inpaint.papers import GLCIC, ContextEncoder, DeepFillV1, DeepFillV2, DeepGIN, EdgeConnect, LaMa, PConv, WaveMix
from lit_inpaint.types import composite

sys.path.append(str(Path(__file__).parents[1] / "papers"))
import parity_fixtures as parity

MODES = ("inference float32", "inference bfloat16", "training float32", "training bfloat16")
TOLERANCE = 2e-5


def module_of(clone: Path, commit: str, path: str, *unused: str, replacing: tuple[str, str] = ("", "")) -> types.ModuleType:
    """Load a file of a clone, or of a folder without git. Stubs replace `unused` modules; `replacing` edits the source."""
    for name in unused:
        sys.modules.setdefault(name, _Anything(name))
    if (clone / path).is_file() and not (clone / ".git").exists():
        source = (clone / path).read_text()
    else:
        command = ["git", "-C", str(clone), "show", f"{commit}:{path}"]
        source = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    module = types.ModuleType(Path(path).stem)
    exec(compile(source.replace(*replacing) if replacing[0] else source, path, "exec"), module.__dict__)
    return module


class _Anything(types.ModuleType):
    """A stub that has every attribute."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (nn.Module,), {}) if name[0].isupper() else lambda *_, **__: None


def context_encoder(clone: Path) -> nn.Module:
    options = types.SimpleNamespace(nc=3, nef=64, ngf=64, nBottleneck=4000, ngpu=1)
    network: nn.Module = module_of(clone, "01cbf96", "model.py")._netG(options)
    return network


def run_context_encoder(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    color = torch.tensor([117, 104, 123], device=image.device).view(3, 1, 1) / 255
    emptied = image.clone()
    emptied[..., 36:92, 36:92] = color
    return [(network(2 * emptied - 1) + 1) / 2]


def run_lit_inpaint_context_encoder(model: Inpainter, image: Tensor, mask: Tensor) -> list[Tensor]:
    hole = torch.zeros_like(mask)
    hole[..., 36:92, 36:92] = 1
    return [model(image, hole).image[..., 32:96, 32:96]]


def glcic(clone: Path) -> nn.Module:
    sys.modules["layers"] = module_of(clone, "3f9de13", "layers.py")
    network: nn.Module = module_of(clone, "3f9de13", "models.py").CompletionNetwork()
    return network


def run_glcic(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    color = torch.tensor([0.485, 0.456, 0.406], device=image.device).view(3, 1, 1)
    return [network(torch.cat([image - image * mask + color * mask, mask], dim=1))]


def deepgin(clone: Path) -> nn.Module:
    module = module_of(clone, "cfcef5dd13f6431e296c862cf4a8a4efa827b6c2", "models/networks.py")
    network: nn.Module = module.ImageTinker2(4, 3, pad_type="replicate")
    return network


def pconv(clone: Path) -> nn.Module:
    network: nn.Module = module_of(clone, "8d64e7ec57106ddfee28656405175774eb780936", "net.py").PConvUNet(layer_size=7)
    return network


def wavemix(clone: Path) -> nn.Module:
    unused = ("lpips", "piqa", "piqa.utils", "einops", "einops.layers", "einops.layers.torch", "numpy.lib.function_base")
    device = "0" if torch.cuda.is_available() else '"cpu"'
    module = module_of(clone, "97b502f", "suppliment.py", *unused, replacing=("device=0\n", f"device={device}\n"))
    network: nn.Module = module.Model(num_classes=3, depth=7, ff_channel=128, final_dim=128, num_models=4)
    return network


def edgeconnect(clone: Path) -> nn.Module:
    """The inpainting generator. The edge generator differs in its channels of input and output, and by spectral norm."""
    network: nn.Module = module_of(clone, "3142579785c5c8cc92ad655616d40f4f52fc7ec1", "src/networks.py").InpaintGenerator()
    return network


def edges_of(image: Tensor) -> Tensor:
    """A tenth of the pixels, since Canny's edges of noise say nothing."""
    return (image[:, :1] < 0.1).float()


def run_edgeconnect(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    return [network(torch.cat([image * (1 - mask) + mask, edges_of(image)], dim=1))]


def run_lit_inpaint_edgeconnect(model: Inpainter, image: Tensor, mask: Tensor) -> list[Tensor]:
    return [model.generator(image, mask, edges_of(image), "true_edges").image]


def deepfill(clone: Path) -> nn.Module:
    network: nn.Module = module_of(clone, "4899fd38a9eb4008b1dc0edad7a0c4169521f618", "model/networks.py").Generator()
    return network


def lama(clone: Path) -> nn.Module:
    """The released "big-lama" has 18 blocks, this network 9. The sigmoid at its end is in `run_lama`."""
    package = "saicinpainting"
    modules = [f"{package}.training.modules.{name}" for name in ("base", "spatial_transform", "squeeze_excitation")]
    unused = (package, f"{package}.training", f"{package}.training.modules", f"{package}.utils", *modules)
    module = module_of(clone, "786f5936b27fb3dacd2b1ad799e4de968ea697e7", f"{package}/training/modules/ffc.py", *unused)
    edge, inner = ({"ratio_gin": ratio, "ratio_gout": ratio, "enable_lfu": False} for ratio in (0, 0.75))
    network: nn.Module = module.FFCResNetGenerator(
        4, 3, add_out_act=False, init_conv_kwargs=edge, downsample_conv_kwargs=edge, resnet_conv_kwargs=inner
    )
    return network


def run_lama(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    return [torch.sigmoid(network(torch.cat([image * (1 - mask), mask], dim=1)))]


def run_deepgin(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    return list(network(image * (1 - mask) + mask, mask)[1:])


def run_lit_inpaint_deepgin(model: Inpainter, image: Tensor, mask: Tensor) -> list[Tensor]:
    prediction = model(image, mask)
    return [prediction.image, prediction.stages["coarse"], prediction.stages["low_resolution"]]


def run_deepfill(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    mask = mask[:1].expand_as(mask)  # the port's attention uses the first one for all samples
    emptied, ones = (2 * image - 1) * (1 - mask), torch.ones_like(mask)
    return [(output + 1) / 2 for output in network(torch.cat([emptied, ones, mask], dim=1), mask)]


def run_lit_inpaint_deepfill(model: Inpainter, image: Tensor, mask: Tensor) -> list[Tensor]:
    mask = mask[:1].expand_as(mask)
    prediction = model(image, mask)
    return [prediction.stages["coarse"], prediction.image]


def deepfill_v1(clone: Path) -> nn.Module:
    commit = "c6cdaea0427b37b5b38a3f48d4355abf9566c659"
    sys.modules["utils"] = types.ModuleType("utils")
    sys.modules["utils.tools"] = tools = module_of(clone, commit, "utils/tools.py")
    vars(tools)["flow_to_image"] = lambda flow: numpy.zeros((*flow.shape[:3], 3), numpy.float32)
    options = {"input_dim": 3, "ngf": 32}
    network: nn.Module = module_of(clone, commit, "model/networks.py").Generator(options, False, None)
    return network


def run_deepfill_v1(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    mask = mask[:1].expand_as(mask)  # as in `run_deepfill`
    return [(output + 1) / 2 for output in network((2 * image - 1) * (1 - mask), mask)[:2]]


def run_pconv(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    known = (1 - mask).expand_as(image)
    mean, deviation = (
        torch.tensor(x, device=image.device).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    output = network((image - mean) / deviation * known, known)[0]
    return [output * deviation + mean]


def run_wavemix(network: nn.Module, image: Tensor, mask: Tensor) -> list[Tensor]:
    return [network(image * (1 - mask), mask)]


def run_lit_inpaint_wavemix(model: Inpainter, image: Tensor, mask: Tensor) -> list[Tensor]:
    return [composite(image * (1 - mask), model(image, mask).image, mask)]


Runs = Callable[[Any, Tensor, Tensor], list[Tensor]]


def glcic_generator() -> Inpainter:
    """The whole generator and a small discriminator, which this comparison does not use."""
    return GLCIC(size=32, local_size=16, global_layers=5, discriminator_width=4, features=8)


class Case(NamedTuple):
    """A network: how to build and call both implementations, image side, batch size, and the fixture with its weights."""

    build_public: Callable[[Path], nn.Module]
    build: Callable[[], Inpainter]
    run_public: Runs
    run: Runs
    size: int
    batch: int
    fixture: str


CASES = {
    "context_encoder": Case(
        context_encoder, ContextEncoder, run_context_encoder, run_lit_inpaint_context_encoder, 128, 4, "context_encoder"
    ),
    "deepfill": Case(
        deepfill, lambda: DeepFillV2(variant="port"), run_deepfill, run_lit_inpaint_deepfill, 256, 2, "deepfillv2"
    ),
    "deepfill_v1": Case(
        deepfill_v1, lambda: DeepFillV1(variant="port"), run_deepfill_v1, run_lit_inpaint_deepfill, 256, 2, "deepfillv1"
    ),
    "edgeconnect": Case(edgeconnect, EdgeConnect, run_edgeconnect, run_lit_inpaint_edgeconnect, 256, 2, "edgeconnect_inpaint"),
    "gin": Case(deepgin, DeepGIN, run_deepgin, run_lit_inpaint_deepgin, 256, 2, "deepgin_generator"),
    "glcic": Case(glcic, glcic_generator, run_glcic, lambda m, x, k: [m(x, k).image], 256, 2, "glcic"),
    "pconv": Case(
        pconv, lambda: PConv(levels=7), run_pconv, lambda m, x, k: [m(x, k).image], 256, 2, "pconv_unet_naoto_layers7"
    ),
    "lama": Case(lama, LaMa, run_lama, lambda m, x, k: [m(x, k).image], 256, 2, "lama_fourier"),
    "wavemix": Case(
        wavemix, lambda: WaveMix(variant="official"), run_wavemix, run_lit_inpaint_wavemix, 96, 4, "wavemix_history97b502f"
    ),
}


def weights_of(fixture: str) -> dict[str, Tensor]:
    metadata = parity.metadata(fixture)
    if "state" in metadata:
        rows = [row for row in metadata["state"] if row[3] != "constant"]  # such as the identity that fuses scores
        return parity.fill_roles(rows, metadata["gain"])
    rows = [row for row in metadata["state_dict"] if row[3] != "alias"]
    state = parity.fill_all(rows, rules=[tuple(rule) for rule in metadata["weight_fill"]["rules"]])
    for key, _, _, action, *_ in metadata["state_dict"]:
        if action == "alias":  # WaveMix's last module, the fourth, has two names
            state[key] = state[key.replace("wave.", "layers.3.", 1)]
    return state


def make(name: str, clone: Path | None) -> tuple[Any, Runs]:
    """Build an implementation with the fixture's weights, the public one if `clone` is given; return how to call it too."""
    case = CASES[name]
    torch.manual_seed(0)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    network: Any
    if clone is None:
        network, run = case.build(), case.run
        network.load_official(weights_of(case.fixture))
        network.configure_model()
    else:
        network, run = case.build_public(clone), case.run_public
        network.load_state_dict(weights_of(case.fixture), strict=False)
    return network, run


def work(pipe: Connection, name: str, clone: Path | None, compiled: str | None, batch: int | None, threads: int) -> None:
    """Serve one implementation in this process, the public one if `clone` is given. See `request` for its questions."""
    case = CASES[name]
    torch.set_num_threads(threads)
    if clone is None:
        tune_malloc()
    network, run = make(name, clone)
    if compiled is not None:
        inductor.freezing = compiled == "frozen"  # in inference; in training the weights stay variables
        network.generator.compile()
    count = batch or case.batch
    image, mask = parity.image(case.size, batch=count), parity.mask(case.size, batch=count)
    while (request := pipe.recv()) != "end":
        if request == "outputs":
            network.eval()
            with torch.inference_mode():
                pipe.send([output.numpy() for output in run(network, image, mask)])
            continue
        if request == "operations":
            network.eval()
            with torch.inference_mode(), winograd.disabled(), FlopCounterMode(display=False) as counter:
                run(network, image, mask)
            pipe.send(counter.get_total_flops())
            continue
        if request in PEAKS:
            pipe.send(operations_per_second(PEAKS[request]))
            continue
        phase, precision = request.split()
        training = phase == "training"
        network.train(training)
        network.zero_grad()
        low = clone is None and precision == "bfloat16"
        start, clock = time.process_time(), time.perf_counter()
        with nullcontext() if training else torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            outputs = run(network, image, mask)
            if training:
                loss = torch.stack([output.float().square().mean() for output in outputs]).sum()
        if training:
            loss.backward()
        pipe.send((time.process_time() - start, time.perf_counter() - clock))


PEAKS = {"peak float32": torch.float32, "peak bfloat16": torch.bfloat16}


def operations_per_second(precision: torch.dtype) -> float:
    """Measure a dense 3x3 convolution of 256 channels: operations per second of processor time, best of 5."""
    convolution = nn.Conv2d(256, 256, 3, padding=1).to(precision, memory_format=torch.channels_last)
    x = torch.rand(2, 256, 64, 64, dtype=precision).contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        convolution(x)
        for _ in range(5):
            start = time.process_time()
            convolution(x)
            seconds.append(time.process_time() - start)
    return 2 * 9 * 256 * 256 * 2 * 64 * 64 / min(seconds)


def request(pipe: Connection, name: str) -> Any:
    """Ask for "outputs", the number of "operations", a peak, or the processor time and wall time of a mode."""
    pipe.send(name)
    return pipe.recv()


def median_and_range(values: list[float]) -> str:
    return f"{statistics.median(values):5.2f} ({min(values):.2f}-{max(values):.2f})"


def compare(name: str, clone: Path, modes: list[str], options: argparse.Namespace) -> bool:
    """Print the rows of one network; return whether the outputs are equal."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for label, repository in {"public": clone, "lit_inpaint": None, **({"compiled": None} if options.compile else {})}.items():
        pipes[label], child = context.Pipe()
        arguments = (child, name, repository, options.compile if label == "compiled" else None, options.batch, options.threads)
        processes.append(context.Process(target=work, args=arguments, daemon=True))
        processes[-1].start()
        child.close()
    expected, equal = request(pipes["public"], "outputs"), True
    for label in list(pipes)[1:]:
        outputs = request(pipes[label], "outputs")
        differences = [float(abs(a - b).max()) for a, b in zip(expected, outputs, strict=True)]
        equal &= (same := max(differences) < TOLERANCE)
        listed = ", ".join(f"{value:.1e}" for value in differences)
        print(f"{name}: largest differences of the outputs, {label} {listed}: {'equal' if same else 'NOT EQUAL'}", flush=True)
    bounds, operations = [], request(pipes["lit_inpaint"], "operations")
    for mode in modes:
        rounds = [{label: request(pipe, mode) for label, pipe in pipes.items()} for _ in range(options.rounds + 1)][1:]
        for index, clock in enumerate(("processor", "wall")):
            seconds = {label: statistics.median(row[label][index] for row in rounds) for label in pipes}
            told = [f"{name:11} {mode:18} {clock:9}  public {seconds['public']:7.3f} s"]
            for label in list(pipes)[1:]:
                ratios = median_and_range([row["public"][index] / row[label][index] for row in rounds])
                told.append(f"{label} {seconds[label]:7.3f} s   ratio {ratios}")
            print("   ".join(told), f"  n = {len(rounds)}", flush=True)
            if clock == "processor":
                rate = request(pipes["lit_inpaint"], f"peak {mode.split()[1]}")
                needed = operations * (3 if mode.startswith("training") else 1) / rate
                bounds.append(f"{mode} {seconds['public'] / needed:.2f} (at {rate / 1e9:.0f} GFLOP/s)")
    print(
        f"{name}: {operations / 1e9:.1f} GFLOP in inference; direct convolutions allow at most {', '.join(bounds)}", flush=True
    )
    for pipe in pipes.values():
        pipe.send("end")
    for process in processes:
        process.join()
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in CASES:
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help="clone of the public repository")
    parser.add_argument("--only", nargs="+", choices=CASES)
    parser.add_argument("--modes", nargs="+", choices=("inference", "training", "float32", "bfloat16"), default=[])
    parser.add_argument(
        "--compile", nargs="?", const="frozen", choices=("frozen", "plain"), help="measure the compiled generator too"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, help="batch size (default: 2 for deepfill, gin and pconv, 4 for wavemix)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    modes = [mode for mode in MODES if all(any(word in mode for word in pair & {*options.modes} or pair) for pair in PAIRS)]
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, threads: {options.threads}; "
        "ratio public / lit_inpaint"
    )
    if "bfloat16" not in options.modes and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        modes = [mode for mode in modes if "bfloat16" not in mode]
        print("bfloat16: skipped, since this processor has no instructions for it; --modes bfloat16 measures it anyway")
    equal = []
    for name in CASES if options.only is None else options.only:
        clone = getattr(options, name)
        if clone is None or not clone.is_dir():
            print(f"{name}: skipped, --{name} {'is not given' if clone is None else f'{clone} is not a folder'}")
            continue
        equal.append(compare(name, clone, modes, options))
    return 0 if all(equal) else 1


PAIRS = ({"inference", "training"}, {"float32", "bfloat16"})

if __name__ == "__main__":
    sys.exit(main())
