//! TLS between a node and PostgreSQL.

use std::sync::Arc;

use factum_store::EventStore;
use factum_store::conformance::fixtures::{append, event, everything};
use factum_store_postgres::{Options, PostgresStore, Setup};
use factum_testkit::postgres::PrivateServer;

use crate::opened;

/// A node speaks TLS with the server that the certificate names, and with no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_that_is_trusted_is_spoken_to() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let (_server, port) = PrivateServer::start_with_tls(&certificate, &key);
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, &certificate).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let others = directory.path().join("others.pem");
    std::fs::write(&others, other.cert.pem()).unwrap();
    let url = |host: &str, roots: &std::path::Path| {
        let roots = roots.display();
        format!("postgresql://postgres@{host}:{port}/postgres?sslmode=require&sslrootcert={roots}")
    };
    let trusted = url("localhost", &roots);
    Setup::default().run(&trusted).await.unwrap();
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&Options::at(&trusted)).await);
    append(&store, vec![event("a", "form/f-1")]).await;
    assert_eq!(everything(&store).await.len(), 1);
    for wrong in [url("127.0.0.1", &roots), url("localhost", &others)] {
        let refused = PostgresStore::open(Options::at(&wrong)).await;
        let error = format!("{:?}", refused.unwrap_err());
        assert!(
            error.contains("Tls") || error.contains("ertificate"),
            "{error}"
        );
    }
}
