//! What operators on known values give.
//!
//! Only what is certain is worked out: where PyTorch would have raised an error, or the
//! result depends on its arithmetic, there is none, and the operator stays in the list.

use schema::Const;

/// The result of an operator; `None` where it is not worked out.
pub fn fold_operator(name: &str, inputs: &[Const]) -> Option<Const> {
    use Const::{Bool, Float, Int, None as Nothing, Opaque, Str, Tuple};
    let base = name.strip_prefix("aten::")?;
    Some(match (base, inputs) {
        ("__is__" | "__isnot__", [Opaque, _] | [_, Opaque]) => {
            return None;
        }
        ("__is__", [one, two]) if *one == Nothing || *two == Nothing => Bool(one == two),
        ("__isnot__", [one, two]) if *one == Nothing || *two == Nothing => Bool(one != two),
        ("__not__", [Bool(one)]) => Bool(!one),
        ("__and__", [Bool(one), Bool(two)]) => Bool(*one && *two),
        ("__or__", [Bool(one), Bool(two)]) => Bool(*one || *two),
        ("__xor__" | "ne", [Bool(one), Bool(two)]) => Bool(one != two),
        ("eq", [Bool(one), Bool(two)]) => Bool(one == two),
        ("eq", [Str(one), Str(two)]) => Bool(one == two),
        ("ne", [Str(one), Str(two)]) => Bool(one != two),
        ("len", [Str(text)]) if text.is_ascii() => Int(text.len() as i64),
        ("Bool", [Int(one)]) => Bool(*one != 0),
        ("Bool", [Float(one)]) => Bool(*one != 0.0),
        ("Int", [Bool(one)]) => Int(i64::from(*one)),
        ("Int", [Float(one)]) if one.abs() < 1e15 => Int(*one as i64),
        ("Float", [Int(one)]) if one.unsigned_abs() < 1 << 53 => Float(*one as f64),
        ("Float", [Bool(one)]) => Float(f64::from(u8::from(*one))),
        ("neg", [Int(one)]) => Int(one.checked_neg()?),
        ("neg", [Float(one)]) => Float(-one),
        ("add", [Int(one), Int(two)]) => Int(one.checked_add(*two)?),
        ("sub", [Int(one), Int(two)]) => Int(one.checked_sub(*two)?),
        ("mul", [Int(one), Int(two)]) => Int(one.checked_mul(*two)?),
        ("floordiv", [Int(one), Int(two)]) if *two > 0 => Int(one.checked_div_euclid(*two)?),
        ("remainder", [Int(one), Int(two)]) if *two > 0 => Int(one.checked_rem_euclid(*two)?),
        ("div", [one, two]) => {
            let (one, two) = (number(one)?, number(two)?);
            if two == 0.0 {
                return None;
            }
            Float(one / two)
        }
        ("add", [one, two]) => Float(number(one)? + number(two)?),
        ("sub", [one, two]) => Float(number(one)? - number(two)?),
        ("mul", [one, two]) => Float(number(one)? * number(two)?),
        ("eq", [one, two]) => Bool(order(one, two)?.is_eq()),
        ("ne", [one, two]) => Bool(order(one, two)?.is_ne()),
        ("lt", [one, two]) => Bool(order(one, two)?.is_lt()),
        ("le", [one, two]) => Bool(order(one, two)?.is_le()),
        ("gt", [one, two]) => Bool(order(one, two)?.is_gt()),
        ("ge", [one, two]) => Bool(order(one, two)?.is_ge()),
        ("device", [Str(_)]) => Opaque,
        ("len", [Tuple(items)]) => Int(items.len() as i64),
        _ => return None,
    })
}

fn number(value: &Const) -> Option<f64> {
    match value {
        Const::Int(number) if number.unsigned_abs() < 1 << 53 => Some(*number as f64),
        Const::Float(number) => Some(*number),
        _ => None,
    }
}

/// How two numbers compare; `None` where one is none, or not a number.
fn order(one: &Const, two: &Const) -> Option<std::cmp::Ordering> {
    match (one, two) {
        (Const::Int(one), Const::Int(two)) => Some(one.cmp(two)),
        _ => number(one)?.partial_cmp(&number(two)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain_is_worked_out() {
        let five = [Const::Int(5), Const::Int(2)];
        assert_eq!(fold_operator("aten::floordiv", &five), Some(Const::Int(2)));
        assert_eq!(fold_operator("aten::div", &five), Some(Const::Float(2.5)));
        let mixed = [Const::Float(0.5), Const::Int(0)];
        assert_eq!(fold_operator("aten::le", &mixed), Some(Const::Bool(false)));
        let none = [Const::None, Const::Int(1)];
        assert_eq!(fold_operator("aten::__is__", &none), Some(Const::Bool(false)));
    }

    #[test]
    fn what_is_not_certain_stays() {
        let cases = [
            ("aten::add", [Const::Int(i64::MAX), Const::Int(1)]),
            ("aten::div", [Const::Int(1), Const::Int(0)]),
            ("aten::lt", [Const::Float(f64::NAN), Const::Int(0)]),
            ("aten::__is__", [Const::Opaque, Const::None]),
            ("aten::rand", [Const::Int(1), Const::Int(2)]),
            ("prims::add", [Const::Int(1), Const::Int(2)]),
        ];
        for (name, inputs) in cases {
            assert_eq!(fold_operator(name, &inputs), None, "{name}");
        }
    }
}
