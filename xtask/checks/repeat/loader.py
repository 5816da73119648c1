"""Worker processes load data, in an order of their own."""

import torch
from torch.utils.data import DataLoader, TensorDataset

if __name__ == "__main__":
    torch.manual_seed(0)
    data = TensorDataset(torch.arange(120.0).reshape(60, 2), torch.arange(60))
    total = sum((x.sum(1) * y).sum() for x, y in DataLoader(data, 7, shuffle=True, num_workers=3))
    print(round(float(total), 3))
