//! What an expression may cost, known before it is evaluated.
//!
//! The language always ends, but `map` inside `map` over a list of the event multiplies. So the
//! cost is bounded from above: every list that comes out of the event is taken to be as long as
//! the longest list or object in it, every text as long as its longest text.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::CelFailure;
use crate::document::{Document, Kind};

/// The bounds on an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CelLimits {
    /// The longest text in bytes.
    pub text_bytes_max: usize,
    /// The largest number of parts.
    pub parts_max: usize,
    /// How many parentheses, brackets and operators may stand inside each other as it is written.
    pub nesting_max: u16,
    /// How many parts may stand inside each other.
    pub depth_max: usize,
    /// How many loops over lists of the event may stand inside each other.
    pub loops_max: usize,
    /// How many regular expressions there may be.
    pub regexes_max: usize,
    /// How many steps one evaluation may take.
    pub steps_max: u64,
    /// How many bytes of texts and lists one evaluation may make or look through.
    pub bytes_max: u64,
}

impl CelLimits {
    /// The limits that hold where nobody says otherwise.
    pub const DEFAULT: Self = Self {
        text_bytes_max: 4096,
        parts_max: 1000,
        nesting_max: 24,
        depth_max: 40,
        loops_max: 2,
        regexes_max: 8,
        steps_max: 200_000,
        bytes_max: 64 << 20,
    };
}

impl Default for CelLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How large the parts of an event are.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// The members of the largest object or the elements of the longest array.
    children: u64,
    /// The longest text, in bytes.
    text_bytes: u64,
    /// All values.
    values: u64,
    /// The bytes of everything.
    whole: u64,
}

/// Bounds on a value and on what it takes to have it.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    steps: u64,
    bytes: u64,
    /// The elements of any list in the value.
    children: u64,
    /// The bytes of any text in it.
    text_bytes: u64,
    /// The bytes of everything in it.
    whole: u64,
}

impl Cost {
    const fn plus(self, other: Self) -> Self {
        Self {
            steps: self.steps.saturating_add(other.steps),
            bytes: self.bytes.saturating_add(other.bytes),
            children: max(self.children, other.children),
            text_bytes: max(self.text_bytes, other.text_bytes),
            whole: max(self.whole, other.whole),
        }
    }

    const fn times(self, n: u64) -> Self {
        Self {
            steps: self.steps.saturating_mul(n),
            bytes: self.bytes.saturating_mul(n),
            children: self.children,
            text_bytes: self.text_bytes,
            whole: self.whole,
        }
    }
}

const fn max(left: u64, right: u64) -> u64 {
    if left > right { left } else { right }
}

/// The texts that numbers and times make are no longer than this.
const SCALAR_TEXT_BYTES: u64 = 512;
/// What a value takes in a list.
const VALUE_BYTES: u64 = 32;

/// Tells whether the cost grows with the event faster than the event.
pub(super) fn depends_on_event(root: &IdedExpr) -> bool {
    let mut depends = false;
    super::check::walk(root, &mut |expr| {
        depends |= match &expr.expr {
            Expr::Comprehension(_) => true,
            Expr::Call(call) => call.func_name == operators::ADD,
            Expr::Unspecified
            | Expr::Ident(_)
            | Expr::List(_)
            | Expr::Literal(_)
            | Expr::Map(_)
            | Expr::Select(_)
            | Expr::Struct(_) => false,
        };
    });
    depends
}

/// Refuses an expression that could cost too much over these documents.
pub(super) fn admit(
    root: &IdedExpr,
    limits: &CelLimits,
    documents: &[&Document<'_>],
) -> Result<(), CelFailure> {
    let mut sizes = Sizes::LEAST;
    for document in documents {
        sizes.add(document);
    }
    within(root, limits, sizes)
}

/// Refuses an expression that costs too much over any event, however small.
pub(super) fn admit_least(root: &IdedExpr, limits: &CelLimits) -> Result<(), CelFailure> {
    within(root, limits, Sizes::LEAST)
}

fn within(root: &IdedExpr, limits: &CelLimits, sizes: Sizes) -> Result<(), CelFailure> {
    let total = Estimate {
        sizes,
        names: Vec::new(),
    }
    .of(root);
    let checks = [
        ("steps", limits.steps_max, total.steps),
        ("bytes", limits.bytes_max, total.bytes),
    ];
    for (what, limit, actual) in checks {
        if actual > limit {
            return Err(CelFailure::Cost {
                what,
                limit,
                actual,
            });
        }
    }
    Ok(())
}

impl Sizes {
    /// No event is taken to be smaller.
    const LEAST: Self = Self {
        children: 16,
        text_bytes: 256,
        values: 16,
        whole: 1024,
    };

    fn add(&mut self, document: &Document<'_>) {
        let n_values = document.n_values();
        self.values = self.values.saturating_add(n_values as u64);
        let bytes = document.root().map_or(0, |root| document.whole(root).len());
        let values = (n_values as u64).saturating_mul(VALUE_BYTES);
        self.whole = self
            .whole
            .saturating_add(bytes as u64)
            .saturating_add(values);
        for id in 0..u32::try_from(n_values).unwrap_or(u32::MAX) {
            match document.kind(id) {
                Kind::Array | Kind::Object => {
                    // Every child has a number of its own inside the container.
                    let inside = document.inside(id);
                    if u64::from(inside.end - inside.start) > self.children {
                        let n_children = document.children(id).count() as u64;
                        self.children = max(self.children, n_children);
                    }
                }
                Kind::String { .. } | Kind::Number => {
                    self.text_bytes = max(self.text_bytes, document.raw(id).len() as u64);
                }
                Kind::Null | Kind::False | Kind::True => {}
            }
        }
    }
}

/// The walk that bounds a cost. The variables of loops have the bounds of what is looped over.
struct Estimate<'e> {
    sizes: Sizes,
    names: Vec<(&'e str, Cost)>,
}

impl<'e> Estimate<'e> {
    fn of(&mut self, expr: &'e IdedExpr) -> Cost {
        let own = Cost {
            steps: 1,
            ..Cost::default()
        };
        own.plus(match &expr.expr {
            Expr::Literal(literal) => {
                let bytes = literal_bytes(literal);
                Cost {
                    text_bytes: bytes,
                    whole: bytes.saturating_add(VALUE_BYTES),
                    ..Cost::default()
                }
            }
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.of(&select.operand),
            Expr::List(list) => self.container(list.elements.iter().collect()),
            Expr::Map(map) => {
                let entries = map.entries.iter().filter_map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => Some([&entry.key, &entry.value]),
                    EntryExpr::StructField(_) => None,
                });
                self.container(entries.flatten().collect())
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(_) => self.comprehension(expr),
            // The check refuses both.
            Expr::Struct(_) | Expr::Unspecified => Cost::default(),
        })
    }

    fn container(&mut self, parts: Vec<&'e IdedExpr>) -> Cost {
        let n_parts = parts.len() as u64;
        let mut whole = 0_u64;
        let mut total = Cost::default();
        for part in parts {
            let part = self.of(part);
            whole = whole.saturating_add(part.whole);
            total = total.plus(part);
        }
        Cost {
            bytes: total
                .bytes
                .saturating_add(n_parts.saturating_mul(VALUE_BYTES)),
            children: max(total.children, n_parts),
            whole,
            ..total
        }
    }

    fn name(&self, name: &str) -> Cost {
        let known = self.names.iter().rev().find(|(known, _)| *known == name);
        match known {
            Some((_, cost)) => Cost {
                steps: 0,
                bytes: 0,
                ..*cost
            },
            None => Cost {
                children: self.sizes.children,
                text_bytes: self.sizes.text_bytes,
                whole: self.sizes.whole,
                ..Cost::default()
            },
        }
    }

    fn call(&mut self, call: &'e cel::common::ast::CallExpr) -> Cost {
        let target = call
            .target
            .as_deref()
            .map_or_else(Cost::default, |target| self.of(target));
        let parts: Vec<Cost> = call.args.iter().map(|arg| self.of(arg)).collect();
        let mut total = parts.iter().fold(target, |sum, part| sum.plus(*part));
        if call.func_name == operators::ADD {
            let add = |size: fn(&Cost) -> u64| {
                parts
                    .iter()
                    .fold(0, |sum: u64, part| sum.saturating_add(size(part)))
            };
            total.children = add(|part| part.children);
            total.text_bytes = add(|part| part.text_bytes);
            total.whole = add(|part| part.whole);
            // A loop that appends does so in place.
            let appends = matches!(call.args.as_slice(), [IdedExpr { expr: Expr::Ident(name), .. },
                IdedExpr { expr: Expr::List(_), .. }] if name.starts_with('@'));
            let made = if appends { VALUE_BYTES } else { total.whole };
            total.bytes = total.bytes.saturating_add(made);
            return total;
        }
        let least = |size: fn(&Cost) -> u64| parts.iter().map(size).min().unwrap_or(0);
        let looked_at = if super::equality::looks_inside(&call.func_name) {
            // Two that are equal are equally large, so the smaller one says how much there is.
            let inside = if least(|part| part.children) == 0 {
                0
            } else {
                self.sizes.values.saturating_mul(8)
            };
            inside.saturating_add(least(|part| part.text_bytes))
        } else if call.func_name == super::equality::IN {
            let inside = self.sizes.values.saturating_mul(8);
            inside.saturating_add(total.text_bytes)
        } else if looks_at_nothing(&call.func_name) {
            return total;
        } else {
            total.text_bytes
        };
        total.bytes = total.bytes.saturating_add(looked_at);
        total.text_bytes = max(total.text_bytes, SCALAR_TEXT_BYTES);
        total.whole = max(total.whole, SCALAR_TEXT_BYTES);
        total
    }

    fn comprehension(&mut self, expr: &'e IdedExpr) -> Cost {
        let Expr::Comprehension(inner) = &expr.expr else {
            return Cost::default();
        };
        let range = self.of(&inner.iter_range);
        let first = self.of(&inner.accu_init);
        let n_names = self.names.len();
        self.names.push((&inner.iter_var, range));
        if let Some(second) = &inner.iter_var2 {
            self.names.push((second, range));
        }
        // What a step adds to the outcome; the outcome itself grows by that, step by step.
        self.names.push((&inner.accu_var, Cost::default()));
        let step = self.of(&inner.loop_cond).plus(self.of(&inner.loop_step));
        self.names.pop();
        let n = range.children;
        let outcome = Cost {
            children: max(n, step.children),
            text_bytes: step.text_bytes,
            whole: step.whole.saturating_mul(n),
            ..Cost::default()
        };
        self.names.push((&inner.accu_var, outcome));
        let result = self.of(&inner.result);
        self.names.truncate(n_names);
        range
            .plus(first)
            .plus(step.times(n.saturating_add(1)))
            .plus(result)
            .plus(outcome)
    }
}

/// Tells whether a function hands on what it is given, or looks at truth values alone.
fn looks_at_nothing(function: &str) -> bool {
    matches!(
        function,
        operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE
            | operators::INDEX
            | operators::OPT_INDEX
            | operators::OPT_SELECT
    )
}

fn literal_bytes(literal: &LiteralValue) -> u64 {
    match literal {
        LiteralValue::String(text) => text.inner().len() as u64,
        LiteralValue::Bytes(bytes) => bytes.inner().len() as u64,
        LiteralValue::Boolean(_)
        | LiteralValue::Double(_)
        | LiteralValue::Int(_)
        | LiteralValue::Null
        | LiteralValue::UInt(_) => 0,
    }
}
