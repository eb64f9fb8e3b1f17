//! What an expression must keep to before it is ever evaluated.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::{Env, ParseErrors};
use regex::Regex;

use super::cost::{self, CelLimits};
use super::{InvalidCel, equality};
use crate::invalid::excerpt;

/// The one variable.
pub(super) const EVENT: &str = "event";
/// What stands in place of a regular expression, with its number behind it; cannot be written.
pub(super) const REGEX: &str = "regex@";

/// The types that an expression can name.
const TYPES: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// What the library can do, without the operators.
const FUNCTIONS: [&str; 35] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "matches",
    "none",
    "of",
    "ofNonZeroValue",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
    operators::CONDITIONAL,
];

/// What goes wrong at a part of an expression.
pub(super) struct Fault {
    id: u64,
    pub(super) rule: String,
}

impl Fault {
    fn at(expr: &IdedExpr, rule: impl Into<String>) -> Self {
        Self {
            id: expr.id,
            rule: rule.into(),
        }
    }
}

/// Parses and checks an expression, and returns it with the regular expressions that stand in it.
pub(super) fn compile(
    text: &str,
    limits: &CelLimits,
    library: &Env,
) -> Result<(IdedExpr, Vec<Regex>), InvalidCel> {
    let start = |rule: String| invalid(text, (1, 1), rule);
    if text.len() > limits.text_bytes_max {
        let (actual, limit) = (text.len(), limits.text_bytes_max);
        return Err(start(format!(
            "text of {actual} bytes exceeds the limit of {limit}"
        )));
    }
    let parser = library.parser().max_recursion_depth(limits.nesting_max);
    let (mut root, info) = parser
        .parse_with_source_info(text)
        .map_err(|errors| of_parser(text, &errors))?;
    let fault = |fault: Fault| invalid(text, place(text, &info, fault.id), fault.rule);
    deeper_than(&root, limits.depth_max).map_err(fault)?;
    let mut checker = Checker {
        limits,
        names: vec![EVENT],
        n_parts: 0,
        n_regexes: 0,
    };
    checker.check(&root).map_err(fault)?;
    let mut regexes = Vec::new();
    rewrite(&mut root, &mut regexes).map_err(fault)?;
    cost::admit_least(&root, limits).map_err(|error| start(error.to_string()))?;
    Ok((root, regexes))
}

fn invalid(text: &str, (line, column): (usize, usize), rule: String) -> InvalidCel {
    InvalidCel {
        text: excerpt(text),
        line,
        column,
        rule,
    }
}

fn of_parser(text: &str, errors: &ParseErrors) -> InvalidCel {
    let Some(first) = errors.errors.first() else {
        return invalid(text, (1, 1), "it cannot be parsed".to_owned());
    };
    let number = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    let (line, column) = first.pos;
    let rule = first.msg.trim_start_matches("Syntax error: ");
    invalid(text, (number(line), number(column)), excerpt(rule))
}

/// Returns the line and the column of a part, from 1.
fn place(text: &str, info: &SourceInfo, id: u64) -> (usize, usize) {
    let offset = info.offset_for(id).map_or(0, |(start, _)| start as usize);
    let before = text.chars().take(offset);
    before.fold((1, 1), |(line, column), character| match character {
        '\n' => (line + 1, 1),
        _ => (line, column + 1),
    })
}

/// Returns the parts of a part, in the order in which they stand.
fn parts(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::Comprehension(inner) => vec![
            &inner.iter_range,
            &inner.accu_init,
            &inner.loop_cond,
            &inner.loop_step,
            &inner.result,
        ],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => {
            let entries = map.entries.iter().filter_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => Some([&entry.key, &entry.value]),
                EntryExpr::StructField(_) => None,
            });
            entries.flatten().collect()
        }
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(_) => Vec::new(),
    }
}

/// Calls `each` with every part.
pub(super) fn walk<'e>(expr: &'e IdedExpr, each: &mut impl FnMut(&'e IdedExpr)) {
    each(expr);
    for part in parts(expr) {
        walk(part, each);
    }
}

/// Refuses a tree that is deeper than a walk through it may go.
fn deeper_than(expr: &IdedExpr, limit: usize) -> Result<(), Fault> {
    let Some(below) = limit.checked_sub(1) else {
        return Err(Fault::at(expr, "parts are nested too deeply"));
    };
    parts(expr)
        .into_iter()
        .try_for_each(|part| deeper_than(part, below))
}

struct Checker<'e, 'l> {
    limits: &'l CelLimits,
    names: Vec<&'e str>,
    n_parts: usize,
    n_regexes: usize,
}

impl<'e> Checker<'e, '_> {
    fn check(&mut self, expr: &'e IdedExpr) -> Result<(), Fault> {
        self.check_inside(expr, 0)
    }

    fn check_inside(&mut self, expr: &'e IdedExpr, n_loops: usize) -> Result<(), Fault> {
        self.n_parts += 1;
        if self.n_parts > self.limits.parts_max {
            let limit = self.limits.parts_max;
            return Err(Fault::at(expr, format!("it has more than {limit} parts")));
        }
        match &expr.expr {
            Expr::Unspecified | Expr::Struct(_) => {
                Err(Fault::at(expr, "messages cannot be made here"))
            }
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(expr, name),
            Expr::Call(call) => self.call(expr, call, n_loops),
            Expr::Comprehension(_) => self.comprehension(expr, n_loops),
            Expr::List(_) | Expr::Map(_) | Expr::Select(_) => self.all(&parts(expr), n_loops),
        }
    }

    fn all(&mut self, list: &[&'e IdedExpr], n_loops: usize) -> Result<(), Fault> {
        list.iter()
            .try_for_each(|part| self.check_inside(part, n_loops))
    }

    fn name(&self, expr: &IdedExpr, name: &str) -> Result<(), Fault> {
        if self.names.contains(&name) || TYPES.contains(&name) {
            return Ok(());
        }
        let rule = format!(
            "there is no {:?}; an expression knows \"event\"",
            excerpt(name)
        );
        Err(Fault::at(expr, rule))
    }

    fn call(&mut self, expr: &IdedExpr, call: &'e CallExpr, n_loops: usize) -> Result<(), Fault> {
        let name = call.func_name.as_str();
        let is_operator = name.contains('_') && !name.contains(|c: char| c.is_alphanumeric());
        let is_conditional = name == operators::CONDITIONAL;
        if !is_operator && !is_conditional && !FUNCTIONS.contains(&name) {
            let rule = format!("there is no function {:?}", excerpt(name));
            return Err(Fault::at(expr, rule));
        }
        if name == "matches" {
            self.n_regexes += 1;
            let limit = self.limits.regexes_max;
            if self.n_regexes > limit {
                let rule = format!("it has more than {limit} regular expressions");
                return Err(Fault::at(expr, rule));
            }
        }
        let target = call.target.as_deref();
        // The functions that make optional values stand behind a name of their own.
        let namespace = target
            .is_some_and(|target| matches!(&target.expr, Expr::Ident(name) if name == "optional"));
        let target = target.filter(|_| !namespace);
        let list: Vec<_> = target.into_iter().chain(&call.args).collect();
        self.all(&list, n_loops)
    }

    fn comprehension(&mut self, expr: &'e IdedExpr, n_loops: usize) -> Result<(), Fault> {
        let Expr::Comprehension(inner) = &expr.expr else {
            return Ok(());
        };
        self.all(&[&inner.iter_range, &inner.accu_init], n_loops)?;
        let n_loops = n_loops + usize::from(!matches!(inner.iter_range.expr, Expr::List(_)));
        if n_loops > self.limits.loops_max {
            let limit = self.limits.loops_max;
            let rule = format!("more than {limit} loops over lists stand inside each other");
            return Err(Fault::at(expr, rule));
        }
        let n_names = self.names.len();
        self.names.push(&inner.accu_var);
        self.names.push(&inner.iter_var);
        self.names.extend(inner.iter_var2.as_deref());
        self.all(&[&inner.loop_cond, &inner.loop_step], n_loops)?;
        self.all(&[&inner.result], n_loops)?;
        self.names.truncate(n_names);
        Ok(())
    }
}

/// Puts the functions of this crate in place of those of the library, and compiles the regular
/// expressions once.
pub(super) fn rewrite(expr: &mut IdedExpr, regexes: &mut Vec<Regex>) -> Result<(), Fault> {
    let id = expr.id;
    match &mut expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => Ok(()),
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                rewrite(target, regexes)?;
            }
            for arg in &mut call.args {
                rewrite(arg, regexes)?;
            }
            rewrite_call(id, call, regexes)
        }
        Expr::Comprehension(inner) => {
            rewrite(&mut inner.iter_range, regexes)?;
            rewrite(&mut inner.accu_init, regexes)?;
            rewrite(&mut inner.loop_cond, regexes)?;
            rewrite(&mut inner.loop_step, regexes)?;
            rewrite(&mut inner.result, regexes)
        }
        Expr::List(list) => list
            .elements
            .iter_mut()
            .try_for_each(|element| rewrite(element, regexes)),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| {
            let EntryExpr::MapEntry(entry) = &mut entry.expr else {
                return Ok(());
            };
            rewrite(&mut entry.key, regexes)?;
            rewrite(&mut entry.value, regexes)
        }),
        Expr::Select(select) => rewrite(&mut select.operand, regexes),
    }
}

fn rewrite_call(id: u64, call: &mut CallExpr, regexes: &mut Vec<Regex>) -> Result<(), Fault> {
    match call.func_name.as_str() {
        operators::EQUALS => equality::EQUALS.clone_into(&mut call.func_name),
        operators::NOT_EQUALS => equality::NOT_EQUALS.clone_into(&mut call.func_name),
        operators::IN => equality::IN.clone_into(&mut call.func_name),
        "matches" => {
            let pattern = call.args.pop();
            let text = call
                .target
                .take()
                .map(|text| *text)
                .or_else(|| call.args.pop());
            let (Some(text), Some(mut pattern)) = (text, pattern) else {
                let rule = "matches takes a text and a regular expression".to_owned();
                return Err(Fault { id, rule });
            };
            let Expr::Literal(LiteralValue::String(written)) = &pattern.expr else {
                let rule = "the regular expression of matches must be written out";
                return Err(Fault::at(&pattern, rule));
            };
            let regex = super::regex(written.inner()).map_err(|rule| Fault::at(&pattern, rule))?;
            pattern.expr = Expr::Ident(format!("{REGEX}{}", regexes.len()));
            regexes.push(regex);
            equality::MATCHES.clone_into(&mut call.func_name);
            call.args = vec![text, pattern];
        }
        _ => {}
    }
    Ok(())
}
