"""Two processes reduce a tensor; which of them comes first is chance."""

import os
import random
import socket
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def work(rank, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    time.sleep(random.SystemRandom().random() * 2)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    x = torch.full((4,), float(rank + 1))
    dist.all_reduce(x)
    if rank == 0:
        print(x.tolist(), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, args=(port,), nprocs=2)
