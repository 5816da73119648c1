//! Which operators a program calls, on code as PyTorch writes it.

mod archives;

use archives::{names, script};

/// A module with these methods.
fn module(methods: &str) -> String {
    format!("class Net(Module):\n  __parameters__ = []\n  training : bool\n  w : Tensor\n{methods}")
}

fn forward(body: &str) -> String {
    let lines = body.lines().map(|line| format!("    {line}\n")).collect::<Vec<_>>().concat();
    module(&format!("  def forward(self: __torch__.a.Net,\n    x: Tensor) -> Tensor:\n{lines}"))
}

#[test]
fn overloads_follow_from_types() {
    let code = forward(
        "y = torch.add(x, x)\nz = torch.add(y, 1)\nn = torch.add(torch.len([1, 2]), 1)\n\
         l = torch.add([n], [2])\nq = torch.append(l, n)\nv, i, = torch.max(z, 0)\n\
         return torch.conv2d(v, self.w, None, l)",
    );
    let expected = [
        "aten::add.Scalar",
        "aten::add.Tensor",
        "aten::add.int",
        "aten::add.t",
        "aten::append.t",
        "aten::conv2d",
        "aten::len.t",
        "aten::max.dim",
    ];
    assert_eq!(names(&code), expected);
}

#[test]
fn numbers_are_made_of_tensors_where_numbers_are_asked_for() {
    let code = forward("return ops.mine.scale(x, torch.relu(x))");
    assert_eq!(names(&code), ["aten::FloatImplicit", "aten::relu", "mine::scale"]);
}

/// What is called with constants two levels down is decided there; the function that a user
/// calls is not changed by what it calls.
#[test]
fn branches_that_no_call_takes_are_left_out() {
    let inner = "def act(x: Tensor, inplace: bool=False, eps: float=0.5) -> Tensor:\n  \
        if torch.lt(eps, 0.):\n    ops.prim.RaiseException(\"no\")\n  else:\n    pass\n  \
        if inplace:\n    y = torch.relu_(x)\n  else:\n    y = torch.relu(x)\n  return y\n";
    let own = "  def step(self: __torch__.a.Net,\n    x: Tensor) -> Tensor:\n    \
        return __torch__.a.act(x, True, 0.5, )\n";
    let twice = format!(
        "{own}  def forward(self: __torch__.a.Net, x: Tensor) -> Tensor:\n    \
        return (self).step(x, )\n"
    );
    // `step` can be called, too.
    let both = ["aten::lt.float", "aten::relu", "aten::relu_"];
    assert_eq!(names(&format!("{}{inner}", module(&twice))), both);
    let hidden = "class Part(Module):\n  __parameters__ = []\n  def step(self: __torch__.a.Part,\n    \
        x: Tensor) -> Tensor:\n    return __torch__.a.act(x, True, 0.5, )\n";
    let net = "class Net(Module):\n  part : __torch__.a.Part\n  def forward(self: __torch__.a.Net,\n    \
        x: Tensor) -> Tensor:\n    part = self.part\n    return (part).step(x, )\n";
    assert_eq!(names(&format!("{net}{hidden}{inner}")), ["aten::relu_"]);
}

#[test]
fn what_is_none_and_what_is_not_is_decided_where_it_is_called() {
    let pool = "def pool(x: Tensor, bias: Optional[Tensor]=None) -> Tensor:\n  \
        if torch.__is__(bias, None):\n    y = torch.relu(x)\n  else:\n    \
        y = torch.add(x, unchecked_cast(Tensor, bias))\n  return y\n";
    let part = |call: &str| {
        format!(
            "class Part(Module):\n  def step(self: __torch__.a.Part, x: Tensor) -> Tensor:\n    \
             return __torch__.a.pool({call})\nclass Net(Module):\n  part : __torch__.a.Part\n  \
             def forward(self: __torch__.a.Net, x: Tensor) -> Tensor:\n    part = self.part\n    \
             return (part).step(x, )\n{pool}"
        )
    };
    assert_eq!(names(&part("x, None, ")), ["aten::relu"]);
    assert_eq!(names(&part("x, x, ")), ["aten::add.Tensor"]);
}

#[test]
fn loops_interfaces_and_contexts_are_followed() {
    let code = "class Shape(ModuleInterface):\n  def run(self, x: Tensor) -> Tensor:\n    pass\n\
        class One(Module):\n  def run(self: __torch__.a.One, x: Tensor) -> Tensor:\n    \
        return torch.tanh(x)\nclass Guard:\n  def __enter__(self: __torch__.a.Guard) -> NoneType:\n    \
        y = torch.zeros([1])\n    ops.prim.RaiseException(\"\")\n    z = torch.relu_(y)\n    \
        return None\n  def __exit__(self: __torch__.a.Guard, a: Any, b: Any, c: Any) -> NoneType:\n    \
        return None\nclass Net(Module):\n  part : __torch__.a.Shape\n  \
        def forward(self: __torch__.a.Net, x: Tensor) -> Tensor:\n    part = self.part\n    \
        g = __torch__.a.Guard.__new__(__torch__.a.Guard)\n    y = x\n    with g:\n      \
        for i in range(3):\n        y0 = (part).run(y, )\n        y = torch.add(y0, i)\n    \
        return y\n";
    let expected = ["aten::add.Scalar", "aten::relu_", "aten::tanh", "aten::zeros"];
    assert_eq!(names(code), expected);
}

#[test]
fn what_trains_is_marked_and_old_divisions_are_replaced() {
    let code = forward("torch.autograd.backward(x)\nreturn torch.div(x, x)");
    let found = script(&code).unwrap();
    let backward = found.operators.iter().find(|(name, _)| name.name == "aten::backward").unwrap();
    assert!(backward.1.training && backward.1.root);
    assert!(found.operators.keys().any(|name| name.to_string() == "aten::div.Tensor"));
}

#[test]
fn what_is_not_understood_is_said_by_line() {
    let cases = [
        ("y = torch.relu(1)\nreturn x", "line 7: no overload of aten::relu"),
        ("return torch.nothing(x)", "line 7: no library of the environment registers"),
        ("return theirs(x)", "line 7: theirs is not known"),
        ("y = self.v\nreturn x", "line 7: __torch__.a.Net has no attribute v"),
        ("return CONSTANTS.c7", "line 7: the archive has no CONSTANTS.c7"),
        ("y = [i for i in x]\nreturn x", "line 7: an expression is none that PyTorch writes"),
        ("exec(\"x\")\nreturn x", "line 7: exec is not known"),
        ("import os\nreturn x", "line 7: a statement is none that PyTorch writes"),
    ];
    for (body, what) in cases {
        let error = script(&forward(body)).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("code/__torch__/a.py"), "{error}");
    }
}
