-- The bookkeeping beside the log: records that are also queues, and leases. Every instant that is
-- compared is read from the clock of this server, after the locks are held; `p_now` is for tests.

-- Versions of records and epochs of leases. None is given twice; that some are left out is right.
CREATE SEQUENCE {schema}.state_numbers;

CREATE TABLE {schema}.state_records (
  log_id int NOT NULL,
  kind text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  written_at timestamptz NOT NULL,
  due_at timestamptz,
  grp text COLLATE "C",
  -- The last claim since the record was written, also when its time is up.
  claim_owner text COLLATE "C",
  claim_until timestamptz,
  n_claims int NOT NULL DEFAULT 0,
  body bytea NOT NULL,
  PRIMARY KEY (log_id, kind, key),
  CHECK ((claim_owner IS NULL) = (claim_until IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX state_records_due ON {schema}.state_records (log_id, kind, due_at, key) WHERE due_at IS NOT NULL;
CREATE INDEX state_records_group ON {schema}.state_records (log_id, kind, grp, key) WHERE grp IS NOT NULL;
CREATE INDEX state_records_claim ON {schema}.state_records (log_id, kind, claim_until) WHERE claim_until IS NOT NULL;

CREATE TABLE {schema}.state_leases (
  log_id int NOT NULL,
  name text COLLATE "C" NOT NULL,
  owner text COLLATE "C" NOT NULL,
  epoch bigint NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (log_id, name)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX state_leases_expiry ON {schema}.state_leases (expires_at);

-- Returns the instant a while after another one, at the latest the last that can be written;
-- without a while, none.
CREATE FUNCTION {schema}.state_later(p_at timestamptz, p_micros bigint) RETURNS timestamptz
  LANGUAGE sql IMMUTABLE STRICT
AS $$
  SELECT least(p_at + p_micros * interval '1 microsecond', timestamptz '9999-12-31 23:59:59.999999+00')
$$;

-- What every change begins with: it sees what others commit while it waits for their locks, and
-- is on disk when it is answered.
CREATE FUNCTION {schema}.state_begin(p_lock_ms int) RETURNS void LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'bookkeeping needs the isolation level read committed' USING ERRCODE = 'FA001';
  END IF;
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  PERFORM set_config('lock_timeout', p_lock_ms::text, true);
END $$;

-- Makes changes, all or none:
--   0 made
--   1 the lease of the fence `o_index` is not held
--   2 the precondition of the change `o_index` is not met; `o_actual` is the version, if any
-- Preconditions: 0 any, 1 absent, 2 the version. Actions: 0 put, 1 delete, 2 extend, 3 check.
CREATE FUNCTION {schema}.state_apply(
  p_log int, p_now timestamptz, p_lock_ms int, p_fence_names text[], p_fence_epochs bigint[],
  p_kinds text[], p_keys text[], p_preconditions smallint[], p_versions bigint[],
  p_actions smallint[], p_dues timestamptz[], p_delays bigint[], p_groups text[], p_bodies bytea[],
  OUT o_outcome int, OUT o_index int, OUT o_actual bigint, OUT o_version bigint, OUT o_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
  v_rows bigint;
BEGIN
  PERFORM {schema}.state_begin(p_lock_ms);
  -- Who extends a claim must not meet somebody who just finds that its time is up.
  PERFORM pg_advisory_xact_lock_shared(hashtextextended({schema_text} || '.state.' || p_log || '.' || k.kind, 0))
    FROM (SELECT DISTINCT u.kind FROM unnest(p_kinds, p_actions) AS u (kind, action)
      WHERE u.action = 2 ORDER BY 1) k;
  PERFORM FROM {schema}.state_leases l JOIN unnest(p_fence_names) AS u (name) ON l.name = u.name
    WHERE l.log_id = p_log ORDER BY l.name FOR SHARE OF l;
  PERFORM FROM unnest(p_kinds, p_keys) AS u (kind, key)
    JOIN {schema}.state_records r ON r.log_id = p_log AND r.kind = u.kind AND r.key = u.key
    ORDER BY r.kind, r.key FOR UPDATE OF r;
  o_at := coalesce(p_now, clock_timestamp());
  SELECT u.n INTO o_index FROM unnest(p_fence_names, p_fence_epochs) WITH ORDINALITY AS u (name, epoch, n)
    WHERE NOT EXISTS (SELECT FROM {schema}.state_leases l
      WHERE l.log_id = p_log AND l.name = u.name AND l.epoch = u.epoch AND l.expires_at > o_at)
    ORDER BY u.n LIMIT 1;
  IF FOUND THEN
    o_outcome := 1;
    RETURN;
  END IF;
  SELECT u.n, r.version INTO o_index, o_actual
    FROM unnest(p_kinds, p_keys, p_preconditions, p_versions, p_actions)
      WITH ORDINALITY AS u (kind, key, precondition, version, action, n)
    LEFT JOIN {schema}.state_records r ON r.log_id = p_log AND r.kind = u.kind AND r.key = u.key
    WHERE u.precondition = 1 AND r.version IS NOT NULL
      OR u.precondition = 2 AND r.version IS DISTINCT FROM u.version
      OR u.action = 2 AND (r.claim_until > o_at) IS NOT TRUE
    ORDER BY u.n LIMIT 1;
  IF FOUND THEN
    o_outcome := 2;
    RETURN;
  END IF;
  o_outcome := 0;
  o_version := nextval('{schema}.state_numbers');
  INSERT INTO {schema}.state_records (log_id, kind, key, version, written_at, due_at, grp, body)
    SELECT p_log, u.kind, u.key, o_version, o_at, coalesce(u.due, {schema}.state_later(o_at, u.delay)), u.grp, u.body
    FROM unnest(p_kinds, p_keys, p_preconditions, p_actions, p_dues, p_delays, p_groups, p_bodies)
      AS u (kind, key, precondition, action, due, delay, grp, body)
    WHERE u.action = 0 AND u.precondition = 1 ORDER BY u.kind, u.key
    ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_rows = ROW_COUNT;
  IF v_rows < (SELECT count(*) FROM unnest(p_preconditions, p_actions) AS u (precondition, action)
      WHERE u.action = 0 AND u.precondition = 1) THEN
    -- Somebody has made it since it was looked for: the caller looks again.
    RAISE EXCEPTION 'a record is there by now' USING ERRCODE = '40001';
  END IF;
  INSERT INTO {schema}.state_records (log_id, kind, key, version, written_at, due_at, grp, body)
    SELECT p_log, u.kind, u.key, o_version, o_at, coalesce(u.due, {schema}.state_later(o_at, u.delay)), u.grp, u.body
    FROM unnest(p_kinds, p_keys, p_preconditions, p_actions, p_dues, p_delays, p_groups, p_bodies)
      AS u (kind, key, precondition, action, due, delay, grp, body)
    WHERE u.action = 0 AND u.precondition <> 1 ORDER BY u.kind, u.key
    ON CONFLICT (log_id, kind, key) DO UPDATE SET version = excluded.version,
      written_at = excluded.written_at, due_at = excluded.due_at, grp = excluded.grp,
      claim_owner = NULL, claim_until = NULL, n_claims = 0, body = excluded.body;
  DELETE FROM {schema}.state_records r USING unnest(p_kinds, p_keys, p_actions) AS u (kind, key, action)
    WHERE r.log_id = p_log AND r.kind = u.kind AND r.key = u.key AND u.action = 1;
  UPDATE {schema}.state_records r SET claim_until = {schema}.state_later(o_at, u.delay)
    FROM unnest(p_kinds, p_keys, p_actions, p_delays) AS u (kind, key, action, delay)
    WHERE r.log_id = p_log AND r.kind = u.kind AND r.key = u.key AND u.action = 2;
END $$;

-- Returns the next instant at which time alone changes what can be claimed.
CREATE FUNCTION {schema}.state_next(p_log int, p_kind text, p_now timestamptz) RETURNS timestamptz
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT least(
    (SELECT min(due_at) FROM {schema}.state_records
      WHERE log_id = p_log AND kind = p_kind AND due_at > p_now),
    (SELECT min(claim_until) FROM {schema}.state_records
      WHERE log_id = p_log AND kind = p_kind AND claim_until > p_now))
$$;

-- Claims records. Orders: 0 free, 1 one of a group at a time, 2 in the order of their keys. For
-- the last two one claim of a kind is made after the other, so that each sees what is claimed.
CREATE FUNCTION {schema}.state_claim(
  p_log int, p_now timestamptz, p_lock_ms int, p_kind text, p_owner text, p_limit bigint,
  p_hold bigint, p_order smallint, p_bytes bigint,
  OUT o_now timestamptz, OUT o_until timestamptz, OUT o_next timestamptz, OUT o_version bigint,
  OUT o_keys text[], OUT o_written timestamptz[], OUT o_dues timestamptz[], OUT o_groups text[],
  OUT o_claims int[], OUT o_bodies bytea[]
) LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  v_keys text[];
  v_versions bigint[];
BEGIN
  PERFORM {schema}.state_begin(p_lock_ms);
  IF p_order > 0 THEN
    PERFORM pg_advisory_xact_lock(hashtextextended({schema_text} || '.state.' || p_log || '.' || p_kind, 0));
  END IF;
  o_now := coalesce(p_now, clock_timestamp());
  o_until := {schema}.state_later(o_now, p_hold);
  IF p_order > 0 THEN
    SELECT array_agg(c.key), array_agg(c.version) INTO v_keys, v_versions FROM (
      SELECT d.key, d.version FROM (
        SELECT r.key, r.version, r.grp, r.due_at, row_number() OVER (PARTITION BY r.grp ORDER BY r.due_at, r.key) AS nth
        FROM {schema}.state_records r
        WHERE r.log_id = p_log AND r.kind = p_kind AND r.due_at <= o_now
          AND (r.claim_until IS NULL OR r.claim_until <= o_now)
          AND (r.grp IS NULL OR r.grp NOT IN (SELECT b.grp FROM {schema}.state_records b
            WHERE b.log_id = p_log AND b.kind = p_kind AND b.claim_until > o_now AND b.grp IS NOT NULL))
          AND (p_order < 2 OR r.grp IS NULL OR r.key = (SELECT f.key FROM {schema}.state_records f
            WHERE f.log_id = p_log AND f.kind = p_kind AND f.grp = r.grp AND f.due_at IS NOT NULL
            ORDER BY f.key LIMIT 1))
      ) d
      WHERE d.grp IS NULL OR d.nth = 1
      ORDER BY d.due_at, d.key LIMIT p_limit
    ) c;
  END IF;
  SELECT array_agg(c.key ORDER BY c.due_at, c.key) INTO o_keys FROM (
    SELECT p.key, p.due_at,
      sum(p.size) OVER (ORDER BY p.due_at, p.key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
      SELECT r.key, r.due_at, octet_length(r.body)::bigint AS size
      FROM {schema}.state_records r
      WHERE r.log_id = p_log AND r.kind = p_kind AND r.due_at <= o_now
        AND (r.claim_until IS NULL OR r.claim_until <= o_now)
        -- As it was when its group was looked at: it may have been written since, into another.
        AND (p_order = 0 OR (r.key = ANY (v_keys) AND r.version = v_versions[array_position(v_keys, r.key)]))
      ORDER BY r.due_at, r.key LIMIT p_limit
      FOR UPDATE SKIP LOCKED
    ) p
  ) c WHERE coalesce(c.before, 0) < p_bytes;
  IF o_keys IS NOT NULL THEN
    o_version := nextval('{schema}.state_numbers');
    WITH claimed AS (
      UPDATE {schema}.state_records r SET version = o_version, claim_owner = p_owner,
        claim_until = o_until, n_claims = r.n_claims + 1
      WHERE r.log_id = p_log AND r.kind = p_kind AND r.key = ANY (o_keys)
      RETURNING r.key, r.written_at, r.due_at, r.grp, r.n_claims, r.body
    )
    SELECT array_agg(c.written_at ORDER BY c.due_at, c.key), array_agg(c.due_at ORDER BY c.due_at, c.key),
        array_agg(c.grp ORDER BY c.due_at, c.key), array_agg(c.n_claims ORDER BY c.due_at, c.key),
        array_agg(c.body ORDER BY c.due_at, c.key)
      INTO o_written, o_dues, o_groups, o_claims, o_bodies FROM claimed c;
  END IF;
  o_next := {schema}.state_next(p_log, p_kind, o_now);
END $$;

-- Ends the claims of an owner, and returns how many there were.
CREATE FUNCTION {schema}.state_abandon(p_log int, p_now timestamptz, p_lock_ms int, p_kind text, p_owner text)
  RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_now timestamptz;
  v_version bigint;
  v_rows bigint;
BEGIN
  PERFORM {schema}.state_begin(p_lock_ms);
  PERFORM FROM {schema}.state_records r
    WHERE r.log_id = p_log AND r.kind = p_kind AND r.claim_owner = p_owner ORDER BY r.key FOR UPDATE;
  v_now := coalesce(p_now, clock_timestamp());
  v_version := nextval('{schema}.state_numbers');
  UPDATE {schema}.state_records SET version = v_version, claim_owner = NULL, claim_until = NULL
    WHERE log_id = p_log AND kind = p_kind AND claim_owner = p_owner AND claim_until > v_now;
  GET DIAGNOSTICS v_rows = ROW_COUNT;
  RETURN v_rows;
END $$;

-- Grants a lease, or says who has it. The epoch is taken while the row is locked, so that of two
-- grants of a lease the later one has the greater epoch.
CREATE FUNCTION {schema}.state_acquire(
  p_log int, p_now timestamptz, p_lock_ms int, p_name text, p_owner text, p_ttl bigint,
  OUT o_granted boolean, OUT o_owner text, OUT o_epoch bigint, OUT o_expires timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_now timestamptz;
BEGIN
  PERFORM {schema}.state_begin(p_lock_ms);
  LOOP
    SELECT owner, epoch, expires_at INTO o_owner, o_epoch, o_expires FROM {schema}.state_leases
      WHERE log_id = p_log AND name = p_name FOR UPDATE;
    EXIT WHEN FOUND;
    INSERT INTO {schema}.state_leases (log_id, name, owner, epoch, expires_at)
      VALUES (p_log, p_name, p_owner, 0, '0001-01-01 00:00:00+00') ON CONFLICT DO NOTHING;
  END LOOP;
  v_now := coalesce(p_now, clock_timestamp());
  o_granted := o_owner = p_owner OR o_expires <= v_now;
  IF NOT o_granted THEN
    RETURN;
  END IF;
  UPDATE {schema}.state_leases SET owner = p_owner, epoch = nextval('{schema}.state_numbers'),
      expires_at = {schema}.state_later(v_now, p_ttl)
    WHERE log_id = p_log AND name = p_name
    RETURNING owner, epoch, expires_at INTO o_owner, o_epoch, o_expires;
  -- A lease that has run out is as one that is not there.
  DELETE FROM {schema}.state_leases WHERE (log_id, name) IN (
    SELECT l.log_id, l.name FROM {schema}.state_leases l
      WHERE l.expires_at <= v_now AND l.log_id = p_log ORDER BY l.expires_at LIMIT 16 FOR UPDATE SKIP LOCKED);
END $$;

-- Lets a lease that is held run out later; no row when it is not held.
CREATE FUNCTION {schema}.state_renew(
  p_log int, p_now timestamptz, p_lock_ms int, p_name text, p_epoch bigint, p_ttl bigint
) RETURNS TABLE (o_owner text, o_expires timestamptz) LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_now timestamptz;
BEGIN
  PERFORM {schema}.state_begin(p_lock_ms);
  PERFORM FROM {schema}.state_leases WHERE log_id = p_log AND name = p_name FOR UPDATE;
  v_now := coalesce(p_now, clock_timestamp());
  RETURN QUERY UPDATE {schema}.state_leases SET expires_at = {schema}.state_later(v_now, p_ttl)
    WHERE log_id = p_log AND name = p_name AND epoch = p_epoch AND expires_at > v_now
    RETURNING owner, expires_at;
END $$;

-- Gives a lease back, if it is held under the epoch; returns how many that were.
CREATE FUNCTION {schema}.state_release(p_log int, p_lock_ms int, p_name text, p_epoch bigint)
  RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_rows bigint;
BEGIN
  PERFORM {schema}.state_begin(p_lock_ms);
  DELETE FROM {schema}.state_leases WHERE log_id = p_log AND name = p_name AND epoch = p_epoch;
  GET DIAGNOSTICS v_rows = ROW_COUNT;
  RETURN v_rows;
END $$;
