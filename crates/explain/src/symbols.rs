//! Names of functions: what is meant by one, and which symbols have it.

use elf::Library;

/// What is searched for.
pub enum Wanted<'n> {
    /// A function with this name, mangled or not, with or without what is around it.
    Exactly(&'n str),
    /// Also one whose name has this as a part.
    Part(&'n str),
    /// What serves the operator `aten::NAME.OVERLOAD`.
    Operator {
        /// The name.
        name: &'n str,
        /// The overload, where one is asked for.
        overload: Option<&'n str>,
    },
}

/// `aten::NAME.OVERLOAD` taken apart.
pub fn operator(name: &str) -> Option<Wanted<'_>> {
    let rest = name.strip_prefix("aten::")?;
    let (name, overload) = match rest.split_once('.') {
        Some((name, overload)) => (name, Some(overload)),
        None => (rest, None),
    };
    let word = |text: &str| {
        let letter = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        !text.is_empty() && text.bytes().all(letter)
    };
    (word(name) && overload.is_none_or(word)).then_some(Wanted::Operator { name, overload })
}

impl Wanted<'_> {
    /// A word that the symbol of whatever is meant contains: names stand in symbols as they
    /// are, apart from those that every C++ program has.
    pub fn word(&self) -> &str {
        const COMMON: [&str; 10] = [
            "std",
            "string",
            "basic_string",
            "allocator",
            "operator",
            "const",
            "unsigned",
            "int",
            "anonymous",
            "namespace",
        ];
        let text = match self {
            Self::Operator { name, .. } => return name.trim_end_matches('_'),
            Self::Exactly(text) | Self::Part(text) => text,
        };
        if text.starts_with("_Z") {
            return text;
        }
        let name = text.split('(').next().filter(|name| !name.is_empty()).unwrap_or(text);
        let words = name.split(|letter: char| letter != '_' && !letter.is_alphanumeric());
        words.filter(|word| !COMMON.contains(word)).max_by_key(|word| word.len()).unwrap_or("")
    }

    /// How well a function fits, 0 best, and what it is to an operator.
    pub fn fits(&self, symbol: &str, name: &str) -> Option<(u8, Option<&'static str>)> {
        match self {
            Self::Operator { name: operator, overload } => {
                role(name, operator, *overload).map(|(rank, role)| (rank, Some(role)))
            }
            Self::Exactly(text) | Self::Part(text) => {
                let bare = bare(name);
                let rank = if symbol == *text || name == *text || bare == *text {
                    0
                } else if matches!(self, Self::Exactly(_)) {
                    return None;
                } else if bare.strip_suffix(text).is_some_and(|rest| rest.ends_with("::")) {
                    1
                } else if name.contains(text) || symbol.contains(text) {
                    2
                } else {
                    return None;
                };
                Some((rank, None))
            }
        }
    }
}

/// What a function is to the operator `aten::NAME.OVERLOAD`, and in which place it is told.
fn role(function: &str, name: &str, overload: Option<&str>) -> Option<(u8, &'static str)> {
    let whole = bare(function);
    let parts: Vec<&str> = whole.split("::").collect();
    let unique = overload.map_or(name.to_owned(), |overload| format!("{name}_{overload}"));
    // Without an overload, all are meant.
    let meant = |text: &str| {
        text == unique
            || (overload.is_none()
                && text.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')))
    };
    match parts.as_slice() {
        ["at", "_ops", entry, "call"] if meant(entry) => return Some((0, "dispatch entry")),
        ["at", "_ops", entry, "redispatch"] if meant(entry) => {
            return Some((1, "dispatch entry from a kernel"));
        }
        _ => {}
    }
    if parts.first() != Some(&"at") {
        return None;
    }
    let kernel = |part: &&str| {
        let rest = part.strip_prefix("wrapper_")?;
        // The dispatch key, then the operator.
        let (_, operator) = rest.split_once('_')?;
        Some(operator == unique || (overload.is_none() && operator == name))
    };
    if parts.iter().any(|part| kernel(part) == Some(true)) {
        return Some((2, "registered kernel"));
    }
    let plain = name.trim_end_matches('_');
    let native = [
        name.to_owned(),
        plain.to_owned(),
        format!("{plain}_"),
        format!("{plain}_out"),
        format!("{plain}_cpu"),
        format!("{plain}_kernel"),
        format!("{plain}_stub"),
        format!("structured_{plain}"),
        format!("structured_{plain}_out"),
        format!("structured_ufunc_{plain}_CPU"),
    ];
    (parts.contains(&"native")
        && parts.iter().skip(2).any(|part| native.iter().any(|one| one == part)))
    .then_some((3, "native function of its name"))
}

/// A function's name without parameters and template arguments.
pub fn bare(name: &str) -> String {
    let name = name.replace("(anonymous namespace)", "{anonymous}");
    let (mut out, mut depth) = (String::with_capacity(name.len()), 0_usize);
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            '(' if depth == 0 => break,
            _ if depth == 0 => out.push(letter),
            _ => {}
        }
    }
    out.replace("{anonymous}", "(anonymous namespace)")
}

/// A function of a library.
pub struct Code<'b> {
    /// Its symbol.
    pub symbol: &'b str,
    /// Its address, unrelocated.
    pub address: u64,
    /// Its bytes; 0 where the table does not say.
    pub size: u64,
}

/// The functions of `library`, by its full symbol table and the one that the loader reads.
pub fn functions<'b>(library: &Library<'b>) -> Vec<Code<'b>> {
    const FUNCTION: u8 = 2;
    const CHOSEN: u8 = 10;
    let local = library
        .local_symbols()
        .filter(|symbol| matches!(symbol.kind, FUNCTION | CHOSEN))
        .filter_map(|symbol| {
            let name = std::str::from_utf8(symbol.name).ok()?;
            Some(Code { symbol: name, address: symbol.address, size: symbol.size })
        });
    let mut all: Vec<Code<'b>> = local.collect();
    if all.is_empty() {
        let exported = library.symbols().unwrap_or_default().into_iter();
        all.extend(exported.filter(|symbol| symbol.is_code() && symbol.is_defined()).map(
            |symbol| Code { symbol: symbol.name, address: symbol.address, size: symbol.size },
        ));
    }
    all
}

/// The parts of a name that is nothing but names, read without a demangler, which would take
/// seconds for all functions of PyTorch.
pub fn plain(symbol: &str) -> Option<Vec<&str>> {
    let mut rest = symbol.strip_prefix("_ZN")?;
    rest = rest.strip_prefix('K').unwrap_or(rest);
    let mut parts = Vec::new();
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return (rest.starts_with('E') && !parts.is_empty()).then_some(parts);
        }
        let length: usize = rest[..digits].parse().ok()?;
        let end = digits.checked_add(length)?;
        parts.push(rest.get(digits..end)?);
        rest = &rest[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_told_from_functions() {
        let parts = |name| match operator(name) {
            Some(Wanted::Operator { name, overload }) => Some((name, overload)),
            _ => None,
        };
        assert_eq!(parts("aten::add.Tensor"), Some(("add", Some("Tensor"))));
        assert_eq!(parts("aten::mm"), Some(("mm", None)));
        assert_eq!(parts("at::native::add"), None);
        assert_eq!(parts("aten::a::b"), None);
    }

    #[test]
    fn what_serves_an_operator_is_known_by_its_name() {
        let rank = |function, overload| role(function, "add", overload).map(|(rank, _)| rank);
        assert_eq!(rank("at::_ops::add_Tensor::call(at::Tensor const&)", Some("Tensor")), Some(0));
        assert_eq!(rank("at::_ops::add_Scalar::call(at::Tensor const&)", Some("Tensor")), None);
        assert_eq!(rank("at::_ops::add_Scalar::redispatch(int)", None), Some(1));
        assert_eq!(
            rank("at::(anonymous namespace)::wrapper_CPU_add_Tensor(int)", Some("Tensor")),
            Some(2)
        );
        assert_eq!(
            rank("at::native::structured_ufunc_add_CPU::impl(int)", Some("Tensor")),
            Some(3)
        );
        assert_eq!(rank("at::native::addmm(int)", None), None);
        assert_eq!(rank("torch::add(int)", None), None);
    }

    #[test]
    fn names_lose_what_does_not_name_them() {
        assert_eq!(bare("a::b<c::d, (e)1>::f(g<h>) [clone .cold]"), "a::b::f");
        assert_eq!(bare("at::(anonymous namespace)::f(int)"), "at::(anonymous namespace)::f");
        assert_eq!(plain("_ZN2at6native6conv2dEv"), Some(vec!["at", "native", "conv2d"]));
        assert_eq!(plain("_ZN9"), None);
        assert_eq!(plain("memcpy"), None);
        assert_eq!(Wanted::Part("at::native::conv2d(std::string)").word(), "conv2d");
    }
}
