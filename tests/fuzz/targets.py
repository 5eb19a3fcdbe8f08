"""What is fuzzed: each target writes mutated files into a folder, and names a command or a reader that takes them."""

from __future__ import annotations

import contextlib
import functools
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import anyio
import mutations
import numpy as np
import tiny_gan
import torch
import yaml
from PIL import Image
from safetensors.torch import save as save_safetensors
from scipy.io import savemat
from starlette.requests import ClientDisconnect

from lit_inpaint.engine.checkpoint_metadata import describe_weights


class Case(NamedTuple):
    """A command with its arguments, or a function to call; outputs belong into the folder `out`."""

    command: str
    argv: Sequence[str] = ()
    call: Callable[[], object] | None = None


Target = Callable[[Random, Path], Case]
_SMALL = ("--data.size", "16", "--data.workers", "0", "--data.batch_size", "2")


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_images(rng: Random, folder: Path, count: int, size: tuple[int, int] = (20, 18)) -> list[Path]:
    """Write valid RGB images."""
    paths = []
    for number in range(count):
        file = io.BytesIO()
        Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])).save(file, format="PNG")
        paths.append(write(folder / f"{number}.png", file.getvalue()))
    return paths


def write_mask(folder: Path, name: str, size: tuple[int, int]) -> Path:
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, max(1, size[0] // 2), max(1, size[1] // 2)))
    folder.mkdir(parents=True, exist_ok=True)
    mask.save(folder / name)
    return folder / name


def images(rng: Random, folder: Path) -> Case:
    from lit_inpaint.storage import image_decode as reader

    content, suffix, size = mutations.broken_image(rng)
    path = write(folder / "in" / f"a{suffix}", content)
    choice = rng.random()
    if choice < 0.85:

        def read_all() -> None:
            try:
                reader.read_metadata(path)
                shape = reader.read_shape(path)
                reader.read_pixels(path)
                found = tuple(reader.read_image(path).shape[1:])
            except reader.UnreadableImageError:
                reader.read_metadata(path)
                raise
            assert shape == found, f"the header has {shape}, the pixels have {found}"

        return Case("read_image", call=read_all)
    for number in range(rng.randrange(3)):
        other, suffix, _ = mutations.broken_image(rng)
        write(folder / "in" / f"b{number}{suffix}", other)
    if choice < 0.91:
        mask = write_mask(folder, "mask.png", size)
        options = ("--images", str(path), "--masks", str(mask), "--method", rng.choice(("mean", "telea", "navier_stokes")))
        return Case("inpaint", (*options, "--output", str(folder / "out"), "--max_hole", "1"))
    write_images(rng, folder / "in", 2)
    if choice < 0.97:
        options = ("--data", str(folder / "in"), "--size", "16", "--workers", "0", "--format", rng.choice(("jpg", "png")))
        return Case("prepare", (*options, "--output", str(folder / "out")))
    data = ("--data.root", str(folder / "in"), *_SMALL, "--baselines", "mean", "--output", str(folder / "out" / "r.json"))
    if choice < 0.985:
        return Case("evaluate", data)
    results = folder / "results"
    for source in (folder / "in").iterdir():
        write(results / f"{source.stem}{suffix}", mutations.broken_image(rng)[0])
    return Case("evaluate", (*data, "--results", f"other={results}"))


def masks(rng: Random, folder: Path) -> Case:
    from lit_inpaint.masks import read_mask

    content, suffix, size = mutations.broken_image(rng)
    path = write(folder / "masks" / f"0{suffix}", content)
    choice = rng.random()
    if choice < 0.8:
        return Case("read_mask", call=lambda: read_mask(path, white_is_hole=rng.random() < 0.5))
    if choice < 0.9:
        (image,) = write_images(rng, folder / "in", 1, size)
        options = ("--images", str(image), "--masks", str(path), "--method", "mean", "--max_hole", "1")
        return Case("inpaint", (*options, *("--black_is_hole",) * rng.randrange(2), "--output", str(folder / "out")))
    for number in range(1, 3):
        write(folder / "masks" / f"{number}{suffix}", mutations.broken_image(rng)[0])
    if choice < 0.98:
        spec = {"class_path": "RandomFromFolder", "init_args": {"root": str(folder / "masks")}}
        spec["init_args"] |= rng.choice(({}, {"ratio": [0.1, 0.6]}, {"dilate": [0.1, 0.2], "rotate": 45}))
        options = ("--masks", json.dumps(spec), "--size", "32", "--count", "2", "--output", str(folder / "out" / "m.png"))
        return Case("preview", options)
    write_images(rng, folder / "in", 3, size)
    spec = {"class_path": "lit_inpaint.masks.PerImageMasks", "init_args": {"root": str(folder / "masks")}}
    data = ("--data.root", str(folder / "in"), *_SMALL, "--data.val_masks", json.dumps([spec]), "--baselines", "mean")
    return Case("evaluate", (*data, "--output", str(folder / "out" / "r.json")))


def archives(rng: Random, folder: Path) -> Case:
    from lit_inpaint.data.archives import list_archive
    from lit_inpaint.storage.image_decode import UnreadableImageError

    if rng.random() < 0.6:
        path = write(folder / "in" / "a.zip", mutations.zip_archive(rng))
    else:
        path = write(folder / "in" / "a.tar", mutations.tar_archive(rng))
    if rng.random() < 0.1:
        path = path.rename(path.with_name(rng.choice(("a.tar", "a.zip", "a.tar.gz", "CelebAMask-HQ.zip"))))

    def read_all() -> None:
        members = list_archive(path)
        for index in range(len(members)):
            try:
                members.shape(index)
                members.read(index)
            except UnreadableImageError:
                continue

    choice = rng.random()
    if choice < 0.85:
        return Case("list_archive", call=read_all)
    name = rng.choice(("CelebA", "CelebAHQ", "ADE20K", "Places2", "TinyImageNet", "FFHQ", "STL10"))
    options = (
        "--data",
        name,
        "--data.root",
        str(path if choice < 0.95 else path.parent),
        "--size",
        "16",
        "--workers",
        "0",
        "--output",
        str(folder / "out"),
    )
    return Case("prepare", options)


@functools.cache
def checkpoint() -> dict[str, Any]:
    """A checkpoint of a paper of a few hundred parameters, with what `fit` records."""
    model = tiny_gan.make_tiny()
    record = describe_weights(type(model), model.hparams, 0)
    data = {"class_path": "lit_inpaint.data.DemoPhotos", "init_args": {"size": 16, "workers": 0, "val_crops": 1}}
    record["config"] = {
        "model": {"class_path": "tiny_gan.TinyGAN", "init_args": {}},
        "data": data,
        "seed": 0,
        "protocol": "lpi",
    }
    weights = {name: value.clone() for name, value in model.generator.state_dict().items()}
    split = {"images": 1, "sha256": "0" * 64, "sha256_names": "0" * 64, "paths": torch.zeros(1, dtype=torch.int64)}
    return {
        "state_dict": {name: value.clone() for name, value in model.state_dict().items()},
        "lit_inpaint": record,
        "global_step": 3,
        "callbacks": {"GeneratorEMA": {"weights": weights}},
        "splits": {"root": None, "note": "", "train": split, "val": split, "test": split, "mix": []},
    }


def checkpoints(rng: Random, folder: Path) -> Case:
    from lit_inpaint.runs.checkpoint_file import load, read_resume_point
    from lit_inpaint.runs.init_from import init_from

    content = mutations.mutate_checkpoint(rng, checkpoint(), str(folder / "EXECUTED"))
    path = write(folder / "a.ckpt", content)
    choice = rng.random()
    if choice < 0.7:
        return Case("load", call=lambda: load(path))
    if choice < 0.78:
        return Case("init_from", call=lambda: init_from(tiny_gan.make_tiny(), path))
    if choice < 0.84:
        return Case("read_resume_point", call=lambda: read_resume_point(path, "tiny_gan.TinyGAN"))
    if choice < 0.91:
        (image,) = write_images(rng, folder / "in", 1)
        options = ("--images", str(image), "--masks", str(write_mask(folder, "m.png", (20, 18))), "--checkpoint", str(path))
        return Case("inpaint", (*options, "--output", str(folder / "out")))
    if choice < 0.98:
        path = path.rename(path.with_suffix(rng.choice((".pth", ".ckpt", ".safetensors"))))
        options = ("--model.class_path", "tiny_gan.TinyGAN", "--output", str(folder / "out" / "b.ckpt"))
        return Case("convert", (str(path), *options))
    return Case("evaluate", ("--checkpoint", str(path), "--output", str(folder / "out" / "r.json")))


def models(rng: Random, folder: Path) -> Case:
    """Folders in the layout of model hubs, and files of weights."""
    from lit_inpaint.runs.checkpoint_file import load
    from lit_inpaint.storage.pretrained_weights import read_state_dict

    model = tiny_gan.make_tiny()
    record = {name: describe_weights(type(model), model.hparams, 0)[name] for name in ("paper", "settings", "seed", "versions")}
    config = json.dumps({"library_name": "lit_inpaint", "lit_inpaint": record, "global_step": 1}).encode()
    weights = save_safetensors({name: value.half().contiguous() for name, value in model.generator.state_dict().items()})
    if rng.random() < 0.5:
        config = mutations.json_file(rng, json.loads(config))
    if rng.random() < 0.6:
        weights = mutations.mutate_safetensors(rng, weights)
    write(folder / "model" / "config.json", config)
    path = write(folder / "model" / "model.safetensors", weights)
    choice = rng.random()
    if choice < 0.7:
        return Case("load", call=lambda: load(rng.choice((path, path.parent))))
    if choice < 0.9:
        other = write(folder / "a.pth", mutations.mutate_checkpoint(rng, checkpoint(), str(folder / "EXECUTED")))
        return Case("read_state_dict", call=lambda: read_state_dict(rng.choice((path, other)), "fetch it again"))
    options = ("--model.class_path", "tiny_gan.TinyGAN", "--output", str(folder / "out" / "b.ckpt"))
    return Case("convert", (str(path), *options))


def _experiment(root: Path) -> dict[str, Any]:
    """A configuration with most kinds of settings."""
    mask = {"class_path": "lit_inpaint.masks.FreeForm", "init_args": {}}
    ratio = {"class_path": "lit_inpaint.masks.MaskRatio", "init_args": {"source": mask, "low": 0.1, "high": 0.5}}
    return {
        "protocol": "lpi",
        "seed": 1,
        "ema": 0.99,
        "model": {
            "class_path": "tiny_gan.TinyGAN",
            "init_args": {"dropout": 0.1, "weights": {"l1": 1.0}, "training": {"clip_generator": 0.5}},
        },
        "data": {
            "class_path": "lit_inpaint.data.Folder",
            "init_args": {"root": str(root), "size": 16, "batch_size": 2, "workers": 0, "masks": ratio, "val_masks": [mask]},
        },
        "trainer": {"max_steps": 2, "val_check_interval": 2},
        "baselines": True,
        "wandb": {"mode": "disabled"},
    }


def configurations(rng: Random, folder: Path) -> Case:
    write_images(rng, folder / "in", 3)
    path = write(folder / "a.yaml", mutations.yaml_file(rng, _experiment(folder / "in")))
    choice = rng.random()
    if choice < 0.15:
        write(
            folder / "b.yaml",
            rng.choice((b"base: a.yaml\n", b"base: b.yaml\n", b"base: ./../b.yaml\n", b"model: a.yaml\n", b"data: b.yaml\n")),
        )
        return Case("fit", ("--experiment", str(folder / "b.yaml"), "--print_config"))
    if choice < 0.6:
        return Case("fit", ("--experiment", str(path), "--print_config"))
    if choice < 0.8:
        return Case("preview", ("--experiment", str(path), "--output", str(folder / "out" / "p.png")))
    return Case("prepare", ("--data", str(path), "--workers", "0", "--output", str(folder / "out")))


_OPTIONS = (
    *(
        "data.size",
        "data.batch_size",
        "data.root",
        "data.masks",
        "data.val_masks",
        "data.train_transform",
        "data.val_transform",
    ),
    *(
        "data.workers",
        "data.repeat",
        "data.seed",
        "data.cache",
        "data.on_bad_file",
        "data.mix",
        "data",
        "data.class_path",
        "data..x",
    ),
)


def options(rng: Random, folder: Path) -> Case:
    """Values of settings on the command line."""
    write_images(rng, folder / "in", 3)
    path = write(folder / "a.yaml", yaml.safe_dump(_experiment(folder / "in")).encode())
    argv = ["--experiment", str(path)]
    for _ in range(rng.randint(1, 2)):
        text = rng.choice(
            (
                str(mutations.strange_value(rng)),
                rng.choice(mutations._YAML_TEXTS),
                mutations.yaml_file(rng, [1, {"a": 2}]).decode("utf-8", "surrogateescape"),
            )
        )
        argv += [f"--{rng.choice(_OPTIONS)}", text.replace("\0", "")[:50_000]]
    if rng.random() < 0.7:
        return Case("fit", (*argv, "--print_config"))
    return Case("preview", (*argv, "--output", str(folder / "out" / "p.png")))


def lists(rng: Random, folder: Path) -> Case:
    """Text files that choose the images of a data set, and its boxes."""
    root = folder / "in"
    options = ["--size", "16", "--workers", "0", "--output", str(folder / "out"), "--data.root", str(root)]
    kind = rng.randrange(5)
    if kind == 0:
        paths = write_images(rng, root, 4)
        text = "\n".join(rng.choice((path.name, str(path), f"{path.name} 3", f"G:\\x\\{path.name}")) for path in paths)
        write(folder / "train.txt", mutations.text_file(rng, text))
        return Case("prepare", ("--data", "ListFile", *options, "--data.train", str(folder / "train.txt")))
    if kind == 1:
        names = [path.name for path in write_images(rng, root / "images" / "1.Bird", 4)]
        text = {"images.txt": [f"{n} 1.Bird/{name}" for n, name in enumerate(names, 1)]}
        text["bounding_boxes.txt"] = [f"{n} {n}.0 1.0 5.0 6.0" for n in range(1, 5)]
        changed = rng.choice(tuple(text))
        for name, lines in text.items():
            whole = "\n".join(lines)
            write(root / name, mutations.text_file(rng, whole) if name == changed else whole.encode())
        return Case("prepare", ("--data", "CUB200", *options))
    if kind == 2:
        names = [path.name for path in write_images(rng, root / "car_ims", 4)]
        columns = [(name, 2, 2, 9, 9) for name in names]
        kinds = [("relative_im_path", object), *((f"bbox_{name}", object) for name in ("x1", "y1", "x2", "y2"))]
        file = io.BytesIO()
        savemat(file, {"annotations": np.array(columns, dtype=kinds)}, do_compression=rng.random() < 0.5)
        write(root / "cars_annos.mat", mutations.mutate_bytes(rng, file.getvalue()))
        return Case("prepare", ("--data", "StanfordCars", *options))
    if kind == 3:
        for path in write_images(rng, root / "img_align_celeba", 4):
            path.rename(path.with_name(f"{int(path.stem) * 70_000 + 1:06}.jpg"))
        text = "\n".join(f"{number:06}.jpg {number % 3}" for number in (1, 70_001, 140_001, 210_001))
        write(root / "list_eval_partition.txt", mutations.text_file(rng, text))
        return Case("prepare", ("--data", "CelebA", *options))
    write_images(rng, root / "ADEChallengeData2016" / "images" / "training", 3)
    write_images(rng, root / "ADEChallengeData2016" / "images" / "validation", 2)
    write(folder / "subset.txt", mutations.text_file(rng, "0\n1\n2"))
    return Case("prepare", ("--data", "ADE20K", *options, "--data.subset", str(folder / "subset.txt")))


@functools.cache
def _grid() -> bytes:
    from lit_inpaint.visualization.grids import save_grid

    path = Path(f"/tmp/fuzz_grid_{id(object())}.png")
    save_grid(Image.effect_noise((400, 200), 60).convert("RGB"), path, [{"name": "a", "psnr": 20.0, "mask_ratio": 0.2}] * 2)
    content = path.read_bytes()
    path.unlink()
    return content


def runs(rng: Random, folder: Path) -> Case:
    """Run directories, for `report`."""
    run = folder / "run"
    config = _experiment(folder / "in")
    lines = [
        "step,train/stage,train/loss,val/psnr,val/ssim,val/psnr/10-20",
        "1,a,0.5,,,",
        "2,a,0.4,20.1,0.7,19",
        "4,b,0.3,21,0.8,20",
    ]
    row = {
        "method": "TinyGAN",
        "protocol": "lpi",
        "bucket": "all",
        "metric": "psnr",
        "value": 20.0,
        "n": 3,
        "ci_low": 19.0,
        "ci_high": 21.0,
    }
    table = {"rows": [row, row | {"metric": "ssim", "value": None}, row | {"method": "mean", "bucket": "10-20"}]}
    starts = [{"processes": ["0 cpu"], "launcher": "x", "machine": {"python": "3"}, "time": "now"}]
    changed = rng.sample(("config", "metrics", "final", "launches", "grid", "checkpoint"), rng.choice((1, 1, 2)))
    write(run / "config.yaml", mutations.yaml_file(rng, config) if "config" in changed else yaml.safe_dump(config).encode())
    text = "\n".join([*lines, ""])
    write(run / "metrics.csv", mutations.text_file(rng, text) if "metrics" in changed else text.encode())
    write(run / "final_evaluation.json", mutations.json_file(rng, table) if "final" in changed else json.dumps(table).encode())
    write(run / "launches.yaml", mutations.yaml_file(rng, starts) if "launches" in changed else yaml.safe_dump(starts).encode())
    grid = mutations.mutate_png(rng, _grid()) if rng.random() < 0.5 else mutations.mutate_bytes(rng, _grid())
    write(run / "samples" / f"step_{rng.choice((2, 4, '9' * 30))}.png", grid if "grid" in changed else _grid())
    if "checkpoint" in changed:
        content = mutations.mutate_checkpoint(rng, checkpoint(), str(folder / "EXECUTED"))
        write(run / "checkpoints" / "last.ckpt", content)
    return Case("report", (str(run), "--output", str(folder / "out" / "r.html")))


def resumed(rng: Random, folder: Path) -> Case:
    """Files that an interrupted command left behind."""
    from lit_inpaint import prepare
    from lit_inpaint.evaluation.partial_results import PartialResults

    write_images(rng, folder / "in", 3)
    if rng.random() < 0.5:
        record = {"key": "k", "first": 0, "samples": [["a", 0.2, [20.0, 0.5]], None]}
        changed = mutations.mutate_tree(rng, mutations.copy_tree(record))
        lines = "\n".join([json.dumps(record), json.dumps(changed), ""]).encode()
        path = write(folder / "r.partial.jsonl", mutations.mutate_bytes(rng, lines) if rng.random() < 0.5 else lines)

        def read() -> None:
            partial = PartialResults(path, {"a": "k"}, num_scores=2)
            count = partial.count()
            assert all(len(score.scores) for score in partial.samples("a", range(count)))
            assert all(number < count for number in partial.left_out(count))
            if scores := partial.samples("a", range(count)):
                partial.add("a", count, [count], scores[:1])

        return Case("read_partial_results", call=read)
    argv = ("--data", str(folder / "in"), "--size", "16", "--workers", "0", "--output", str(folder / "out"))
    with contextlib.redirect_stdout(io.StringIO()):
        prepare.main(list(argv))
    if rng.random() < 0.7:
        report = folder / "out" / "report.csv"
        write(report, mutations.text_file(rng, report.read_text()))
    else:
        splits = folder / "out" / "splits.json"
        write(splits, mutations.json_file(rng, json.loads(splits.read_text())))
    return Case("prepare", argv)


@functools.cache
def _methods() -> list[Any]:
    """Methods of the page: a classical one, a network, and one that takes edges."""
    from lit_inpaint.app.methods import Method, filler_of
    from lit_inpaint.evaluation.baselines import ClassicalMethod, telea
    from lit_inpaint.papers import EdgeConnect

    torch.manual_seed(0)
    networks = {"tiny": tiny_gan.make_tiny().eval(), "edges": EdgeConnect(width=2, discriminator_width=2).eval()}
    classical = Method("telea", "Telea", filler_of(ClassicalMethod("Telea", telea)), max_hole=50_000)
    return [classical, *(Method(name, name, filler_of(network)) for name, network in networks.items())]


def _form(rng: Random, parts: list[tuple[str, str | None, bytes]], boundary: bytes) -> bytes:
    """Write the body of a form: names, file names (None: a value) and contents."""
    body = b""
    for name, file_name, content in parts:
        body += b"--" + boundary + b'\r\nContent-Disposition: form-data; name="' + name.encode() + b'"'
        if file_name is not None:
            body += b'; filename="' + file_name.encode("utf-8", "surrogateescape") + b'"\r\nContent-Type: '
            body += rng.choice((b"image/png",) * 20 + (b"text/html", b"\xff", b""))
        body += b"\r\n\r\n" + content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


def uploads(rng: Random, folder: Path) -> Case:
    """Requests to the page, as the server gets them from a socket."""
    from lit_inpaint.app.server import Limits, build

    size = (rng.randint(1, 30), rng.randint(1, 30))
    (picture,) = write_images(rng, folder / "in", 1, size)
    contents = {"picture": picture.read_bytes(), "mask": write_mask(folder, "m.png", size).read_bytes()}
    route = rng.choice(("fill", "fill", "fill", "mask", "preview", "edges"))
    if route == "edges" or (route == "fill" and rng.random() < 0.2):
        contents["edges"] = contents["mask"]
    for name in rng.sample(sorted(contents), rng.choice((0, 1, 1, 2))):
        contents[name], _, broken_size = mutations.broken_image(rng)
        if name == "picture" and rng.random() < 0.7:  # else most are refused for the mask's size
            contents["mask"] = write_mask(folder, "m.png", broken_size).read_bytes()
    names = ("a.png", "", "../../a.png", "C:\\a\\b.jpg", "x" * 3000, "a\n\rb\x1b[31m.png", "\udcff.png", 'a"b.png', "é😀.png")
    parts: list[tuple[str, str | None, bytes]] = [
        (name, rng.choice(("a.png",) * 20 + names), content) for name, content in contents.items()
    ]
    width, height = rng.choice((size,) * 6 + ((0, -1), (10**30, 1), (1, 10**9)))
    method = rng.choice(("telea", "tiny", "edges") * 6 + ("", "nope", "x" * 900, "x" * 2000, "../telea", "\0"))
    parts += [("method", None, method.encode()), ("width", None, b"%d" % width), ("height", None, b"%d" % height)]
    chance = rng.random()
    if chance < 0.1:
        del parts[rng.randrange(len(parts))]
    elif chance < 0.2:
        parts += [rng.choice(parts)] * rng.choice((1, 1, 40))
    elif chance < 0.25:
        name, file_name, content = parts[rng.randrange(len(parts))]
        parts.append((name, None if file_name else "a.png", content))
    boundary = rng.choice((b"b", b"boundary", b"-" * 70) * 7 + (b"x" * 3000,))
    body = _form(rng, parts, boundary)
    if rng.random() < 0.15:
        body = mutations.mutate_bytes(rng, body)
    rare = rng.random() < 0.25
    kind, host, method_name, path = b"multipart/form-data; boundary=" + boundary, b"127.0.0.1:7860", "POST", f"/{route}"
    headers: list[tuple[bytes, bytes]] = []
    if rare:
        kind = rng.choice((kind, kind, b"multipart/form-data", b"text/plain", b"\xff", b""))
        host = rng.choice((host, host, host, b"evil.example", b"[::1", b"\xff", b""))
        method_name = rng.choice((*("POST",) * 6, "GET", "HEAD", "PUT", "X"))
        path = rng.choice((*(path,) * 6, "/", "/settings", "/../etc/passwd", "/page.css/x", "/\udcff", "//", "/example"))
        lengths = (b"%d" % len(body), b"-1", b"x", b"9" * 40, b"\xb2")
        headers += rng.choice(([], [(b"content-length", rng.choice(lengths))]))
        headers += rng.choice(([], [(b"origin", rng.choice((b"null", b"http://evil.example", b"http://[", b"\xff")))]))
    headers += [(b"host", host), (b"content-type", kind)]
    step = rng.choice((1, 7, 100, 65536))
    step = max(step, len(body) // 2000)
    messages = [
        {"type": "http.request", "body": body[place : place + step], "more_body": True} for place in range(0, len(body), step)
    ]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    if rng.random() < 0.1:
        messages[rng.randrange(len(messages)) :] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method_name,
        "scheme": "http",
        "path": path,
        "raw_path": b"",
        "query_string": rng.choice((b"", b"a=%ff&", b"\xff")),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 7860),
        "root_path": "",
    }

    def send_request() -> None:
        app = build(_methods(), Limits(max_bytes=1_000_000, max_pixels=500_000))
        _require_one_line(*_request(app, scope, list(messages)), (contents["picture"], contents["mask"]))

    return Case(f"POST /{route}", call=send_request)


def _request(app: Any, scope: dict[str, Any], messages: list[dict[str, Any]]) -> tuple[int, bytes]:
    """Send a request to an ASGI application; return the answer's status and body, status 0 if the browser left before."""
    answer: list[dict[str, Any]] = []
    whole = bool(messages) and not messages[-1]["more_body"]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        if whole:  # the browser waits for the answer
            await anyio.sleep_forever()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        answer.append(message)

    async def call() -> None:
        await app(scope, receive, send)

    try:
        anyio.run(call)
    except ClientDisconnect:
        return 0, b""
    return (answer[0]["status"] if answer else 0), b"".join(message.get("body", b"") for message in answer)


def _require_one_line(status: int, body: bytes, sources: tuple[bytes, bytes]) -> None:
    """Check an answer: an image with the known pixels of the picture, or one line, which is raised as a `UserError`."""
    from lit_inpaint.errors import UserError
    from lit_inpaint.masks.read_mask import find_marked
    from lit_inpaint.storage.image_decode import decode_pixels
    from lit_inpaint.storage.image_files import decode_image_file

    assert status < 500, body
    if status >= 400 and body[:1] == b"{":
        raise UserError(json.loads(body)["error"])
    if body[:4] != b"\x89PNG":
        return
    with contextlib.suppress(UserError):  # an overlay, a picture sent twice, or a preview, whose mask may be broken
        before = decode_image_file(sources[0], "picture").pixels
        known = ~find_marked(decode_pixels(sources[1], "mask"), True, "mask")
        after = decode_image_file(body, "answer").pixels
        if before.shape == after.shape and known.shape == before.shape[:2]:
            assert (after[known] == before[known]).all(), "known pixels have changed"


def exports(rng: Random, folder: Path) -> Case:
    """Checkpoints, model folders and records of runs, for `export`."""
    from lit_inpaint import export, load
    from lit_inpaint.errors import UserError

    run, row = (
        folder / "run",
        {"method": "TinyGAN", "protocol": "lpi", "bucket": "all", "metric": "psnr", "value": 20.0, "n": 3},
    )
    changed = rng.choice(("checkpoint", "checkpoint", "evaluation", "folder", "card", "options"))
    path = run / "checkpoints" / "last.ckpt"
    if changed == "checkpoint":
        write(path, mutations.mutate_checkpoint(rng, checkpoint(), str(folder / "EXECUTED")))
    else:
        write(path, mutations.save(checkpoint()))
    table = {"images": "", "rows": [row, row | {"metric": "ssim"}]}
    evaluation = mutations.json_file(rng, table) if changed == "evaluation" else json.dumps(table).encode()
    write(run / "final_evaluation.json", evaluation)
    output = folder / "out" / rng.choice(("a", "a", "b/c", "a.b", "é\udcff", "x\ny"))
    argv = ["--checkpoint", str(path), "--output", str(output)]
    argv += ["--format", rng.choice(("safetensors",) * 40 + ("torch_export", "onnx"))]
    if changed in ("folder", "card"):
        with contextlib.redirect_stdout(io.StringIO()):
            export.main(["--checkpoint", str(path), "--format", "safetensors", "--output", str(folder / "model")])
        name = "README.md" if changed == "card" else rng.choice(("config.json", "model.safetensors"))
        file = folder / "model" / name
        write(file, mutations.mutate_bytes(rng, file.read_bytes()))
        argv[1] = str(folder / "model")
    if changed == "options":
        strange = str(mutations.strange_value(rng)).replace("\0", "")[:5000]
        option = rng.choice(("--license", "--size", "--opset", "--format", "--output", "--checkpoint"))
        argv += [option, str(folder / "out" / strange) if option == "--output" else strange]

    def run_export() -> None:
        try:
            export.main(argv)
        except UserError:
            left = [path for path in (folder / "out").rglob("*") if not path.is_dir()]
            assert not left, f"refused, but {left} are there"
            raise
        for found in (folder / "out").rglob("model.safetensors"):
            load(found.parent)

    return Case("export", call=run_export)


def strategies(rng: Random, folder: Path) -> Case:
    """Arrays of odd shapes and types with odd holes, filled by each strategy; what the holes hold must not matter."""
    from lit_inpaint.inpainting.inpaint_image import fill_array
    from lit_inpaint.inpainting.strategies import Filler

    method = rng.choice(_methods()[:2]).filler.method
    network = isinstance(method, torch.nn.Module)
    height, width = (rng.choice((1, 2, 7, 33, rng.randint(1, 90), rng.randint(1, 90), rng.randint(90, 260))) for _ in range(2))
    generator = np.random.default_rng(rng.randrange(2**32))
    kind = rng.choice(("noise", "box", "frame", "all", "none", "one", "all but one", "line", "disc"))
    hole = generator.random((height, width)) < rng.choice((0.001, 0.1, 0.5, 0.95))
    top, left = rng.randrange(height), rng.randrange(width)
    if kind != "noise":
        hole[:] = kind in ("all", "all but one")
    if kind == "box":
        hole[top : top + rng.randint(1, 200), left : left + rng.randint(1, 200)] = True
    elif kind == "frame":
        hole[:] = True
        hole[1 : height - 1, 1 : width - 1] = False
    elif kind == "line":
        hole[top] = True
    elif kind == "disc":
        hole |= np.hypot(*np.ogrid[-top : height - top, -left : width - left]) < rng.randint(1, 100)
    elif kind in ("one", "all but one"):
        hole[top, left] = kind == "one"
    channels = rng.choice(((), (1,), (2,), (3,), (3,), (4,), (5,)))
    values = generator.random((height, width, *channels))
    if rng.random() < 0.1:
        values[:] = rng.choice((0.0, 1.0))
    types: tuple[tuple[Any, float], ...] = (
        *((np.uint8, 255), (np.uint16, 65535), (np.int32, 65535), (np.int32, 255), (np.float32, 1), (np.float64, 1)),
        *((np.float16, 1), (np.bool_, 1), (np.int64, 255), (np.float32, 9)),
    )
    dtype, white = rng.choice(types)
    image = (values * white).round().astype(dtype) if dtype is not np.bool_ else values > 0.5
    other = image.copy()
    colors = ... if not channels else np.s_[..., : 1 if channels[0] <= 2 else 3]  # alpha is kept, also in holes
    if np.issubdtype(dtype, np.floating):
        other[colors][hole] = rng.choice((np.nan, np.inf, -5.0))
    else:
        other[colors][hole] = rng.choice((0, 1))
    options = {"coarse_to_fine": rng.random() < 0.5, "blending": "poisson" if network and rng.random() < 0.3 else None}
    filler = Filler(method, rng.choice(("crop", "crop", "tiles", "whole")), rng.choice((8, 9, 16, 31, 64, 256)), **options)
    edges = None

    def fill_twice() -> None:
        before = image.copy()
        try:
            for array in (image, other):
                fill_array(filler, array, hole, edges)
        except ValueError as error:
            assert np.array_equal(image, before), "refused, but written"
            refuse(str(error))
        assert np.array_equal(image[~hole], before[~hole]), "known pixels have changed"
        assert np.isfinite(image).all() if image.dtype.kind == "f" else True
        assert np.array_equal(image, other), "what the holes hold has changed the result"

    return Case(f"fill by {filler.strategy}", call=fill_twice)


def refuse(line: str) -> None:
    from lit_inpaint.errors import UserError

    raise UserError(line)


TARGETS: dict[str, tuple[int, Target]] = {
    "images": (30, images),
    "masks": (14, masks),
    "archives": (15, archives),
    "checkpoints": (16, checkpoints),
    "models": (7, models),
    "configurations": (5, configurations),
    "options": (3, options),
    "lists": (4, lists),
    "runs": (4, runs),
    "resumed": (2, resumed),
    "uploads": (12, uploads),
    "exports": (6, exports),
    "strategies": (10, strategies),
}
"""Targets by name, with their relative numbers of cases in a run over all of them."""
