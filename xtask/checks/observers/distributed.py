"""Gloo on two processes: collectives, objects, data parallel training, sharded tensors."""

import os
import sys
import tempfile
import warnings

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from digest import digest, raised, rounded


def work(rank, folder):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sys.stdout = open(os.path.join(folder, f"out{rank}"), "w")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    print(dist.get_backend(), dist.get_rank(), dist.is_gloo_available(), dist.is_mpi_available())
    mine = torch.arange(4.0) + rank
    dist.all_reduce(mine)
    print(mine)
    gathered = [torch.zeros(4) for _ in range(2)]
    dist.all_gather(gathered, torch.full((4,), float(rank)))
    print(gathered)
    objects = [None, None]
    dist.all_gather_object(objects, {"rank": rank, "names": ["a", "b"][rank:]})
    print(objects)
    if rank == 0:
        dist.send(torch.ones(3) * 7, 1)
    else:
        got = torch.zeros(3)
        dist.recv(got, 0)
        print(got)
    dist.broadcast(mine, 1)
    from torch.distributed import _functional_collectives as functional

    print(functional.all_reduce(torch.ones(3) * rank, "sum", dist.group.WORLD).add(1))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    parallel = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.Adam(parallel.parameters())
    for step in range(3):
        optimizer.zero_grad()
        parallel(torch.randn(5, 4) + rank).square().mean().backward()
        optimizer.step()
    print([rounded(one) for one in net.parameters()])
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(1)
    left = distribute_tensor(torch.randn(4, 6), mesh, [Shard(0)])
    right = distribute_tensor(torch.randn(6, 4), mesh, [Replicate()])
    product = left @ right
    print(product.placements, digest(product.to_local()), rounded(product.full_tensor()))
    print(raised(dist.new_group, [5]))
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (folder,), nprocs=2)
        for rank in range(2):
            print(open(os.path.join(folder, f"out{rank}")).read())
