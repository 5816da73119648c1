"""`torch.func`: transforms of functions, and forward-mode differentiation."""

import torch
import torch.autograd.forward_ad as forward
from torch import nn
from torch.func import (
    functional_call,
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)

from digest import raised, rounded

torch.manual_seed(0)
x, y = torch.randn(5, 3), torch.randn(5, 3)
net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 1))
weights = dict(net.named_parameters())


def loss(weights, given):
    return functional_call(net, weights, (given,)).square().sum()


print(rounded(grad(torch.special.gammaln)(torch.tensor(2.5))))
single, value = vmap(grad_and_value(loss), (None, 0))(weights, x)
print({name: rounded(one) for name, one in single.items()}, rounded(value))
print(rounded(hessian(lambda v: v.exp().prod() + v.sin().sum())(x[0])))
for call in (jacrev, jacfwd):
    print(rounded(call(lambda v: torch.linalg.qr(v.view(3, 3) + torch.eye(3)).R)(torch.randn(9))))
out, back = vjp(lambda v: torch.fft.rfft(v).abs(), x)
print(rounded(out), rounded(back(torch.ones_like(out))[0]))
print([rounded(one) for one in jvp(lambda a, b: torch.logcumsumexp(a * b, 0), (x, y), (y, x))])
out, push = linearize(lambda v: v.softmax(-1), x)
print(rounded(push(y)))
print(rounded(vmap(vmap(torch.dot))(x.expand(2, 5, 3), y.expand(2, 5, 3))))
print(rounded(vmap(lambda v: torch.linalg.solve(torch.eye(3) + v.outer(v), v), out_dims=1)(x)))
print(rounded(vmap(lambda v: v + torch.randn(3), randomness="different")(x)))
print(raised(vmap(lambda v: v + torch.randn(3)), x))
print(raised(vmap(lambda v: v.item()), x[0]))
print(rounded(vmap(torch.nn.functional.conv1d, (0, None))(torch.randn(2, 1, 3, 9), torch.randn(4, 3, 3))))


def mutates(v):
    w = v.view(-1)
    w.add_(1)
    return v.index_put_((torch.tensor([0]),), torch.zeros(3))


print(rounded(functionalize(mutates)(x.clone())))
from torch.fx.experimental.proxy_tensor import make_fx

print(make_fx(functionalize(mutates, remove="mutations_and_views"))(x.clone()).code)
print(make_fx(vmap(grad(lambda v: (v.sin() * v).sum())))(x).code)
several = [nn.Linear(3, 2) for _ in range(3)]
params, buffers = stack_module_state(several)
print(rounded(vmap(lambda p, b: functional_call(several[0], (p, b), (x,)))(params, buffers)))

operators = {
    "matmul": lambda v: v @ v.mT,
    "svd": lambda v: torch.linalg.svdvals(v),
    "cholesky": lambda v: torch.linalg.cholesky(v.mT @ v + torch.eye(3)),
    "norm": lambda v: nn.functional.layer_norm(v, (3,)),
    "attention": lambda v: nn.functional.scaled_dot_product_attention(v, v, v),
    "pool": lambda v: nn.functional.avg_pool1d(v[None], 2),
    "logsumexp": lambda v: v.logsumexp(1),
    "index": lambda v: v[[0, 2, 2]].cumprod(0),
    "std": lambda v: torch.std(v, 0),
    "binary_cross_entropy": lambda v: nn.functional.binary_cross_entropy_with_logits(v, y.sigmoid()),
}
with forward.dual_level():
    for name, call in operators.items():
        result = forward.unpack_dual(call(forward.make_dual(x, y)))
        print(name, rounded(result.primal), rounded(result.tangent))
print(torch.autograd.gradcheck(torch.special.erfcx, x.double().requires_grad_(), check_forward_ad=True))
print(torch.autograd.gradgradcheck(torch.sinc, x.double().requires_grad_()))
