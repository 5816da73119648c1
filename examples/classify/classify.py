"""Classify generated pictures with torchvision's resnet18.

The weights are drawn from a fixed seed, so nothing is downloaded. Every run on
one machine prints the same digits. Where TAPER_VERIFY_OUT names a folder, the
logits are left there as logits.npy.
"""

import argparse
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision import models, transforms

CATEGORIES = models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]


def picture(index: int) -> bytes:
    """A JPEG file of 320 by 240 pixels, as a service would receive it."""
    side = np.linspace(0.0, 1.0, 320)[None, :, None]
    height = np.linspace(0.0, 1.0, 240)[:, None, None]
    phase = np.array([0.0, 2.1, 4.2])[None, None, :] + index
    waves = 127.5 * (1.0 + np.sin(9.0 * side + 5.0 * height**2 + phase))
    image = Image.fromarray(waves.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    left = 20 + 35 * (index % 5)
    draw.ellipse((left, 40, left + 120, 160), fill=(230, 40 + 20 * (index % 8), 60))
    draw.polygon([(200, 200), (300, 220), (250, 90)], fill=(30, 90, 200))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224, help="side of the model's input in pixels")
    parser.add_argument("--batch", type=int, default=1, help="pictures per inference")
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "float64", "bfloat16", "float16"]
    )
    parser.add_argument("--runs", type=int, default=1, help="inferences, each on other pictures")
    parser.add_argument("--threads", type=int, default=2, help="threads of one operator")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    dtype = getattr(torch, arguments.dtype)
    model = models.resnet18(weights=None).eval().to(dtype)
    prepare = transforms.Compose(
        [
            transforms.Resize(arguments.size),
            transforms.CenterCrop(arguments.size),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )

    results = []
    for run in range(arguments.runs):
        files = [picture(run * arguments.batch + n) for n in range(arguments.batch)]
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        batch = torch.stack([prepare(image) for image in images]).to(dtype)
        with torch.inference_mode():
            logits = model(batch).double()
        for row in logits:
            top = torch.topk(torch.softmax(row, dim=0), 5)
            for probability, category in zip(top.values.tolist(), top.indices.tolist()):
                print(f"{row[category].item()!r} {probability!r} {CATEGORIES[category]}")
        results.append(logits.numpy())

    array = np.concatenate(results)
    print("sha256", hashlib.sha256(array.tobytes()).hexdigest())
    if folder := os.environ.get("TAPER_VERIFY_OUT"):
        np.save(Path(folder) / "logits.npy", array)


if __name__ == "__main__":
    main()
