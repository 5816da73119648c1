//! The two lists that PyTorch's selective build reads. They are not interchangeable.
//!
//! `SELECTED_OP_LIST` names a file with a plain YAML list of names where the build has
//! `TRACING_BASED=OFF`. Where it has `TRACING_BASED=ON`, and for the code generator's
//! `--op-selection-yaml-path`, the file is a mapping that
//! `torchgen.selective_build.selector` reads: unknown keys raise there, and
//! `is_root_operator`, `is_used_for_training` and `include_all_overloads` are true where
//! they are not given, so each is given.

use crate::Operators;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A form of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Names alone.
    List,
    /// What the code generator needs to know of each.
    Selective,
}

/// The list of `operators` that stand in it as text. Every name was checked when it was
/// read ([`crate::Operator::parse`]): none has a character that YAML knows.
pub fn list(operators: &Operators, format: Format) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match format {
        Format::List => flat(operators, &mut text),
        Format::Selective => selective(operators, &mut text),
    };
    text
}

/// The names that the model itself calls. The build finds those that they call.
fn flat(operators: &Operators, text: &mut String) -> std::fmt::Result {
    let mut roots = operators.operators.iter().filter(|(_, used)| used.root).peekable();
    if roots.peek().is_none() {
        return writeln!(text, "[]");
    }
    roots.try_for_each(|(operator, _)| writeln!(text, "- {operator}"))
}

fn selective(operators: &Operators, text: &mut String) -> std::fmt::Result {
    // A list of operators does not say which dtypes their kernels meet: all of them stay.
    writeln!(text, "include_all_non_op_selectives: true")?;
    writeln!(text, "include_all_operators: false")?;
    // PyTorch asks for classes by their own names, without the namespace.
    let own = |class: &String| class.rsplit('.').next().unwrap_or_default().to_owned();
    let classes: BTreeSet<String> = operators.classes.iter().map(own).collect();
    if classes.is_empty() {
        writeln!(text, "custom_classes: []")?;
    } else {
        writeln!(text, "custom_classes:")?;
        classes.iter().try_for_each(|class| writeln!(text, "- {class}"))?;
    }
    writeln!(text, "build_features: []")?;
    writeln!(text, "kernel_metadata: {{}}")?;
    if operators.operators.is_empty() {
        return writeln!(text, "operators: {{}}");
    }
    writeln!(text, "operators:")?;
    for (operator, used) in &operators.operators {
        writeln!(text, "  {operator}:")?;
        writeln!(text, "    is_root_operator: {}", used.root)?;
        writeln!(text, "    is_used_for_training: {}", used.training)?;
        // `aten::add` is one overload here, not a family.
        writeln!(text, "    include_all_overloads: false")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operator;

    #[test]
    fn lists_hold_what_is_called_and_say_what_would_be_assumed() {
        let mut all = Operators::default();
        all.entry(Operator::new("aten::add", "Tensor")).root = true;
        let relu = all.entry(Operator::new("aten::relu", ""));
        relu.training = true;
        assert_eq!(list(&all, Format::List), "- aten::add.Tensor\n");
        all.classes.insert("quantized.LinearPackedParamsBase".into());
        let text = list(&all, Format::Selective);
        assert!(text.contains("custom_classes:\n- LinearPackedParamsBase\n"), "{text}");
        let relu = "  aten::relu:\n    is_root_operator: false\n    is_used_for_training: true\n    \
            include_all_overloads: false\n";
        assert!(text.contains(relu), "{text}");
        let none = Operators::default();
        assert_eq!(list(&none, Format::List), "[]\n");
        assert!(list(&none, Format::Selective).contains("operators: {}\n"));
    }
}
