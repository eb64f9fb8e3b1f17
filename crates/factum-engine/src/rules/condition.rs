//! Conditions as they stand in a definition, read with the place of each fault.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use factum_query::{
    Bound, CONDITION_DEPTH_MAX, CelExpression, Condition, CostlyParts, Decimal, Filter,
    JsonCondition, JsonQuery, JsonScalar, JsonTest, Predicate, Side, TypePattern,
};
use serde_json::value::RawValue;

use super::error::InvalidRule;
use super::registry::RuleLimits;
use crate::deliver::Place;

/// Reads conditions under limits. A list of conditions means all of them.
pub(super) fn read(
    text: &RawValue,
    pointer: &str,
    limits: &RuleLimits,
) -> Result<Condition, InvalidRule> {
    let reader = Reader {
        limits,
        costly: CostlyParts::new(limits.filter),
    };
    let mut n_predicates = 0;
    let condition = if text.get().starts_with('[') {
        reader
            .list(text, pointer, (1, &mut n_predicates))
            .map(Condition::All)?
    } else {
        reader.one(text, pointer, (1, &mut n_predicates))?
    };
    // The filter that narrows what is read has limits of its own.
    condition
        .to_filter()
        .check(limits.filter)
        .map_err(|error| InvalidRule::at(pointer, error.to_string()))?;
    Ok(condition)
}

struct Reader<'l> {
    limits: &'l RuleLimits,
    costly: CostlyParts,
}

type Fields<'t> = BTreeMap<Cow<'t, str>, &'t RawValue>;

impl Reader<'_> {
    fn one(
        &self,
        text: &RawValue,
        pointer: &str,
        (depth, n_predicates): (usize, &mut usize),
    ) -> Result<Condition, InvalidRule> {
        let fields: Fields<'_> = serde_json::from_str(text.get())
            .map_err(|_| InvalidRule::at(pointer, "must be an object").with_value(text.get()))?;
        let joins = ["all", "any", "not"];
        let Some(join) = joins.iter().find(|name| fields.contains_key(**name)) else {
            *n_predicates += 1;
            let limit = self.limits.predicates_max;
            if *n_predicates > limit {
                let rule = format!("more than {limit} predicates");
                return Err(InvalidRule::at(pointer, rule));
            }
            return self.predicate(&fields, pointer).map(Condition::Is);
        };
        if let Some(other) = fields.keys().find(|name| *name != join) {
            let rule = format!("cannot stand beside {join:?}");
            return Err(InvalidRule::at(&child(pointer, other), rule));
        }
        if depth >= CONDITION_DEPTH_MAX {
            let rule = format!("nested deeper than the limit of {CONDITION_DEPTH_MAX}");
            return Err(InvalidRule::at(pointer, rule));
        }
        let inner = fields.get(*join).copied().unwrap_or(RawValue::NULL);
        let pointer = child(pointer, join);
        let place = (depth + 1, n_predicates);
        match *join {
            "all" => self.list(inner, &pointer, place).map(Condition::All),
            "any" => self.list(inner, &pointer, place).map(Condition::Any),
            _ => {
                let inner = self.one(inner, &pointer, place)?;
                Ok(Condition::Not(Box::new(inner)))
            }
        }
    }

    fn list(
        &self,
        text: &RawValue,
        pointer: &str,
        (depth, n_predicates): (usize, &mut usize),
    ) -> Result<Vec<Condition>, InvalidRule> {
        let list: Vec<&RawValue> = serde_json::from_str(text.get()).map_err(|_| {
            InvalidRule::at(pointer, "must be a list of conditions").with_value(text.get())
        })?;
        let mut conditions = Vec::with_capacity(list.len());
        for (index, inner) in list.into_iter().enumerate() {
            let pointer = child(pointer, &index.to_string());
            conditions.push(self.one(inner, &pointer, (depth, n_predicates))?);
        }
        Ok(conditions)
    }

    fn predicate(&self, fields: &Fields<'_>, pointer: &str) -> Result<Predicate, InvalidRule> {
        let fields = Given { fields, pointer };
        let kind = fields.text("type")?;
        if kind == "custom" {
            fields.only(&["type", "expression"])?;
            return self.custom(&fields);
        }
        let operator = fields.text("operator")?;
        let filter = match &*kind {
            "eventType" => {
                fields.only(&["type", "operator", "value"])?;
                let names = fields.names::<TypePattern>(&operator, true)?;
                let event_types = names;
                negated(
                    operator == "notIn",
                    Filter {
                        event_types,
                        ..Filter::default()
                    },
                )
            }
            "aggregateType" => {
                fields.only(&["type", "operator", "value"])?;
                let aggregate_types = fields.names(&operator, false)?;
                negated(
                    operator == "notIn",
                    Filter {
                        aggregate_types,
                        ..Filter::default()
                    },
                )
            }
            "payload" | "metadata" => {
                fields.only(&["type", "operator", "field", "value"])?;
                let path = fields.text("field")?;
                self.member(&fields, (&kind, &path), &operator)?
            }
            "routingKey" => {
                fields.only(&["type", "operator", "value"])?;
                self.member(&fields, ("metadata", "$.routingKey"), &operator)?
            }
            other => {
                let rule =
                    "must be eventType, aggregateType, metadata, payload, routingKey or custom";
                return Err(InvalidRule::at(&child(pointer, "type"), rule).with_value(other));
            }
        };
        Ok(Predicate::Filter(Box::new(filter)))
    }

    fn custom(&self, fields: &Given<'_, '_>) -> Result<Predicate, InvalidRule> {
        let text = fields.text("expression")?;
        let compiled = CelExpression::compile(&text, &self.limits.cel);
        compiled.map(Predicate::Cel).map_err(|error| {
            let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let place = Place {
                line: number(error.line),
                column: Some(number(error.column)),
            };
            let pointer = child(fields.pointer, "expression");
            InvalidRule {
                place: Some(place),
                ..InvalidRule::at(&pointer, error.rule).with_value(&error.text)
            }
        })
    }

    fn member(
        &self,
        fields: &Given<'_, '_>,
        (document, path): (&str, &str),
        operator: &str,
    ) -> Result<Filter, InvalidRule> {
        let at = |name: &str| child(fields.pointer, name);
        let parsed = self.costly.path(path);
        let path = parsed
            .map_err(|error| InvalidRule::at(&at("field"), error.to_string()).with_value(path))?;
        let scalar = || scalar(fields.raw("value")?, &at("value"));
        let scalars = || -> Result<Vec<JsonScalar>, InvalidRule> {
            let list = fields.list("value")?;
            let read = |(index, raw): (usize, &RawValue)| {
                scalar_at(raw, &child(&at("value"), &index.to_string()))
            };
            list.into_iter().enumerate().map(read).collect()
        };
        let bound = || match scalar()? {
            JsonScalar::Number(number) => Ok(Bound::Number(number)),
            JsonScalar::String(text) => Ok(Bound::String(text)),
            JsonScalar::Null | JsonScalar::Bool(_) => {
                Err(InvalidRule::at(&at("value"), "must be a number or a text"))
            }
        };
        let test = match operator {
            "exists" => JsonTest::Exists,
            "equals" => JsonTest::Equals(scalar()?),
            "notEquals" => JsonTest::NotEquals(scalar()?),
            "contains" => JsonTest::Contains(scalar()?),
            "in" | "notIn" => JsonTest::In(scalars()?),
            "regex" => {
                let text = fields.text("value")?;
                let regex = self.costly.regex(&text);
                JsonTest::Regex(regex.map_err(|error| {
                    InvalidRule::at(&at("value"), error.to_string()).with_value(&text)
                })?)
            }
            "gt" => JsonTest::Range(Side::Greater, bound()?),
            "gte" => JsonTest::Range(Side::GreaterOrEqual, bound()?),
            "lt" => JsonTest::Range(Side::Less, bound()?),
            "lte" => JsonTest::Range(Side::LessOrEqual, bound()?),
            other => {
                let rule = "must be exists, equals, notEquals, contains, in, notIn, regex, gt, gte, lt or lte";
                return Err(InvalidRule::at(&at("operator"), rule).with_value(other));
            }
        };
        if operator == "exists" && fields.fields.contains_key("value") {
            return Err(InvalidRule::at(&at("value"), "cannot stand beside exists"));
        }
        let query = Some(JsonQuery::Leaf(JsonCondition { path, test }));
        let filter = match document {
            "payload" => Filter {
                payload: query,
                ..Filter::default()
            },
            _ => Filter {
                metadata: query,
                ..Filter::default()
            },
        };
        Ok(negated(operator == "notIn", filter))
    }
}

fn negated(is_negated: bool, filter: Filter) -> Filter {
    if is_negated {
        return Filter {
            not: vec![filter],
            ..Filter::default()
        };
    }
    filter
}

/// The fields of a predicate.
struct Given<'f, 't> {
    fields: &'f Fields<'t>,
    pointer: &'f str,
}

impl<'t> Given<'_, 't> {
    fn only(&self, names: &[&str]) -> Result<(), InvalidRule> {
        let mut given = self.fields.keys();
        let Some(other) = given.find(|name| !names.contains(&&***name)) else {
            return Ok(());
        };
        let rule = format!(
            "is not a field of this condition; it has {}",
            names.join(", ")
        );
        Err(InvalidRule::at(&child(self.pointer, other), rule))
    }

    fn raw(&self, name: &str) -> Result<&'t RawValue, InvalidRule> {
        let raw = self.fields.get(name).copied();
        raw.ok_or_else(|| InvalidRule::at(&child(self.pointer, name), "is missing"))
    }

    fn text(&self, name: &str) -> Result<Cow<'t, str>, InvalidRule> {
        let raw = self.raw(name)?;
        string(raw).ok_or_else(|| {
            InvalidRule::at(&child(self.pointer, name), "must be a text").with_value(raw.get())
        })
    }

    fn list(&self, name: &str) -> Result<Vec<&'t RawValue>, InvalidRule> {
        let raw = self.raw(name)?;
        serde_json::from_str(raw.get()).map_err(|_| {
            InvalidRule::at(&child(self.pointer, name), "must be a list").with_value(raw.get())
        })
    }

    /// Reads the names that an operator compares with.
    fn names<T: FromStr<Err: std::fmt::Display>>(
        &self,
        operator: &str,
        patterns: bool,
    ) -> Result<Vec<T>, InvalidRule> {
        let pointer = child(self.pointer, "value");
        let name = |text: &str, pointer: &str| {
            let is_pattern = text.split('.').any(|part| matches!(part, "*" | ">"));
            if operator != "matches" && patterns && is_pattern {
                let rule = "is a pattern; patterns stand with the operator matches";
                return Err(InvalidRule::at(pointer, rule).with_value(text));
            }
            let parsed = text.parse::<T>();
            parsed.map_err(|error| InvalidRule::at(pointer, error.to_string()).with_value(text))
        };
        match operator {
            "equals" => Ok(vec![name(&self.text("value")?, &pointer)?]),
            "matches" if patterns => Ok(vec![name(&self.text("value")?, &pointer)?]),
            "in" | "notIn" => {
                let list = self.list("value")?;
                if list.is_empty() {
                    return Err(InvalidRule::at(&pointer, "must have at least one name"));
                }
                let read = |(index, raw): (usize, &RawValue)| {
                    let pointer = child(&pointer, &index.to_string());
                    let text =
                        string(raw).ok_or_else(|| InvalidRule::at(&pointer, "must be a text"))?;
                    name(&text, &pointer)
                };
                list.into_iter().enumerate().map(read).collect()
            }
            other => {
                let rule = if patterns {
                    "must be equals, matches, in or notIn"
                } else {
                    "must be equals, in or notIn"
                };
                let pointer = child(self.pointer, "operator");
                Err(InvalidRule::at(&pointer, rule).with_value(other))
            }
        }
    }
}

fn scalar(raw: &RawValue, pointer: &str) -> Result<JsonScalar, InvalidRule> {
    scalar_at(raw, pointer)
}

/// Numbers are read from their text, so they stay exact.
fn scalar_at(raw: &RawValue, pointer: &str) -> Result<JsonScalar, InvalidRule> {
    let text = raw.get();
    let value = match text {
        "null" => Some(JsonScalar::Null),
        "true" => Some(JsonScalar::Bool(true)),
        "false" => Some(JsonScalar::Bool(false)),
        _ if text.starts_with('"') => string(raw).map(|text| JsonScalar::from(&*text)),
        _ => text.parse::<Decimal>().ok().map(JsonScalar::Number),
    };
    value.ok_or_else(|| {
        InvalidRule::at(pointer, "must be a text, a number, true, false or null").with_value(text)
    })
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    text.starts_with('"').then_some(())?;
    serde_json::from_str::<String>(text).ok().map(Cow::Owned)
}

/// Returns the JSON pointer of what is under a name.
pub(super) fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}
