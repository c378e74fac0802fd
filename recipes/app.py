"""A page to try saved models: fill gaps in a text and watch how, see what steps cost, draw images.

    python recipes/app.py                            # runs/ardm and runs/ddpm, as far as they exist
    python recipes/app.py --model_name_or_path user/name --server_port 8080
    python recipes/app.py --image_model_name_or_path runs/my_ddpm --server_name 0.0.0.0

Then open the address that it prints. Needs gradio, the extra app; any CPU, starts in seconds. It
loads nothing from elsewhere and keeps nothing that is typed. As the app.py of a Space it takes the
models that ARDM_MODEL and DDPM_MODEL in its environment name (docs/app.md).
"""

import argparse
from collections.abc import Iterator
from typing import Any

from ardm import hub
from ardm.data.framing import frame_of
from ardm.data.gaps import encode_gaps, given_texts
from ardm.data.lost_text import lost_text
from ardm.evaluation import costs_of_text, saved_costs
from ardm.generation_config_ardm import ORDER_NAMES
from ardm.networks import longest_sequence
from ardm.training import process_state, quieten, recipe_parser, run_recipe
from ardm.training.local_paths import public
from ardm.viewing import Filling, watch_filling, web
from ddpm.hub import DEMO_FOLDER, SavedModels, can_be_steered, load_together, watch_drawing
from ddpm.steps import STEPS

LONGEST = 1024  # tokens of a text with its gaps
ALL = "all in turn"
EXAMPLE = "The statement [[24]] is executed if [[32]]."
HOW_TO = """`[[12]]` is a gap of 12 tokens, `____` one of as many tokens as underscores (three or
more), `{}` one of a single token. All else stays as it is."""
COSTS = "a text to measure on, a few hundred tokens; empty = texts that the model writes itself"
LIVE: dict[str, Any] = {"concurrency_limit": 4, "show_progress": "hidden"}  # others wait


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = recipe_parser(__doc__)
    add = parser.add_argument
    add("--model_name_or_path", help="of text: a folder, or user/name on the Hub")
    add("--image_model_name_or_path", help="of images: the same")
    add("--server_name", help="address to listen at (127.0.0.1; 0.0.0.0 = all)")
    add("--server_port", type=int, help="its port (the first free one from 7860 on)")
    add("--share", action="store_true", help="also make a public address, by gradio's own server")
    args = parser.parse_args(argv)
    text, images = args.model_name_or_path, args.image_model_name_or_path
    args.model_name_or_path = web.model_named(text, "ARDM_MODEL", hub.DEMO_FOLDER)
    args.image_model_name_or_path = web.model_named(images, "DDPM_MODEL", DEMO_FOLDER)
    return args


def text_tab(gr: Any, model: Any, tokenizer: Any) -> None:
    longest = min(LONGEST, longest_sequence(model) or LONGEST)
    options: dict[str, Any] = {"max_tokens": longest, "around": frame_of(model, tokenizer)}

    def write(text: str, pause: float, temperature: float, *more: Any) -> Iterator[Filling]:
        names = ("seed", "order", "tokens_per_step", "resample_steps")
        settings: dict[str, Any] = dict(zip(names, more, strict=True))
        settings |= {"temperature": temperature} if temperature else {"do_sample": False}
        with web.mistakes_told():
            ids = encode_gaps(text, tokenizer, **options)
            if lost := lost_text(tokenizer, given_texts(text, tokenizer)):
                web.warn(str(lost))
            yield from watch_filling(model, tokenizer, ids, delay=pause, **settings)

    def measure(text: str) -> Any:
        with web.mistakes_told():
            return costs_of_text(model, tokenizer, text)

    with gr.Row():
        with gr.Column(scale=5):
            text = gr.Textbox(EXAMPLE, label="Text with gaps", lines=3, elem_id="text")
            gr.Markdown(HOW_TO.format(tokenizer.mask_token))
            with gr.Row():
                go = gr.Button("Fill the gaps", variant="primary", elem_id="fill")
                stop = gr.Button("Stop")
            canvas = gr.HTML(web.EMPTY, elem_id="canvas", padding=False)
        with gr.Column(scale=3), gr.Group():
            with gr.Row():
                order = gr.Dropdown([*ORDER_NAMES], value="random", label="Order")
                seed = gr.Number(0, precision=0, label="Seed (empty: any)")
            tokens_per_step = gr.Slider(1, 32, 1, step=1, precision=0, label="Tokens per step")
            temperature = gr.Slider(0, 2, 1, step=0.05, label="Temperature (0 = likeliest)")
            resample_steps = gr.Slider(0, 64, 0, step=1, precision=0, label="Resampling passes")
            pause = gr.Slider(0, 0.5, 0.05, step=0.01, label="Pause after a pass (s)")
    plain = gr.Textbox(label="Text", lines=2, buttons=["copy"], elem_id="plain")
    with gr.Accordion("Play it again", open=False):
        replay = gr.HTML(padding=False)
    given = [text, pause, temperature, seed, order, tokens_per_step, resample_steps]
    writing = gr.on([go.click, text.submit], write, given, [canvas, plain, replay], **LIVE)
    stop.click(None, cancels=[writing])
    with gr.Accordion("What do fewer steps cost?", open=False):
        curve = gr.Plot(saved_costs(model), show_label=False, elem_id="curve")
        sample = gr.Textbox(show_label=False, placeholder=COSTS, lines=3)
        gr.Button("Measure", elem_id="measure").click(measure, sample, curve)


def image_tab(gr: Any, models: SavedModels) -> None:
    def draw(kind: str, num_images: int, scale: float, *more: Any) -> Iterator[Any]:
        settings: dict[str, Any] = dict(zip(("sampler", "steps", "seed"), more, strict=True))
        settings |= {"class_name": None if kind == ALL else kind, "guidance_scale": scale}
        with web.mistakes_told():
            yield from watch_drawing(models, num_images, num_columns=10, **settings)

    classes = [ALL, *(models.class_names or ())]
    steered = can_be_steered(models)
    with gr.Row():
        with gr.Column(scale=5):
            grid = gr.Image(format="png", show_label=False, buttons=[], elem_id="grid")
            with gr.Row():
                go = gr.Button("Draw", variant="primary", elem_id="draw")
                stop = gr.Button("Stop")
        with gr.Column(scale=3), gr.Group():
            with gr.Row():
                kind = gr.Dropdown(classes, value=ALL, label="Class", visible=len(classes) > 1)
                seed = gr.Number(0, precision=0, label="Seed")
            sampler = gr.Dropdown([*STEPS], value="dpm_solver++", label="Sampler")
            steps = gr.Slider(1, 250, 25, step=1, precision=0, label="Steps")
            scale = gr.Slider(0, 8, 1, step=0.1, label="Guidance scale (1 = off)", visible=steered)
            num_images = gr.Slider(1, 60, 40, step=1, precision=0, label="Images")
    drawing = go.click(draw, [kind, num_images, scale, sampler, steps, seed], grid, **LIVE)
    stop.click(None, cancels=[drawing])


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    quieten(True)
    gr = web.import_gradio()
    text_name, image_name = args.model_name_or_path, args.image_model_name_or_path
    device = process_state().device
    with gr.Blocks(title="Diffusion of text and images", analytics_enabled=False) as page:
        if text_name or not image_name:
            model, tokenizer = hub.load_folder(text_name or hub.DEMO_FOLDER)
            with gr.Tab("Text"):
                web.heading(public(text_name), model.to(device))
                text_tab(gr, model, tokenizer)
        if image_name:
            models = load_together(image_name).to(device)
            with gr.Tab("Images"):
                web.heading(public(image_name), models.model)
                image_tab(gr, models)
    web.serve(page, server_name=args.server_name, server_port=args.server_port, share=args.share)


if __name__ == "__main__":
    run_recipe(main)
