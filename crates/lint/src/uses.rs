//! Where a module uses its names, and which parts of it always run.
//!
//! No scopes are resolved: a name that is bound in more than one place, whatever the
//! scopes, counts as bound more than once, and nothing is concluded about it.

use imports::{Import, Place};
use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{
    Decorator, ExceptHandler, Expr, ExprContext, Parameter, Pattern, Stmt, StmtIf, StringLiteral,
    TypeParam,
};
use ruff_text_size::{Ranged, TextRange, TextSize};
use std::collections::{BTreeMap, BTreeSet};

/// One mention of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The function at the top of the module that it is in.
    pub function: Option<usize>,
    /// The branches that it is in, from the outermost.
    pub branches: Vec<usize>,
    /// What is taken from it: `a.b.c` has `b`, `c`.
    pub attributes: Vec<String>,
}

/// A function at the top of a module.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where a statement can be put in before all others but its docstring.
    pub start: Option<TextSize>,
    /// Whether it runs whenever the module is loaded or started.
    pub always: bool,
}

/// The body of an `if`, `elif` or `else`.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The condition that it depends on.
    pub test: TextRange,
    /// Where a statement can be put in before all others.
    pub start: Option<TextSize>,
}

/// What is known of a module's names.
#[derive(Debug, Default)]
pub struct Uses {
    /// Every import.
    pub imports: Vec<Import>,
    /// Mentions by name.
    pub names: BTreeMap<String, Vec<Use>>,
    /// How often each name is bound.
    pub bound: BTreeMap<String, usize>,
    /// Functions at the top.
    pub functions: Vec<Function>,
    /// Branches.
    pub branches: Vec<Branch>,
    /// Words of string literals: annotations, `__all__`, templates.
    pub words: BTreeSet<String>,
    /// Something looks names up while the program runs.
    pub dynamic: Option<String>,
    /// Something compiles functions from their source: `torch.jit`, `numba`.
    pub compiles: bool,
}

/// What looks names up that nobody can see.
const DYNAMIC: [&str; 6] = ["globals", "locals", "vars", "eval", "exec", "__import__"];

impl Uses {
    /// Of the statements of a module.
    pub fn of(body: &[Stmt]) -> Self {
        let mut walk = Walk::default();
        walk.visit_body(body);
        let Walk { mut uses, mentions, .. } = walk;
        // What is mentioned where it always runs is taken to run.
        let mut open: Vec<Option<usize>> = vec![None];
        while let Some(from) = open.pop() {
            let named = mentions.iter().filter(|(place, _)| *place == from);
            let names: BTreeSet<&String> = named.map(|(_, name)| name).collect();
            for (number, function) in uses.functions.iter_mut().enumerate() {
                if !function.always && names.contains(&function.name) {
                    function.always = true;
                    open.push(Some(number));
                }
            }
        }
        uses
    }
}

#[derive(Default)]
struct Walk {
    uses: Uses,
    function: Option<usize>,
    /// How many functions and classes are around, beyond the outermost function.
    nested: usize,
    classes: usize,
    branches: Vec<usize>,
    /// Statements of the module itself that do not always run.
    blocks: usize,
    typing: bool,
    annotation: bool,
    /// Names that are mentioned where nothing decides whether it runs.
    mentions: Vec<(Option<usize>, String)>,
}

impl Walk {
    fn bind(&mut self, name: &str) {
        *self.uses.bound.entry(name.to_owned()).or_default() += 1;
    }

    fn mention(&mut self, name: &str, attributes: Vec<String>) {
        if DYNAMIC.contains(&name) {
            self.uses.dynamic = Some(name.to_owned());
        }
        self.uses.compiles |= matches!(name, "jit" | "njit" | "numba");
        if self.branches.is_empty() && self.nested == 0 && !self.annotation {
            self.mentions.push((self.function, name.to_owned()));
        }
        let plain = self.annotation || self.typing;
        let mention = Use {
            function: self.function.filter(|_| !plain),
            branches: if plain { Vec::new() } else { self.branches.clone() },
            attributes,
        };
        self.uses.names.entry(name.to_owned()).or_default().push(mention);
    }

    fn branch(&mut self, test: TextRange, body: &[Stmt]) {
        self.uses.branches.push(Branch { test, start: start(body) });
        self.branches.push(self.uses.branches.len() - 1);
        self.blocks += 1;
        self.visit_body(body);
        self.blocks -= 1;
        self.branches.pop();
    }

    fn condition(&mut self, condition: &StmtIf) {
        self.visit_expr(&condition.test);
        if is_main(&condition.test) && condition.elif_else_clauses.is_empty() {
            // A program's own start.
            self.blocks += 1;
            self.visit_body(&condition.body);
            self.blocks -= 1;
            return;
        }
        let typing = is_type_checking(&condition.test);
        let before = self.typing;
        self.typing |= typing;
        self.branch(condition.test.range(), &condition.body);
        self.typing = before;
        for clause in &condition.elif_else_clauses {
            if let Some(test) = &clause.test {
                self.visit_expr(test);
            }
            let test = clause.test.as_ref().map_or(condition.test.range(), Ranged::range);
            self.branch(test, &clause.body);
        }
    }
}

/// Where a statement can be put in before those of a body, which must start on a line of
/// their own; after its docstring.
fn start(body: &[Stmt]) -> Option<TextSize> {
    body.first().map(Ranged::start)
}

fn after_docstring(body: &[Stmt]) -> Option<TextSize> {
    let docstring =
        matches!(body.first(), Some(Stmt::Expr(one)) if one.value.is_string_literal_expr());
    body.get(usize::from(docstring)).map(Ranged::start)
}

/// Whether a condition is `__name__ == "__main__"`.
fn is_main(test: &Expr) -> bool {
    let Expr::Compare(compare) = test else { return false };
    let name = |expr: &Expr| matches!(expr, Expr::Name(name) if name.id.as_str() == "__name__");
    name(&compare.left) || compare.comparators.iter().any(name)
}

fn is_type_checking(test: &Expr) -> bool {
    match test {
        Expr::Name(name) => name.id.as_str() == "TYPE_CHECKING",
        Expr::Attribute(attribute) => attribute.attr.as_str() == "TYPE_CHECKING",
        _ => false,
    }
}

impl<'a> Visitor<'a> for Walk {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(_) | Stmt::ImportFrom(_) => {
                let place = if self.typing {
                    Place::TypeChecking
                } else if self.function.is_some() || self.classes > 0 {
                    Place::Inside
                } else if self.blocks > 0 {
                    Place::Conditional
                } else {
                    Place::Top
                };
                let found = imports::written(statement, place);
                for import in &found {
                    self.bind(import.bound());
                }
                self.uses.imports.extend(found);
            }
            Stmt::FunctionDef(function) => {
                self.bind(&function.name);
                for decorator in &function.decorator_list {
                    self.visit_decorator(decorator);
                }
                let outermost = self.function.is_none();
                let before = (self.function, self.nested);
                // Defaults and annotations are evaluated outside.
                self.visit_parameters(&function.parameters);
                if let Some(returns) = &function.returns {
                    self.visit_annotation(returns);
                }
                if let Some(parameters) = &function.type_params {
                    self.visit_type_params(parameters);
                }
                if outermost && self.classes == 0 {
                    let plain = function.decorator_list.is_empty();
                    self.uses.functions.push(Function {
                        name: function.name.to_string(),
                        start: after_docstring(&function.body).filter(|_| plain),
                        // Where nothing can be put in, when it runs does not matter.
                        always: !plain,
                    });
                    self.function = Some(self.uses.functions.len() - 1);
                } else {
                    self.nested += 1;
                }
                self.visit_body(&function.body);
                (self.function, self.nested) = before;
            }
            Stmt::ClassDef(class) => {
                self.bind(&class.name);
                for decorator in &class.decorator_list {
                    self.visit_decorator(decorator);
                }
                if let Some(parameters) = &class.type_params {
                    self.visit_type_params(parameters);
                }
                if let Some(arguments) = &class.arguments {
                    self.visit_arguments(arguments);
                }
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
            Stmt::Global(names) => names.names.iter().for_each(|name| self.bind(name)),
            Stmt::Nonlocal(names) => names.names.iter().for_each(|name| self.bind(name)),
            _ => visitor::walk_stmt(self, statement),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) => match name.ctx {
                ExprContext::Load => self.mention(&name.id, Vec::new()),
                _ => self.bind(&name.id),
            },
            Expr::Attribute(attribute) => {
                let mut attributes = vec![attribute.attr.to_string()];
                let mut inner = &*attribute.value;
                while let Expr::Attribute(next) = inner {
                    attributes.push(next.attr.to_string());
                    inner = &next.value;
                }
                attributes.reverse();
                self.uses.compiles |= attributes.iter().any(|name| name == "jit" || name == "njit");
                if let Expr::Name(name) = inner {
                    self.uses.compiles |= name.id.as_str() == "torch"
                        && matches!(
                            attributes[0].as_str(),
                            "compile" | "export" | "fx" | "package"
                        );
                    self.mention(&name.id, attributes);
                } else {
                    self.visit_expr(inner);
                }
            }
            _ => visitor::walk_expr(self, expr),
        }
    }

    fn visit_annotation(&mut self, expr: &'a Expr) {
        let before = std::mem::replace(&mut self.annotation, true);
        visitor::walk_annotation(self, expr);
        self.annotation = before;
    }

    fn visit_decorator(&mut self, decorator: &'a Decorator) {
        visitor::walk_decorator(self, decorator);
    }

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.bind(&parameter.name);
        visitor::walk_parameter(self, parameter);
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inside) = handler;
        if let Some(name) = &inside.name {
            self.bind(name);
        }
        visitor::walk_except_handler(self, handler);
    }

    fn visit_type_param(&mut self, parameter: &'a TypeParam) {
        self.bind(parameter.name());
        visitor::walk_type_param(self, parameter);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(one) => one.name.as_ref(),
            Pattern::MatchStar(one) => one.name.as_ref(),
            Pattern::MatchMapping(one) => one.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.bind(name);
        }
        visitor::walk_pattern(self, pattern);
    }

    fn visit_string_literal(&mut self, literal: &'a StringLiteral) {
        let words = literal.value.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        // A long text is prose; what names a variable is short.
        if literal.value.len() < 200 {
            self.uses.words.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
}
