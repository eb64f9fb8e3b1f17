//! Which server, and with which key.

use std::path::{Path, PathBuf};

use hyper::Uri;

use crate::cli::Context;
use crate::config::data_dir;
use crate::exit::Failure;
use crate::rundir::{self, Server};

/// How to speak to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Plain.
    Http,
    /// TLS; trusting the certificates of a file, or those of the system.
    Https(Option<PathBuf>),
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Plain or TLS.
    pub(crate) scheme: Scheme,
    /// Its name or address.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// What stands before every path, without a slash at the end.
    prefix: String,
}

impl Target {
    /// Reads a URL.
    pub(crate) fn parse(url: &str, cacert: Option<PathBuf>) -> Result<Self, Failure> {
        let invalid = || Failure::Usage {
            message: format!("{url:?} is not the URL of a server"),
            hint: "a URL looks like http://127.0.0.1:7766".to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let (scheme, port_default) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, 80),
            Some("https") => (Scheme::Https(cacert), 443),
            Some(_) | None => return Err(invalid()),
        };
        let host = uri.host().ok_or_else(invalid)?;
        Ok(Self {
            scheme,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(port_default),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the path of a request.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Returns host and port as they stand in a URL.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns the URL.
    pub(crate) fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https(_) => "https",
        };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }
}

/// Returns the server that flags, environment or the data directory name, and the key for it.
pub(crate) fn target(context: &Context) -> anyhow::Result<(Target, Option<String>)> {
    let globals = &context.globals;
    let environment = &context.environment;
    let data = data_dir(
        globals.config.as_deref(),
        environment,
        globals.data.as_deref(),
    )?;
    let given = globals
        .url
        .as_deref()
        .or_else(|| environment.get("FACTUM_URL"));
    let local = match rundir::server(&data) {
        Server::Running(file) => Some(file.url),
        Server::None | Server::Stale(_) => None,
    };
    let Some(url) = given.or(local.as_deref()) else {
        let data = data.display().to_string();
        return Err(Failure::NoServer { data }.into());
    };
    let cacert = globals
        .cacert
        .clone()
        .or_else(|| environment.get("FACTUM_CACERT").map(PathBuf::from));
    let target = Target::parse(url, cacert)?;
    let key = globals
        .key
        .as_deref()
        .or_else(|| environment.get("FACTUM_KEY"))
        .map(str::to_owned)
        .or_else(|| local_key(&data, &target, local.as_deref()));
    Ok((target, key))
}

/// Returns the admin key of the data directory, if the server is the one that runs on it: the key
/// of this machine must not go to whatever server a URL names.
pub(crate) fn local_key(data: &Path, target: &Target, local: Option<&str>) -> Option<String> {
    let local = Target::parse(local?, None).ok()?;
    let same = local.host == target.host && local.port == target.port;
    same.then(|| rundir::read_admin_key(data)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_host_port_and_prefix() {
        let check = |url: &str, authority: &str, path: &str| {
            let target = Target::parse(url, None).unwrap();
            assert_eq!(target.authority(), authority);
            assert_eq!(target.path("/v1/events"), path);
        };
        check("http://127.0.0.1:7766", "127.0.0.1:7766", "/v1/events");
        check(
            "https://events.example/",
            "events.example:443",
            "/v1/events",
        );
        check("http://[::1]:7/factum/", "[::1]:7", "/factum/v1/events");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in ["", "127.0.0.1:7766", "ftp://x", "http://", "/v1"] {
            assert!(Target::parse(url, None).is_err(), "{url}");
        }
    }

    #[test]
    fn the_local_key_goes_to_the_local_server_only() {
        let dir = tempfile::tempdir().unwrap();
        rundir::write_admin_key(dir.path(), "fct_secret").unwrap();
        let local = Some("http://127.0.0.1:7766");
        let key = |url: &str| {
            let target = Target::parse(url, None).unwrap();
            local_key(dir.path(), &target, local)
        };
        assert_eq!(key("http://127.0.0.1:7766/").as_deref(), Some("fct_secret"));
        assert_eq!(key("http://127.0.0.1:7767"), None);
        assert_eq!(key("https://events.example"), None);
    }
}
