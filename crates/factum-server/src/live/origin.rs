//! Which web pages may open a live connection.

use axum::http::{HeaderMap, header};

/// Tells whether the `Origin` of a request, where it has one, is the server's own host or one of
/// the allowed ones. Programs send none; a browser always does, and a page of another site must
/// not be able to use what the browser knows.
pub(crate) fn is_allowed(headers: &HeaderMap, authority: Option<&str>, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    if origins.next().is_some() {
        return false;
    }
    if allowed.iter().any(|known| same(known, origin)) {
        return true;
    }
    let Some((scheme, host)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    authority.is_some_and(|own| with_port(own, default_port) == with_port(host, default_port))
}

fn same(known: &str, origin: &str) -> bool {
    known.trim_end_matches('/').eq_ignore_ascii_case(origin)
}

fn with_port(authority: &str, default: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    // In an IPv6 literal only what follows the bracket is a port.
    let after_host = authority.rfind(']').map_or(0, |end| end + 1);
    let has_port = authority
        .get(after_host..)
        .is_some_and(|rest| rest.contains(':'));
    if has_port {
        authority
    } else {
        format!("{authority}:{default}")
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(expected: bool, origin: &str, authority: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        let allowed = ["https://console.example".to_owned()];
        assert_eq!(
            is_allowed(&headers, Some(authority), &allowed),
            expected,
            "{origin} {authority}"
        );
    }

    #[test]
    fn own_host_and_listed_origins_are_allowed() {
        check(true, "http://127.0.0.1:7070", "127.0.0.1:7070");
        check(true, "http://Factum.example", "factum.example:80");
        check(true, "https://factum.example", "factum.example");
        check(true, "http://[::1]:7070", "[::1]:7070");
        check(true, "http://[::1]", "[::1]:80");
        check(true, "https://CONSOLE.example", "factum.example");
    }

    #[test]
    fn other_origins_are_refused() {
        check(false, "http://evil.example", "factum.example");
        check(false, "http://127.0.0.1:7071", "127.0.0.1:7070");
        check(
            false,
            "http://factum.example.evil.example",
            "factum.example",
        );
        check(false, "http://console.example", "factum.example");
        check(false, "null", "factum.example");
        check(false, "file://factum.example", "factum.example");
    }

    #[test]
    fn programs_send_no_origin_and_nobody_sends_two() {
        let mut headers = HeaderMap::new();
        assert!(is_allowed(&headers, None, &[]));
        headers.append(header::ORIGIN, HeaderValue::from_static("http://a.example"));
        headers.append(header::ORIGIN, HeaderValue::from_static("http://b.example"));
        assert!(!is_allowed(&headers, Some("a.example"), &[]));
    }
}
