-- Instants are microseconds since 1970, in UTC. Texts are compared by their bytes.

CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- The last version or epoch that was given.
    counter INTEGER NOT NULL
) STRICT;
INSERT INTO meta (id, counter) VALUES (1, 0);

CREATE TABLE record (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    due_at INTEGER,
    grp TEXT,
    -- The last claim since the record was written, also when its time is up.
    claim_owner TEXT,
    claim_until INTEGER,
    n_claims INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, key),
    CHECK ((claim_owner IS NULL) = (claim_until IS NULL))
) STRICT;
CREATE INDEX record_by_due ON record (kind, due_at, key) WHERE due_at IS NOT NULL;
CREATE INDEX record_by_group ON record (kind, grp, key, due_at) WHERE grp IS NOT NULL;
CREATE INDEX record_by_claim ON record (kind, claim_until, grp) WHERE claim_until IS NOT NULL;

CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_by_expiry ON lease (expires_at);
