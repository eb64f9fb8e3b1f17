-- The log: its head, its streams, its events in leaves, and the ids of all events.
-- Names are compared byte by byte, so every text that is a name has the collation "C".

CREATE TABLE {schema}.logs (
  log_id int PRIMARY KEY,
  store_id uuid NOT NULL,
  lineage bigint NOT NULL,
  head bigint NOT NULL DEFAULT 0,
  -- When the event at the head was recorded.
  recorded_at timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00+00',
  -- The leaf that takes events, and where it ends: in time, exclusive, and in positions, inclusive.
  leaf int,
  leaf_until timestamptz,
  leaf_last_position bigint,
  leaf_policy text NOT NULL CHECK (leaf_policy IN ('monthly', 'weekly', 'daily', 'events')),
  leaf_events bigint NOT NULL CHECK (leaf_events > 0)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- Histories that a log goes back to, oldest first, each with its last position that is part of
-- the next one; zero where nothing of it is.
CREATE TABLE {schema}.lineages (
  log_id int NOT NULL REFERENCES {schema}.logs,
  number int NOT NULL,
  lineage bigint NOT NULL,
  last_position bigint NOT NULL,
  PRIMARY KEY (log_id, number)
);

-- Parts of the events table. A leaf is made before it is needed, opened by the append that
-- writes its first event, and closed by the one that opens the next.
CREATE TABLE {schema}.leaves (
  leaf int PRIMARY KEY,
  log_id int NOT NULL REFERENCES {schema}.logs,
  first_position bigint,
  last_position bigint,
  first_recorded_at timestamptz,
  last_recorded_at timestamptz
);

CREATE TABLE {schema}.streams (
  log_id int NOT NULL,
  aggregate_id text COLLATE "C" NOT NULL,
  aggregate_type text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  first_position bigint NOT NULL,
  last_position bigint NOT NULL,
  first_timestamp timestamptz NOT NULL,
  last_timestamp timestamptz NOT NULL,
  PRIMARY KEY (aggregate_id, aggregate_type, log_id)
) WITH (fillfactor = 80);

CREATE TABLE {schema}.events (
  position bigint NOT NULL,
  -- The position of the first event of the stream, which names the stream.
  stream bigint NOT NULL,
  sequence bigint NOT NULL,
  recorded_at timestamptz NOT NULL,
  timestamp timestamptz NOT NULL,
  schema_version bigint NOT NULL,
  event_id uuid NOT NULL,
  causation_id uuid,
  log_id int NOT NULL,
  leaf int NOT NULL,
  -- 1: the timestamp was assigned; 2: the correlation id was inherited.
  origin smallint NOT NULL,
  -- PostgreSQL can read both documents as jsonb.
  searchable boolean NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  aggregate_type text COLLATE "C" NOT NULL,
  aggregate_id text COLLATE "C" NOT NULL,
  correlation_id text COLLATE "C",
  -- As they came, byte for byte.
  metadata text COLLATE "C" NOT NULL,
  payload text COLLATE "C" NOT NULL,
  CONSTRAINT events_position PRIMARY KEY (position, leaf, log_id),
  CONSTRAINT events_sequence UNIQUE (stream, sequence, leaf, log_id)
) PARTITION BY LIST (leaf);

CREATE INDEX events_type ON {schema}.events (event_type, position);
CREATE INDEX events_correlation ON {schema}.events (correlation_id, position) WHERE correlation_id IS NOT NULL;
CREATE INDEX events_causation ON {schema}.events (causation_id, position) WHERE causation_id IS NOT NULL;
CREATE INDEX events_times ON {schema}.events USING brin (timestamp, recorded_at);
CREATE INDEX events_unsearchable ON {schema}.events (position) WHERE NOT searchable;
CREATE INDEX events_metadata ON {schema}.events
  USING gin ((CASE WHEN searchable THEN metadata::jsonb END) jsonb_path_ops);
CREATE INDEX events_payload ON {schema}.events
  USING gin ((CASE WHEN searchable THEN payload::jsonb END) jsonb_path_ops);

-- An id stands once in a log, in whatever leaf: no key of a partitioned table can say that.
CREATE TABLE {schema}.event_ids (
  event_id uuid NOT NULL,
  log_id int NOT NULL,
  leaf int NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (event_id, log_id)
);

-- Whoever connects, the owner included: what is recorded stays.
CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'events are append-only: % of %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE ON {schema}.events
  FOR EACH ROW EXECUTE FUNCTION {schema}.refuse();
CREATE TRIGGER events_are_not_truncated BEFORE TRUNCATE ON {schema}.events
  FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse();
CREATE TRIGGER event_ids_stay BEFORE UPDATE OR DELETE ON {schema}.event_ids
  FOR EACH ROW EXECUTE FUNCTION {schema}.refuse();
CREATE TRIGGER event_ids_are_not_truncated BEFORE TRUNCATE ON {schema}.event_ids
  FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse();
CREATE TRIGGER streams_stay BEFORE DELETE ON {schema}.streams
  FOR EACH ROW EXECUTE FUNCTION {schema}.refuse();
CREATE TRIGGER streams_are_not_truncated BEFORE TRUNCATE ON {schema}.streams
  FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse();
CREATE TRIGGER logs_stay BEFORE DELETE ON {schema}.logs
  FOR EACH ROW EXECUTE FUNCTION {schema}.refuse();
CREATE TRIGGER logs_are_not_truncated BEFORE TRUNCATE ON {schema}.logs
  FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse();
