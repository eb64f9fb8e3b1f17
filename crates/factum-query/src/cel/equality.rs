//! Comparisons that look inside lists and objects, whoever owns them.
//!
//! The library asks the left side whether it equals the right one, and its own lists know no
//! others. So `[1] == event.payload.list` would be false where the turned-round comparison is
//! true. Both go through the functions here.

use cel::common::types::{BOOL_TYPE, CelBool, DYN_TYPE, Kind, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};

use super::value::{JsonList, Pattern};

pub(super) const EQUALS: &str = "equals@factum";
pub(super) const NOT_EQUALS: &str = "not_equals@factum";
pub(super) const IN: &str = "in@factum";
pub(super) const MATCHES: &str = "matches@factum";

/// Adds the functions to a library. Names with an `@` cannot be written in an expression.
pub(super) fn declare(env: &mut Env) {
    let both = || vec![DYN_TYPE, DYN_TYPE];
    let added = [
        env.add_overload(EQUALS, "equals_dyn", both(), equals),
        env.add_overload(NOT_EQUALS, "not_equals_dyn", both(), not_equals),
        env.add_overload(IN, "in_dyn", both(), is_in),
        env.add_overload(
            MATCHES,
            "matches_pattern",
            vec![STRING_TYPE, DYN_TYPE],
            matches,
        ),
    ];
    debug_assert!(added.iter().all(Result::is_ok), "{added:?}");
    debug_assert_eq!(BOOL_TYPE.kind(), Kind::Boolean);
}

/// Tells whether a function may walk through everything that is inside its arguments, as far as
/// they are the same.
pub(super) fn looks_inside(function: &str) -> bool {
    matches!(function, EQUALS | NOT_EQUALS)
}

fn two<'a, 'b, 'v>(
    args: &'a [CowVal<'b, 'v>],
) -> Result<(&'a (dyn Val + 'v), &'a (dyn Val + 'v)), ExecutionError> {
    match args {
        [left, right] => Ok((left.as_ref(), right.as_ref())),
        _ => Err(ExecutionError::invalid_argument_count(2, args.len())),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the library says how a function of it looks"
)]
fn equals<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (left, right) = two(&args)?;
    Ok(CowVal::owned(CelBool::from(is_equal(left, right))))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the library says how a function of it looks"
)]
fn not_equals<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (left, right) = two(&args)?;
    Ok(CowVal::owned(CelBool::from(!is_equal(left, right))))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the library says how a function of it looks"
)]
fn is_in<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (value, container) = two(&args)?;
    let overload = || {
        let types = [value, container].map(|value| value.get_type().name().to_owned());
        ExecutionError::no_such_overload("@in", types.to_vec())
    };
    let found = if is_list(container) {
        let list = container.as_iterable().ok_or_else(overload)?;
        let mut elements = list.iter();
        let mut found = false;
        while let Some(element) = elements.next() {
            if is_equal(element, value) {
                found = true;
                break;
            }
        }
        found
    } else {
        let container = container.as_container().ok_or_else(overload)?;
        container.contains(value).map_err(|_| overload())?
    };
    Ok(CowVal::owned(CelBool::from(found)))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the library says how a function of it looks"
)]
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (text, pattern) = two(&args)?;
    let text: &str = text.try_into().map_err(|_| mismatch(text))?;
    let pattern = pattern
        .downcast_ref::<Pattern>()
        .ok_or_else(|| mismatch(pattern))?;
    Ok(CowVal::owned(CelBool::from(pattern.is_match(text))))
}

fn mismatch(value: &dyn Val) -> ExecutionError {
    ExecutionError::no_such_overload("matches", vec![value.get_type().name().to_owned()])
}

fn is_list(value: &dyn Val) -> bool {
    value.get_type().kind() == Kind::List
}

pub(super) fn is_equal(left: &dyn Val, right: &dyn Val) -> bool {
    match (left.get_type().kind(), right.get_type().kind()) {
        (Kind::List, Kind::List) => lists_are_equal(left, right).unwrap_or(false),
        (Kind::Map, Kind::Map) => maps_are_equal(left, right).unwrap_or(false),
        (Kind::List | Kind::Map, _) | (_, Kind::List | Kind::Map) => false,
        _ => left.equals(right),
    }
}

fn lists_are_equal(left: &dyn Val, right: &dyn Val) -> Option<bool> {
    if JsonList::length(left)? != JsonList::length(right)? {
        return Some(false);
    }
    let (mut left, mut right) = (left.as_iterable()?.iter(), right.as_iterable()?.iter());
    while let (Some(left), Some(right)) = (left.next(), right.next()) {
        if !is_equal(left, right) {
            return Some(false);
        }
    }
    Some(true)
}

fn maps_are_equal(left: &dyn Val, right: &dyn Val) -> Option<bool> {
    if JsonList::length(left)? != JsonList::length(right)? {
        return Some(false);
    }
    let (values, others) = (left.as_indexer()?, right.as_indexer()?);
    let mut keys = left.as_iterable()?.iter();
    while let Some(key) = keys.next() {
        let (Ok(value), Ok(other)) = (values.get(key), others.get(key)) else {
            return Some(false);
        };
        if !is_equal(value.as_ref(), other.as_ref()) {
            return Some(false);
        }
    }
    Some(true)
}
