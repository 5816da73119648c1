"""A model is saved and loaded."""

import io

import torch

torch.manual_seed(0)
net = torch.nn.LSTM(8, 8, 2)
file = io.BytesIO()
torch.save(net.state_dict(), file)
other = torch.nn.LSTM(8, 8, 2)
other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
x = torch.randn(5, 1, 8)
print(torch.equal(net(x)[0], other(x)[0]))
