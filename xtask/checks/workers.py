"""Starts worker processes that compute with PyTorch, and prints what memory all of them have
together: the proportional set size (proc(5), smaps_rollup), in MB.

    workers.py fork|spawn COUNT
"""

import multiprocessing
import sys


def work(barrier):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = torch.nn
    model = layers.Sequential(
        layers.Conv2d(3, 32, 3),
        layers.BatchNorm2d(32),
        layers.ReLU(),
        layers.Flatten(),
        layers.Linear(32 * 30 * 30, 64),
        layers.LayerNorm(64),
    )
    model(torch.randn(4, 3, 32, 32)).square().mean().backward()
    torch.linalg.svd(torch.randn(32, 32))
    torch.fft.rfft(torch.randn(64))
    layers.functional.scaled_dot_product_attention(*[torch.randn(1, 2, 8, 16)] * 3)
    torch.randn(100).sort()
    barrier.wait()
    barrier.wait()


def memory(process):
    with open(f"/proc/{process}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def main():
    way, count = sys.argv[1], int(sys.argv[2])
    context = multiprocessing.get_context(way)
    if way == "fork":
        import torch  # noqa: F401
    barrier = context.Barrier(count + 1)
    workers = [context.Process(target=work, args=(barrier,)) for _ in range(count)]
    for worker in workers:
        worker.start()
    barrier.wait()
    print(sum(memory(process) for process in [*(one.pid for one in workers), "self"]) / 1000)
    barrier.wait()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
