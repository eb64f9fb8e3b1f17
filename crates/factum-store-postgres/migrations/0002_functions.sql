-- All that changes the log. They run as the owner of the schema; who may call them may append,
-- and may do nothing else to what is recorded.

-- Makes leaves ahead of their use, until so many wait. Takes no lock that readers or writers
-- would notice.
CREATE FUNCTION {schema}.make_leaves(p_log int, p_ahead int) RETURNS int LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_made int := 0;
  v_leaf int;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended({schema_text} || '.leaves', 0));
  WHILE (SELECT count(*) FROM {schema}.leaves WHERE log_id = p_log AND first_position IS NULL) < least(p_ahead, 100) LOOP
    SELECT coalesce(max(leaf), 0) + 1 INTO v_leaf FROM {schema}.leaves;
    EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.events INCLUDING DEFAULTS)', 'events_' || v_leaf);
    EXECUTE format('ALTER TABLE {schema}.events ATTACH PARTITION {schema}.%I FOR VALUES IN (%s)', 'events_' || v_leaf, v_leaf);
    EXECUTE format('CREATE TRIGGER events_are_not_truncated BEFORE TRUNCATE ON {schema}.%I '
      'FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse()', 'events_' || v_leaf);
    INSERT INTO {schema}.leaves (leaf, log_id) VALUES (v_leaf, p_log);
    v_made := v_made + 1;
  END LOOP;
  RETURN v_made;
END $$;

-- Locks the head until the end of the transaction. For a decision that takes several steps;
-- the usual append needs no other lock than the one it takes itself.
CREATE FUNCTION {schema}.lock_head(p_log int, p_lock_ms int) RETURNS bigint LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_head bigint;
BEGIN
  PERFORM set_config('lock_timeout', p_lock_ms::text, true);
  SELECT head INTO STRICT v_head FROM {schema}.logs WHERE log_id = p_log FOR UPDATE;
  RETURN v_head;
END $$;

-- Appends events at the head, if everything is as the caller takes it to be. Otherwise nothing
-- is changed, and the outcome says what is not so:
--   0 appended; `o_head` is the head before, `o_versions` those of the streams before
--   1 a stream has another version
--   2 the head is elsewhere
--   3 an id is there that must not be
-- The events of a stream are numbered by the caller from 1 (`p_offsets`), from the version that
-- the stream turns out to have; a stream whose version does not matter has NULL.
CREATE FUNCTION {schema}.append(
  p_log int, p_now timestamptz, p_lock_ms int, p_head bigint, p_absent uuid[],
  p_stream_types text[], p_stream_ids text[], p_stream_versions bigint[], p_stream_counts bigint[],
  p_stream_firsts bigint[], p_stream_lasts bigint[],
  p_ids uuid[], p_streams int[], p_offsets bigint[], p_types text[], p_schema_versions bigint[],
  p_timestamps timestamptz[], p_causes uuid[], p_correlations text[], p_origins smallint[],
  p_searchable boolean[], p_metadata text[], p_payloads text[],
  OUT o_outcome int, OUT o_head bigint, OUT o_recorded_at timestamptz, OUT o_versions bigint[]
) LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  -- Rows are looked up one by one, by their keys, however few a table had when it was last looked at.
  SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
  SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
AS $$
DECLARE
  l {schema}.logs;
  v_starts bigint[];
  v_differs boolean;
  v_next int;
  v_rows bigint;
  v_day timestamp;
BEGIN
  -- Each statement must see what was committed before it, above all after the wait for the head.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'append needs the isolation level read committed' USING ERRCODE = 'FA001';
  END IF;
  -- What is acknowledged is on disk, whatever the default of this database is.
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  PERFORM set_config('lock_timeout', p_lock_ms::text, true);
  SELECT * INTO STRICT l FROM {schema}.logs WHERE log_id = p_log FOR UPDATE;
  o_head := l.head;
  o_recorded_at := greatest(l.recorded_at, p_now);
  IF l.head <> p_head THEN
    o_outcome := 2;
    RETURN;
  END IF;
  SELECT array_agg(coalesce(s.version, 0) ORDER BY u.n),
      array_agg(coalesce(s.first_position, l.head + u.first) ORDER BY u.n),
      coalesce(bool_or(coalesce(s.version, 0) <> u.version), false)
    INTO o_versions, v_starts, v_differs
    FROM unnest(p_stream_types, p_stream_ids, p_stream_versions, p_stream_firsts)
      WITH ORDINALITY AS u (type, id, version, first, n)
    LEFT JOIN LATERAL (SELECT * FROM {schema}.streams s
      WHERE s.log_id = p_log AND s.aggregate_id = u.id AND s.aggregate_type = u.type LIMIT 1) s ON true;
  IF v_differs THEN
    o_outcome := 1;
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM {schema}.event_ids WHERE event_id = ANY (p_absent) AND log_id = p_log) THEN
    o_outcome := 3;
    RETURN;
  END IF;
  IF l.leaf IS NULL OR o_recorded_at >= l.leaf_until OR l.head >= l.leaf_last_position THEN
    SELECT min(leaf) INTO v_next FROM {schema}.leaves WHERE log_id = p_log AND first_position IS NULL;
    -- Without a leaf that waits the open one goes on: that is no reason to refuse an append.
    IF v_next IS NOT NULL THEN
      UPDATE {schema}.leaves SET last_position = l.head, last_recorded_at = l.recorded_at WHERE leaf = l.leaf;
      UPDATE {schema}.leaves SET first_position = l.head + 1, first_recorded_at = o_recorded_at WHERE leaf = v_next;
      l.leaf := v_next;
      v_day := o_recorded_at AT TIME ZONE 'UTC';
      l.leaf_until := CASE l.leaf_policy
        WHEN 'monthly' THEN (date_trunc('month', v_day) + interval '1 month') AT TIME ZONE 'UTC'
        WHEN 'weekly' THEN (date_trunc('week', v_day) + interval '1 week') AT TIME ZONE 'UTC'
        WHEN 'daily' THEN (date_trunc('day', v_day) + interval '1 day') AT TIME ZONE 'UTC'
        END;
      l.leaf_last_position := CASE l.leaf_policy WHEN 'events' THEN l.head + l.leaf_events END;
    ELSIF l.leaf IS NULL THEN
      RAISE EXCEPTION 'log % has no leaf', p_log USING ERRCODE = 'FA002';
    END IF;
  END IF;
  INSERT INTO {schema}.event_ids (event_id, log_id, leaf, position)
    SELECT u.id, p_log, l.leaf, l.head + u.n FROM unnest(p_ids) WITH ORDINALITY AS u (id, n)
    ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_rows = ROW_COUNT;
  IF v_rows < cardinality(p_ids) THEN
    RAISE EXCEPTION 'an event id is taken' USING ERRCODE = 'FA003';
  END IF;
  INSERT INTO {schema}.streams AS s (log_id, aggregate_id, aggregate_type, version,
      first_position, last_position, first_timestamp, last_timestamp)
    SELECT p_log, u.id, u.type, u.count, l.head + u.first, l.head + u.last,
      coalesce(p_timestamps[u.first], o_recorded_at), coalesce(p_timestamps[u.last], o_recorded_at)
    FROM unnest(p_stream_types, p_stream_ids, p_stream_counts, p_stream_firsts, p_stream_lasts)
      AS u (type, id, count, first, last)
    WHERE u.count > 0
    ON CONFLICT (aggregate_id, aggregate_type, log_id) DO UPDATE SET version = s.version + excluded.version,
      last_position = excluded.last_position, last_timestamp = excluded.last_timestamp;
  INSERT INTO {schema}.events (position, stream, sequence, recorded_at, timestamp, schema_version,
      event_id, causation_id, log_id, leaf, origin, searchable, event_type, aggregate_type,
      aggregate_id, correlation_id, metadata, payload)
    SELECT l.head + u.n, v_starts[u.stream], o_versions[u.stream] + u.number, o_recorded_at,
      coalesce(u.timestamp, o_recorded_at), u.schema_version, u.id, u.cause, p_log, l.leaf, u.origin,
      u.searchable, u.type, p_stream_types[u.stream], p_stream_ids[u.stream], u.correlation,
      u.metadata, u.payload
    FROM unnest(p_ids, p_streams, p_offsets, p_types, p_schema_versions, p_timestamps, p_causes,
        p_correlations, p_origins, p_searchable, p_metadata, p_payloads)
      WITH ORDINALITY AS u (id, stream, number, type, schema_version, timestamp, cause,
        correlation, origin, searchable, metadata, payload, n);
  UPDATE {schema}.logs SET head = l.head + cardinality(p_ids), recorded_at = o_recorded_at,
    leaf = l.leaf, leaf_until = l.leaf_until, leaf_last_position = l.leaf_last_position
    WHERE log_id = p_log;
  o_outcome := 0;
END $$;
