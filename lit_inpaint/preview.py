"""Look at what a network would be trained on: `python -m lit_inpaint.preview --experiment lpi_demo --output preview.png`."""

from __future__ import annotations

from lit_inpaint import cli, configuration
from lit_inpaint.arguments import VerbParser, build_data
from lit_inpaint.output import output_file, replacing

COLUMNS = ("image", "mask", "masked input")
ROWS = 16
"""Most samples that are drawn; the printed share is of the whole batch."""


def main(argv: list[str]) -> int:
    """Draw the first training batch; returns the exit status."""
    parser = VerbParser("preview", "Draw one real training batch with its masks, as a network would get it.")
    parser.add_argument("--experiment", metavar="NAME|FILE", required=True, help="a file of experiments/, by name or path")
    parser.add_argument("--output", metavar="FILE.png", required=True, help="where the picture goes")
    parser.epilog = "Any setting of the data can be given by its place in the YAML: --data.root DIR  --data.batch_size 16"
    options, data_options = parser.parse_with_data(argv)
    output = output_file(options.output, ".png")
    config = configuration.load_experiment(options.experiment)
    data, _ = build_data(config, data_options)

    from lit_inpaint.drawing import Row, draw_grid, show_holes
    from lit_inpaint.types import check_batch

    data.workers = 0  # one batch is not worth their start; what it holds does not depend on them
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    share = check_batch(batch)
    images, masks, names = batch["image"], batch["mask"], batch["name"]
    drawn = [
        Row(f"{name.rpartition('/')[2]}\nhole {float(mask.mean()):.1%}", [image, mask, show_holes(image, mask)])
        for image, mask, name in zip(images[:ROWS], masks[:ROWS], names[:ROWS], strict=True)
    ]
    title = f"{config['experiment']}: first training batch, {len(names)} x {data.size}x{data.size} px, mean hole {share:.1%}"
    with replacing(output) as part:
        draw_grid(drawn, COLUMNS, title).save(part, format="PNG")
    print(data.describe())
    print(f"First batch: {tuple(images.shape)}, mean hole share {share:.1%} (1 = hole, drawn white in the mask)")
    more = f" (the first {ROWS} of {len(names)} samples)" if len(names) > ROWS else ""
    print(f"Drawn in {output}{more}")
    return 0


if __name__ == "__main__":
    cli.run_verb(main)
