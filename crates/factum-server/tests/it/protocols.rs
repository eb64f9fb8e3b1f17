//! HTTP/2 in the clear and over TLS, and TLS by certificate files.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use factum_engine::{Engine, EngineOptions};
use factum_security::ApiKeys;
use factum_server::{Server, ServerError, ServerOptions, TlsFiles};
use factum_store::MemoryStore;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Harness, event};
use crate::live_client::soon;

#[tokio::test]
async fn http_2_is_spoken_with_those_who_know_that_it_is() {
    let server = Harness::start().await;
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let send = |method: &str, path: &str, body: String| {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", server.url))
            .header("authorization", format!("Bearer {}", server.admin))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        client.request(request)
    };
    // Many at once on one connection.
    let appends = (0..100).map(|n| {
        let body = event("a.b", "a", &n.to_string(), "{}");
        send("POST", "/v1/events", body)
    });
    for answer in soon(join_all(appends)).await {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.version()),
            (201, Version::HTTP_2)
        );
    }
    let page = soon(send("GET", "/v1/events?types=a.b", String::new()))
        .await
        .unwrap();
    let body = page.into_body().collect().await.unwrap().to_bytes();
    let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(page["events"].as_array().unwrap().len(), 100);
    let wrong = soon(send("GET", "/v1/nothing", String::new()))
        .await
        .unwrap();
    assert_eq!(wrong.headers()["content-type"], "application/problem+json");
    // A stream without an end goes beside the others, and ends with the server.
    let path = "/v1/events/stream?start=beginning";
    let stream = soon(send("GET", path, String::new())).await.unwrap();
    let mut text = String::new();
    let mut body = stream.into_body();
    while !text.contains("event: caught_up") {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    // The engine's own event, and ours.
    assert_eq!(text.matches("event: event\n").count(), 101);
    drop(client);
    soon(server.stop()).await;
}

/// Writes a certificate for this machine, and returns where.
fn certificate(directory: &Path) -> (TlsFiles, CertificateDer<'static>) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let files = TlsFiles {
        certificate: directory.join("cert.pem"),
        key: directory.join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().clone())
}

/// Opens a connection that trusts one certificate and offers one protocol.
async fn connect(
    server: &Harness,
    trusted: &CertificateDer<'static>,
    protocol: Option<&str>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocol
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let address = server.url.strip_prefix("https://").unwrap();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[tokio::test]
async fn tls_speaks_the_protocol_that_was_agreed_on() {
    let directory = tempfile::tempdir().unwrap();
    let (files, trusted) = certificate(directory.path());
    let server = Harness::start_with(|options| options.tls = Some(files)).await;
    let request = |host: &str| {
        Request::get(format!("{host}/v1/events"))
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", server.admin))
            .body(Full::new(Bytes::new()))
            .unwrap()
    };
    let check = |answer: &Response<_>, version| {
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert!(answer.headers().contains_key("strict-transport-security"));
    };
    let mut connections = JoinSet::new();

    let stream = connect(&server, &trusted, Some("h2")).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    connections.spawn(connection);
    let request_2 = request("https://localhost");
    check(
        &soon(sender.send_request(request_2)).await.unwrap(),
        Version::HTTP_2,
    );

    let mut connections = JoinSet::new();
    for protocol in [Some("http/1.1"), None] {
        let stream = connect(&server, &trusted, protocol).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        connections.spawn(connection);
        check(
            &soon(sender.send_request(request(""))).await.unwrap(),
            Version::HTTP_11,
        );
    }
}

#[tokio::test]
async fn who_does_not_trust_the_certificate_does_not_get_in() {
    let directory = tempfile::tempdir().unwrap();
    let (_, other) = certificate(directory.path());
    let (files, trusted) = certificate(directory.path());
    let server = Harness::start_with(|options| options.tls = Some(files)).await;
    assert!(connect(&server, &other, None).await.is_err());
    assert!(connect(&server, &trusted, None).await.is_ok());
    // Plain HTTP on a port for TLS is no request, and does no harm.
    let address = server.url.strip_prefix("https://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The server may reset the connection.
    soon(stream.read_to_end(&mut answer))
        .await
        .unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP/"));
    assert!(connect(&server, &trusted, None).await.is_ok());
}

#[tokio::test]
async fn files_that_are_no_certificate_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let (files, _) = certificate(directory.path());
    let key_of_other = directory.path().join("other.pem");
    let other = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&key_of_other, other.serialize_pem()).unwrap();
    let missing = directory.path().join("missing.pem");
    let wrong = [
        TlsFiles {
            key: key_of_other,
            ..files.clone()
        },
        TlsFiles {
            key: missing.clone(),
            ..files.clone()
        },
        TlsFiles {
            certificate: missing,
            ..files.clone()
        },
        TlsFiles {
            certificate: files.key.clone(),
            ..files
        },
    ];
    for files in wrong {
        let engine = Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default());
        let keys = Arc::new(ApiKeys::open(engine.clone()).await.unwrap());
        let options = ServerOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: Some(files.clone()),
            ..ServerOptions::default()
        };
        let error = Server::bind(options, engine, keys).await.unwrap_err();
        let named = matches!(&error, ServerError::Tls { files: named, .. } if *named == files);
        assert!(named, "{error}");
    }
}
