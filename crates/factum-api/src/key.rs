//! The bodies of the administration: small objects, read with the same exact errors.

use bytes::Bytes;
use factum_model::{ErrorCode, Timestamp};

use crate::envelope::utf8;
use crate::fields::{Fields, Shape};
use crate::input::{InputError, InputFault, Path, excerpt};
use crate::schema::ScopeDto;

/// A key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeyInput {
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<ScopeDto>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

static KEY: Shape<3> = Shape {
    of: "a key",
    code: ErrorCode::InvalidRequest,
    names: ["name", "scopes", "expiresAt"],
};

static BACKUP: Shape<1> = Shape {
    of: "a backup",
    code: ErrorCode::InvalidRequest,
    names: ["path"],
};

/// There are three scopes; a list of more is a mistake.
const SCOPES_MAX: usize = 16;

/// Reads the body of a request for a key.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_new_key(body: &Bytes) -> Result<NewKeyInput, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &KEY, &path)?;
    let expires_at = fields.get("expiresAt").map(|field| field.timestamp());
    Ok(NewKeyInput {
        name: fields.require("name")?.string()?.into_owned(),
        scopes: fields.require("scopes")?.strings(SCOPES_MAX, scope)?,
        expires_at: expires_at.transpose()?,
    })
}

fn scope(name: &str) -> Result<ScopeDto, InputFault> {
    match name {
        "read" => Ok(ScopeDto::Read),
        "append" => Ok(ScopeDto::Append),
        "admin" => Ok(ScopeDto::Admin),
        other => Err(InputFault::Value {
            expected: "\"read\", \"append\" or \"admin\"",
            found: excerpt(other),
        }),
    }
}

/// Reads the query string of a request to revoke a key: whether the last one may be revoked.
///
/// # Errors
/// [`InputError`] with the name of the parameter.
pub fn parse_revoke_query(query: &str) -> Result<bool, InputError> {
    let mut force = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let fault = match (name.as_ref(), value.as_ref(), force) {
            ("force", _, Some(_)) => InputFault::DuplicateField { field: "force" },
            ("force", "true", None) => {
                force = Some(true);
                continue;
            }
            ("force", "false", None) => {
                force = Some(false);
                continue;
            }
            ("force", other, None) => InputFault::Value {
                expected: "\"true\" or \"false\"",
                found: excerpt(other),
            },
            (other, ..) => InputFault::UnknownField {
                field: excerpt(other),
                of: "the query string",
                nearest: Some("force"),
            },
        };
        return Err(InputError::of_parameter(&name, fault));
    }
    Ok(force.unwrap_or_default())
}

/// Reads the body of a request for a backup: where it goes.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_backup(body: &Bytes) -> Result<String, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &BACKUP, &path)?;
    let target = fields.require("path")?;
    let text = target.string()?;
    if text.is_empty() || text.contains('\0') {
        return Err(target.not("a path"));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_name_and_known_scopes() {
        let body = r#"{"name":"ci","scopes":["read","append"],"expiresAt":null}"#;
        let key = parse_new_key(&body.into()).unwrap();
        assert_eq!(
            (key.name.as_str(), key.scopes.len(), key.expires_at),
            ("ci", 2, None)
        );
        let check = |body: &'static str, message: &str| {
            assert_eq!(
                parse_new_key(&body.into()).unwrap_err().to_string(),
                message
            );
        };
        check(r#"{"name":"ci"}"#, "field \"scopes\" of a key is missing");
        check(
            r#"{"name":"ci","scopes":["write"]}"#,
            "write is not \"read\", \"append\" or \"admin\"",
        );
        check(
            r#"{"name":"ci","scope":["read"]}"#,
            "unknown field \"scope\" of a key, did you mean \"scopes\"?",
        );
    }
}
