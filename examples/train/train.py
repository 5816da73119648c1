"""Train a small network, save it, load it into a new one, and go on.

The data comes from a DataLoader with worker processes. Every run on one machine
prints the same digits. Where TAPER_VERIFY_OUT names a folder, the trained
weights are left there, one .npy file for each.
"""

import argparse
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Stripes(Dataset):
    """Pictures of 16 by 16 pixels with stripes; the label is their direction, 0 to 3."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        random = np.random.default_rng(index)
        label = int(random.integers(4))
        y, x = np.mgrid[0:16, 0:16]
        along = [x, y, x + y, x - y][label]
        picture = np.sin(along * random.uniform(0.8, 1.4) + random.uniform(0.0, 6.0))
        picture = picture + 0.3 * random.standard_normal((16, 16))
        return torch.from_numpy(picture.astype(np.float32))[None], label


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(256, 32),
        nn.LayerNorm(32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader, name: str) -> None:
    model.train()
    for step, (pictures, labels) in enumerate(loader):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pictures), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(name, step, repr(loss.item()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the DataLoader")
    parser.add_argument("--start", default="fork", choices=["fork", "spawn", "forkserver"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12, help="steps before and after the reload")
    parser.add_argument("--threads", type=int, default=2, help="threads of one operator")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    loader = DataLoader(
        Stripes(arguments.batch * arguments.steps),
        batch_size=arguments.batch,
        shuffle=True,
        num_workers=arguments.workers,
        multiprocessing_context=arguments.start if arguments.workers else None,
        generator=torch.Generator().manual_seed(1),
    )

    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    train(model, optimizer, loader, "first")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)
        state = torch.load(checkpoint, weights_only=True)
    model = network()
    model.load_state_dict(state["model"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    optimizer.load_state_dict(state["optimizer"])
    train(model, optimizer, loader, "again")

    model.eval()
    pictures, labels = next(iter(loader))
    with torch.inference_mode():
        right = (model(pictures).argmax(dim=1) == labels).sum().item()
    print("right", right, "of", len(labels))

    digest = hashlib.sha256()
    folder = os.environ.get("TAPER_VERIFY_OUT")
    for name, tensor in model.state_dict().items():
        digest.update(tensor.numpy().tobytes())
        if folder:
            np.save(Path(folder) / f"{name}.npy", tensor.numpy())
    print("sha256", digest.hexdigest())


if __name__ == "__main__":
    main()
