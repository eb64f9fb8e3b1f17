//! Stores on databases of their own.

use factum_store_postgres::{LeafPolicy, Options, PostgresStore, Setup};
use factum_testkit::postgres::Database;

/// The role that may append and nothing else.
pub(crate) const APPLICATION: &str = "factum_application";

/// Makes a database with an empty log, and returns how to open it as the application.
pub(crate) async fn database(leaves: LeafPolicy) -> (Database, Options) {
    let database = Database::create();
    let setup = Setup {
        application_role: Some(APPLICATION.to_owned()),
        leaves,
        ..Setup::default()
    };
    setup.run(&database.url()).await.unwrap();
    let options = Options::at(database.url_as(APPLICATION));
    (database, options)
}

pub(crate) async fn open(options: &Options) -> PostgresStore {
    PostgresStore::open(options.clone()).await.unwrap()
}
