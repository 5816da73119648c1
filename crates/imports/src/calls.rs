//! Calls that import.
//!
//! A name that the call says as a literal is an import like any other. What remains is
//! reported as it is written, so that whoever asks for a module knows where the text stops
//! telling.

use crate::statement::{Base, Found, Statement, Unknown};
use crate::written::{Import, Place};
use ruff_python_ast::{Arguments, Expr, ExprCall, Int};
use std::collections::BTreeMap;

/// The most letters of a call that are shown.
const SHOWN: usize = 90;

/// A call in the text.
pub struct Site<'a> {
    pub line: usize,
    pub place: Place,
    pub written: &'a str,
}

/// What a function does with its first argument.
#[derive(Clone, Copy)]
enum Does {
    /// Imports the module of this name.
    Import,
    /// `__import__`: imports it, and names in it.
    Builtin,
    /// Imports the part before the colon.
    Resolve,
    /// Something else that ends in imports.
    Opaque,
}

/// Functions by the name that they are imported under.
const FUNCTIONS: [(&str, Does); 21] = [
    ("importlib.import_module", Does::Import),
    ("runpy.run_module", Does::Import),
    ("builtins.__import__", Does::Builtin),
    ("importlib.__import__", Does::Builtin),
    ("pkgutil.resolve_name", Does::Resolve),
    ("builtins.exec", Does::Opaque),
    ("imp.load_module", Does::Opaque),
    ("imp.load_source", Does::Opaque),
    ("importlib.machinery.ExtensionFileLoader", Does::Opaque),
    ("importlib.machinery.SourceFileLoader", Does::Opaque),
    ("importlib.metadata.entry_points", Does::Opaque),
    ("importlib.util.spec_from_file_location", Does::Opaque),
    ("importlib.util.spec_from_loader", Does::Opaque),
    ("importlib_metadata.entry_points", Does::Opaque),
    ("lazy_loader.attach", Does::Opaque),
    ("lazy_loader.attach_stub", Does::Opaque),
    ("lazy_loader.load", Does::Opaque),
    ("pkg_resources.iter_entry_points", Does::Opaque),
    ("pkgutil.iter_modules", Does::Opaque),
    ("pkgutil.walk_packages", Does::Opaque),
    ("runpy.run_path", Does::Opaque),
];

/// Functions and classes that are known by their last name, whoever defines them: programs
/// have copies of these.
const ANYWHERE: [(&str, Does); 8] = [
    ("import_module", Does::Import),
    ("entry_points", Does::Opaque),
    ("spec_from_file_location", Does::Opaque),
    ("LazyModule", Does::Opaque),
    ("LazyLoader", Does::Opaque),
    ("LazyImport", Does::Opaque),
    ("lazy_import", Does::Opaque),
    ("attach_stub", Does::Opaque),
];

/// What names of a module mean that its `imports` bind: `x` is `importlib.import_module`.
/// Only those of modules that [`FUNCTIONS`] names.
pub fn aliases<'a>(imports: impl Iterator<Item = &'a Import>) -> BTreeMap<String, String> {
    let mut aliases = BTreeMap::new();
    for import in imports.filter(|import| !import.is_relative() && !import.is_star()) {
        let meant = match (&import.member, &import.renamed) {
            (Some(member), _) => format!("{}.{member}", import.module),
            (None, Some(_)) => import.module.clone(),
            (None, None) => import.top().to_owned(),
        };
        let known = |(name, _): &(&str, Does)| {
            name.strip_prefix(meant.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if FUNCTIONS.iter().any(known) {
            aliases.insert(import.bound().to_owned(), meant);
        }
    }
    aliases
}

/// Adds to `found` what `call` imports.
pub fn read(
    call: &ExprCall,
    aliases: &BTreeMap<String, String>,
    site: &Site<'_>,
    found: &mut Found,
) {
    let Some(mut parts) = dotted(&call.func) else { return };
    if let Some(meant) = aliases.get(parts[0]) {
        parts.splice(0..1, meant.split('.'));
    } else if parts.len() == 1 && matches!(parts[0], "__import__" | "exec") {
        parts.insert(0, "builtins");
    }
    let name = parts.join(".");
    let last = parts.last().copied().unwrap_or_default().trim_start_matches('_');
    let by_name = FUNCTIONS.iter().find(|(known, _)| *known == name);
    let Some((_, does)) = by_name.or_else(|| ANYWHERE.iter().find(|(known, _)| *known == last))
    else {
        return;
    };
    let arguments = &call.arguments;
    let names = match does {
        Does::Import => import_module(arguments),
        Does::Builtin => builtin(arguments),
        Does::Resolve => literal(arguments.find_positional(0)).map(|name| {
            let (module, member) = name.split_once(':').unwrap_or((name, ""));
            let member = member.split('.').next().filter(|member| !member.is_empty());
            vec![(module.to_owned(), member.map(str::to_owned), Base::Package)]
        }),
        Does::Opaque => None,
    };
    let text = shown(site.written);
    let Some(names) = names else {
        let function = name.strip_prefix("builtins.").unwrap_or(&name).to_owned();
        found.unknowns.push(Unknown { line: site.line, place: site.place, function, text });
        return;
    };
    for (module, member, base) in names {
        found.statements.push(Statement {
            line: site.line,
            place: site.place,
            text: text.clone(),
            module,
            member,
            dynamic: true,
            base,
        });
    }
}

/// A module, a name that is taken from it, and what it is relative to.
type Named = (String, Option<String>, Base);

/// What `import_module(name, package)` imports.
fn import_module(arguments: &Arguments) -> Option<Vec<Named>> {
    let name = literal(arguments.find_argument_value("name", 0))?;
    let base = match arguments.find_argument_value("package", 1) {
        Some(Expr::Name(package)) if package.id.as_str() == "__package__" => Base::Package,
        Some(Expr::Name(package)) if package.id.as_str() == "__name__" => Base::Module,
        Some(package) => match literal(Some(package)) {
            Some(package) => Base::Named(package.to_owned()),
            None if name.starts_with('.') => return None,
            None => Base::Package,
        },
        None => Base::Package,
    };
    Some(vec![(name.to_owned(), None, base)])
}

/// What `__import__(name, globals, locals, fromlist, level)` imports.
fn builtin(arguments: &Arguments) -> Option<Vec<Named>> {
    let name = literal(arguments.find_argument_value("name", 0))?;
    let level = match arguments.find_argument_value("level", 4) {
        None => 0,
        Some(Expr::NumberLiteral(number)) => {
            number.value.as_int().and_then(Int::as_usize).filter(|level| *level < 50)?
        }
        Some(_) => return None,
    };
    let module = format!("{}{name}", ".".repeat(level));
    let members: Vec<&str> = match arguments.find_argument_value("fromlist", 3) {
        Some(Expr::List(list)) => list.elts.iter().filter_map(|one| literal(Some(one))).collect(),
        Some(Expr::Tuple(list)) => list.elts.iter().filter_map(|one| literal(Some(one))).collect(),
        _ => Vec::new(),
    };
    if members.is_empty() {
        return Some(vec![(module, None, Base::Package)]);
    }
    let named = |member: &&str| (module.clone(), Some((*member).to_owned()), Base::Package);
    Some(members.iter().map(named).collect())
}

/// The names of `a.b.c`.
fn dotted(expr: &Expr) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let mut inner = expr;
    while let Expr::Attribute(attribute) = inner {
        parts.push(attribute.attr.as_str());
        inner = &attribute.value;
    }
    match inner {
        Expr::Name(name) => parts.push(name.id.as_str()),
        // A method of something that is called or looked up.
        _ if !parts.is_empty() => parts.push("…"),
        _ => return None,
    }
    parts.reverse();
    Some(parts)
}

fn literal(expr: Option<&Expr>) -> Option<&str> {
    match expr? {
        Expr::StringLiteral(text) => Some(text.value.to_str()),
        _ => None,
    }
}

/// A call on one line.
fn shown(written: &str) -> String {
    // What is cut off need not be looked at.
    let start: String = written.chars().take(4 * SHOWN).collect();
    let words = start.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() > SHOWN {
        words.chars().take(SHOWN).chain(['…']).collect()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_of_importlib_are_seen_through() {
        let text = "\
from importlib import import_module as x, metadata
import importlib as y, importlib.util, pkgutil
import lazy_loader as lazy
x('a.b')
y.import_module('.c', package=__package__)
y.import_module('.c', __name__)
y.import_module('.c', 'p.q')
y.import_module('.c', p)
x(name)
importlib.util.spec_from_file_location('a', path)
metadata.entry_points(group='g')
[m for m in pkgutil.walk_packages(__path__)]
__import__('d', globals(), locals(), ['e', 'f'], 1)
__import__('g.h')
self._importlib.import_module(
    f'scipy.{name}'
)
sys.modules[__name__] = _LazyModule(__name__, globals()['__file__'], table)
__getattr__, __dir__, __all__ = lazy.attach(__name__, submodules=['z'])
exec(code)
self.exec(code)
pkgutil.resolve_name('i.j:k.l')
y.reload(a)
";
        let found = Found::in_text(text).unwrap();
        let dynamic: Vec<_> = found.statements.iter().filter(|one| one.dynamic).collect();
        let named: Vec<_> = dynamic
            .iter()
            .map(|one| (one.line, one.module.as_str(), one.member.as_deref(), &one.base))
            .collect();
        assert_eq!(
            named,
            [
                (4, "a.b", None, &Base::Package),
                (5, ".c", None, &Base::Package),
                (6, ".c", None, &Base::Module),
                (7, ".c", None, &Base::Named("p.q".into())),
                (13, ".d", Some("e"), &Base::Package),
                (13, ".d", Some("f"), &Base::Package),
                (14, "g.h", None, &Base::Package),
                (22, "i.j", Some("k"), &Base::Package),
            ]
        );
        let unknown: Vec<_> =
            found.unknowns.iter().map(|one| (one.line, one.function.as_str())).collect();
        assert_eq!(
            unknown,
            [
                (8, "importlib.import_module"),
                (9, "importlib.import_module"),
                (10, "importlib.util.spec_from_file_location"),
                (11, "importlib.metadata.entry_points"),
                (12, "pkgutil.walk_packages"),
                (15, "self._importlib.import_module"),
                (18, "_LazyModule"),
                (19, "lazy_loader.attach"),
                (20, "exec"),
            ]
        );
        assert_eq!(found.unknowns[5].text, "self._importlib.import_module( f'scipy.{name}' )");
    }
}
