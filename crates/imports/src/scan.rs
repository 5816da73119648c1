//! The imports in a module's text, with when each runs.

use crate::calls;
use crate::statement::{Base, Found, Statement};
use crate::written::{Import, Place, written};
use crate::{Unreadable, text};
use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{BoolOp, Expr, ExprCall, Stmt, StmtIf, UnaryOp};
use ruff_text_size::{Ranged, TextSize};

impl Found {
    /// The imports in a module's `text`.
    ///
    /// # Errors
    /// [`Unreadable::Size`], [`Unreadable::Syntax`] and [`Unreadable::Depth`].
    pub fn in_text(text: &str) -> Result<Self, Unreadable> {
        text::with_tree(text, |tree| {
            let mut walk = Walk::default();
            walk.visit_body(tree.suite());
            let lines = Lines::of(text);
            let aliases = calls::aliases(walk.imports.iter().map(|(import, _)| import));
            let mut found = Self::default();
            for (import, at) in &walk.imports {
                found.statements.push(Statement {
                    line: lines.number(*at),
                    place: import.place,
                    text: import.text(),
                    module: import.module.clone(),
                    member: import.member.clone(),
                    dynamic: false,
                    base: Base::Package,
                });
            }
            for (call, place) in &walk.calls {
                let line = lines.number(call.range().start());
                let written = &text[call.range()];
                calls::read(
                    call,
                    &aliases,
                    &calls::Site { line, place: *place, written },
                    &mut found,
                );
            }
            found.statements.sort_by_key(|statement| statement.line);
            found
        })
    }
}

/// Where lines start.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(starts.map(|(at, _)| at + 1)).collect())
    }

    fn number(&self, at: TextSize) -> usize {
        self.0.partition_point(|start| *start <= at.to_usize())
    }
}

#[derive(Default)]
struct Walk<'a> {
    imports: Vec<(Import, TextSize)>,
    calls: Vec<(&'a ExprCall, Place)>,
    /// How many functions are around.
    functions: usize,
    classes: usize,
    /// How many statements of the module are around that decide whether something runs.
    blocks: usize,
    typing: bool,
    getattr: bool,
}

impl<'a> Walk<'a> {
    fn place(&self) -> Place {
        if self.typing {
            Place::TypeChecking
        } else if self.getattr {
            Place::Getattr
        } else if self.functions > 0 {
            Place::Inside
        } else if self.blocks > 0 {
            Place::Conditional
        } else {
            Place::Top
        }
    }

    fn condition(&mut self, condition: &'a StmtIf) {
        self.visit_expr(&condition.test);
        let checks = type_checking(&condition.test);
        let before = self.typing;
        let decides = usize::from(checks.is_none());
        self.typing |= checks == Some(true);
        self.blocks += decides;
        self.visit_body(&condition.body);
        self.blocks -= decides;
        self.typing = before;
        for clause in &condition.elif_else_clauses {
            if let Some(test) = &clause.test {
                self.visit_expr(test);
            }
            // `if TYPE_CHECKING: … else: …` always runs the other part.
            let always = clause.test.is_none() && condition.elif_else_clauses.len() == 1;
            let decides = usize::from(!(always && checks == Some(true)));
            self.typing |= always && checks == Some(false);
            self.blocks += decides;
            self.visit_body(&clause.body);
            self.blocks -= decides;
            self.typing = before;
        }
    }
}

/// Whether a condition holds for type checkers alone, or for all but them; `None` for others.
fn type_checking(test: &Expr) -> Option<bool> {
    match test {
        Expr::Name(name) => (name.id.as_str() == "TYPE_CHECKING").then_some(true),
        Expr::Attribute(attribute) => (attribute.attr.as_str() == "TYPE_CHECKING").then_some(true),
        Expr::UnaryOp(not) if not.op == UnaryOp::Not => {
            type_checking(&not.operand).map(|holds| !holds)
        }
        Expr::BoolOp(both) if both.op == BoolOp::And => {
            both.values.iter().any(|part| type_checking(part) == Some(true)).then_some(true)
        }
        _ => None,
    }
}

impl<'a> Visitor<'a> for Walk<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(_) | Stmt::ImportFrom(_) => {
                let found = written(statement, self.place());
                self.imports.extend(found.into_iter().map(|import| (import, statement.start())));
            }
            Stmt::FunctionDef(function) => {
                for decorator in &function.decorator_list {
                    self.visit_decorator(decorator);
                }
                // Defaults are evaluated where the function is defined.
                self.visit_parameters(&function.parameters);
                let before = self.getattr;
                self.getattr |=
                    self.functions + self.classes == 0 && function.name.as_str() == "__getattr__";
                self.functions += 1;
                self.visit_body(&function.body);
                self.functions -= 1;
                self.getattr = before;
            }
            Stmt::ClassDef(class) => {
                for decorator in &class.decorator_list {
                    self.visit_decorator(decorator);
                }
                if let Some(arguments) = &class.arguments {
                    self.visit_arguments(arguments);
                }
                // The body of a class runs where it stands.
                self.classes += 1;
                self.visit_body(&class.body);
                self.classes -= 1;
            }
            Stmt::If(condition) => self.condition(condition),
            Stmt::Try(_) | Stmt::For(_) | Stmt::While(_) | Stmt::With(_) | Stmt::Match(_) => {
                self.blocks += 1;
                visitor::walk_stmt(self, statement);
                self.blocks -= 1;
            }
            _ => visitor::walk_stmt(self, statement),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Call(call) => {
                self.calls.push((call, self.place()));
                visitor::walk_expr(self, expr);
            }
            Expr::Lambda(_) => {
                self.functions += 1;
                visitor::walk_expr(self, expr);
                self.functions -= 1;
            }
            _ => visitor::walk_expr(self, expr),
        }
    }

    // What stands there imports nothing, and there is much of it.
    fn visit_annotation(&mut self, _: &'a Expr) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places(text: &str) -> Vec<(usize, String, Place)> {
        let found = Found::in_text(text).unwrap().statements;
        found.into_iter().map(|one| (one.line, one.text, one.place)).collect()
    }

    #[test]
    fn every_place_is_told_apart() {
        let text = "\
import a, b.c as d
from .e import f as g, h
class C:
    import k
    def m(self, x=__import__('l')):
        import n
try:
    import o
except ImportError:
    from p import *
if TYPE_CHECKING:
    import q
else:
    import r
if not typing.TYPE_CHECKING:
    import s
if x:
    import t
def __getattr__(name):
    from . import u
with y: import v
f = lambda: __import__('w')
def f():
    class D:
        import z
    def __getattr__(name):
        import y
";
        let shown: Vec<String> = places(text)
            .into_iter()
            .map(|(line, text, place)| format!("{line} {text} {place:?}"))
            .collect();
        assert_eq!(
            shown,
            [
                "1 import a Top",
                "1 import b.c as d Top",
                "2 from .e import f as g Top",
                "2 from .e import h Top",
                "4 import k Top",
                "5 __import__('l') Top",
                "6 import n Inside",
                "8 import o Conditional",
                "10 from p import * Conditional",
                "12 import q TypeChecking",
                "14 import r Top",
                "16 import s Top",
                "18 import t Conditional",
                "20 from . import u Getattr",
                "21 import v Conditional",
                "22 __import__('w') Inside",
                "25 import z Inside",
                "27 import y Inside",
            ]
        );
    }

    #[test]
    fn no_import_is_lost_in_a_long_text() {
        let text: Vec<String> = (0..5_000).map(|number| format!("import m{number}\n")).collect();
        let text = text.concat();
        let found = places(&text);
        assert!(found.iter().enumerate().all(|(index, (line, ..))| *line == index + 1));
        assert_eq!(found.len(), 5_000);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in "\\PC{0,300}") {
            let _ = Found::in_text(&text);
        }

        #[test]
        fn no_program_makes_it_fail(words in proptest::collection::vec(
            prop::sample::select(vec![
                "import", "from", ".", "a", " ", "\n", "\n    ", "def f():", "class C:", "if x:",
                "(", ")", "[", "'b'", ",", "importlib", "import_module", "__import__", "as", "*",
                "TYPE_CHECKING", "else:", "try:", "except:", "lambda:", "not ", "f'{", "}'", "=",
                "\\", ";", ":", "level", "1", "package=", "__name__", "\t", "é", "\"\"\"",
            ]),
            0..60,
        )) {
            let text = words.concat();
            if let Ok(found) = Found::in_text(&text) {
                let last = text.matches('\n').count() + 1;
                let lines = found.statements.iter().map(|one| one.line);
                let lines = lines.chain(found.unknowns.iter().map(|one| one.line));
                prop_assert!(lines.into_iter().all(|line| (1..=last).contains(&line)));
            }
        }
    }
}
