//! Conditions on payload and metadata, and texts to search for, as they stand in bodies.

use factum_model::ErrorCode;
use factum_query::{
    Bound, CostlyParts, Decimal, FilterLimits, InvalidFilter, JsonCondition, JsonQuery, JsonScalar,
    JsonTest, Side, TextQuery,
};

use crate::fields::{Field, Fields, Shape, decode};
use crate::input::{InputError, InputFault, Path, excerpt};

static QUERY: Shape<6> = Shape {
    of: "a query of payload or metadata",
    code: ErrorCode::InvalidFilter,
    names: ["path", "operator", "value", "and", "or", "not"],
};

static TEXT: Shape<2> = Shape {
    of: "a text to search for",
    code: ErrorCode::InvalidFilter,
    names: ["words", "phrase"],
};

/// Where a reader stands: how deep, and what it has to keep to.
#[derive(Clone, Copy)]
pub(crate) struct Level<'l> {
    pub(crate) limits: &'l FilterLimits,
    costly: &'l CostlyParts,
    depth: usize,
}

impl<'l> Level<'l> {
    /// The outermost level of a filter.
    pub(crate) const fn outermost(limits: &'l FilterLimits, costly: &'l CostlyParts) -> Self {
        Self {
            limits,
            costly,
            depth: 0,
        }
    }

    /// Goes one level deeper.
    pub(crate) fn inner(self, path: &Path<'_>) -> Result<Self, InputError> {
        let depth = self.depth + 1;
        let limit = self.limits.depth_max;
        if depth > limit {
            let fault = InvalidFilter::Depth { limit };
            return Err(path.error(ErrorCode::InvalidFilter, fault.into()));
        }
        Ok(Self { depth, ..self })
    }
}

/// Reads a query: one condition, or some that all hold.
pub(crate) fn json_query(field: Field<'_, '_>, level: Level<'_>) -> Result<JsonQuery, InputError> {
    let path = field.parent.key(field.name);
    if !field.text.starts_with('[') {
        return one(field.text, &path, level);
    }
    let mut all = several(field, level)?;
    Ok(match all.pop() {
        Some(only) if all.is_empty() => only,
        last => {
            level.inner(&path)?;
            all.extend(last);
            JsonQuery::And(all)
        }
    })
}

fn several(field: Field<'_, '_>, level: Level<'_>) -> Result<Vec<JsonQuery>, InputError> {
    let path = field.parent.key(field.name);
    let list = field.list(level.limits.values_max)?.into_iter();
    list.enumerate()
        .map(|(index, text)| one(text, &path.index(index), level))
        .collect()
}

fn one(text: &str, path: &Path<'_>, level: Level<'_>) -> Result<JsonQuery, InputError> {
    let fields = Fields::read(text, &QUERY, path)?;
    let joins = ["and", "or", "not"].into_iter();
    let mut joins = joins.filter_map(|name| fields.given(name));
    let Some(join) = joins.next() else {
        return condition(&fields, level).map(JsonQuery::Leaf);
    };
    let rest = ["path", "operator", "value"].into_iter();
    let others = joins.chain(rest.filter_map(|name| fields.given(name)));
    if let Some(other) = { others }.next() {
        return Err(other.error(InputFault::Value {
            expected: "allowed beside \"and\", \"or\" or \"not\"",
            found: excerpt(other.name),
        }));
    }
    let level = level.inner(path)?;
    match join.name {
        "and" => several(join, level).map(JsonQuery::And),
        "or" => several(join, level).map(JsonQuery::Or),
        _ => {
            let inner = one(join.text, &path.key(join.name), level)?;
            Ok(JsonQuery::Not(Box::new(inner)))
        }
    }
}

fn condition(fields: &Fields<'_, '_, 6>, level: Level<'_>) -> Result<JsonCondition, InputError> {
    let path = fields.require("path")?;
    let path = path.parse(|text| level.costly.path(text))?;
    let operator = fields.require("operator")?;
    let name = operator.string()?;
    let value = |read: fn(Field<'_, '_>) -> Result<JsonScalar, InputError>| {
        // `null` is a value to compare with, not the absence of one.
        fields
            .given("value")
            .map_or_else(|| Err(fields.missing("value")), read)
    };
    let test = match &*name {
        "equals" => JsonTest::Equals(value(scalar)?),
        "notEquals" => JsonTest::NotEquals(value(scalar)?),
        "contains" => JsonTest::Contains(value(scalar)?),
        "in" => JsonTest::In(scalars(fields, level.limits)?),
        "exists" => {
            if let Some(given) = fields.get("value").filter(|given| given.text != "true") {
                return Err(given.not("true; with \"exists\" the value may be left out"));
            }
            JsonTest::Exists
        }
        "regex" => {
            let value = fields.require("value")?;
            JsonTest::Regex(value.parse(|text| level.costly.regex(text))?)
        }
        "gt" => JsonTest::Range(Side::Greater, bound(fields)?),
        "gte" => JsonTest::Range(Side::GreaterOrEqual, bound(fields)?),
        "lt" => JsonTest::Range(Side::Less, bound(fields)?),
        "lte" => JsonTest::Range(Side::LessOrEqual, bound(fields)?),
        other => {
            return Err(operator.error(InputFault::Value {
                expected: "an operator: equals, notEquals, in, contains, exists, regex, gt, gte, lt or lte",
                found: excerpt(other),
            }));
        }
    };
    Ok(JsonCondition { path, test })
}

fn scalar(field: Field<'_, '_>) -> Result<JsonScalar, InputError> {
    read_scalar(field.text).ok_or_else(|| field.not("a text, a number, true, false or null"))
}

fn read_scalar(text: &str) -> Option<JsonScalar> {
    Some(match text {
        "null" => JsonScalar::Null,
        "true" => JsonScalar::Bool(true),
        "false" => JsonScalar::Bool(false),
        quoted if quoted.starts_with('"') => JsonScalar::String(decode(quoted)?.into()),
        number => JsonScalar::Number(number.parse::<Decimal>().ok()?),
    })
}

fn scalars(
    fields: &Fields<'_, '_, 6>,
    limits: &FilterLimits,
) -> Result<Vec<JsonScalar>, InputError> {
    let field = fields.require("value")?;
    let path = field.parent.key(field.name);
    let element = |(index, text): (usize, &str)| {
        read_scalar(text).ok_or_else(|| {
            let (expected, found) = ("a text, a number, true, false or null", excerpt(text));
            let fault = InputFault::Value { expected, found };
            path.index(index).error(field.code, fault)
        })
    };
    let list = field.list(limits.values_max)?.into_iter();
    list.enumerate().map(element).collect()
}

fn bound(fields: &Fields<'_, '_, 6>) -> Result<Bound, InputError> {
    let field = fields.require("value")?;
    match read_scalar(field.text) {
        Some(JsonScalar::Number(number)) => Ok(Bound::Number(number)),
        Some(JsonScalar::String(text)) => Ok(Bound::String(text)),
        Some(JsonScalar::Null | JsonScalar::Bool(_)) | None => Err(field.not("a number or a text")),
    }
}

/// Reads what to search for: words with phrases in quotes, or one of both by name.
pub(crate) fn text_query(field: Field<'_, '_>) -> Result<TextQuery, InputError> {
    if field.text.starts_with('"') {
        return field.parse(TextQuery::parse);
    }
    let path = field.parent.key(field.name);
    let fields = Fields::read(field.text, &TEXT, &path)?;
    let words = fields
        .get("words")
        .map(|field| field.parse(TextQuery::words));
    let phrase = fields
        .get("phrase")
        .map(|field| field.parse(TextQuery::phrase));
    match (words.transpose()?, phrase.transpose()?) {
        (Some(words), Some(phrase)) => Ok(words.and(phrase)),
        (Some(query), None) | (None, Some(query)) => Ok(query),
        (None, None) => Err(fields.missing("words")),
    }
}
