-- A log that is taken over from another store, and one that was given away.

-- How many batches were imported so far; null once the log is an ordinary one.
ALTER TABLE {schema}.logs ADD COLUMN import_step bigint;
-- Where the log went; whoever appends from then on would write a history that is no longer its own.
ALTER TABLE {schema}.logs ADD COLUMN moved_to text;

CREATE FUNCTION {schema}.refuse_append() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'log % takes no appends: %', OLD.log_id,
    CASE WHEN OLD.moved_to IS NULL THEN 'it is being imported' ELSE 'it was moved to ' || OLD.moved_to END
    USING ERRCODE = 'FA004';
END $$;

-- An import counts its steps; an append does not know of them.
CREATE TRIGGER logs_take_appends BEFORE UPDATE ON {schema}.logs
  FOR EACH ROW WHEN (OLD.head <> NEW.head AND (OLD.moved_to IS NOT NULL
    OR OLD.import_step IS NOT NULL AND OLD.import_step IS NOT DISTINCT FROM NEW.import_step))
  EXECUTE FUNCTION {schema}.refuse_append();

-- Opens the leaf that an imported event goes to, as the append of the event would have. It has
-- the rights of who calls it, and only the owner of the tables may do what it does.
CREATE FUNCTION {schema}.import_leaf(
  p_log int, p_head bigint, p_head_at timestamptz, p_recorded_at timestamptz,
  OUT o_leaf int, OUT o_until timestamptz, OUT o_last_position bigint
) LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  l {schema}.logs;
  v_day timestamp := p_recorded_at AT TIME ZONE 'UTC';
BEGIN
  SELECT * INTO STRICT l FROM {schema}.logs WHERE log_id = p_log;
  PERFORM {schema}.make_leaves(p_log, 1);
  SELECT min(leaf) INTO STRICT o_leaf FROM {schema}.leaves WHERE log_id = p_log AND first_position IS NULL;
  UPDATE {schema}.leaves SET last_position = p_head, last_recorded_at = p_head_at WHERE leaf = l.leaf;
  UPDATE {schema}.leaves SET first_position = p_head + 1, first_recorded_at = p_recorded_at WHERE leaf = o_leaf;
  o_until := CASE l.leaf_policy
    WHEN 'monthly' THEN (date_trunc('month', v_day) + interval '1 month') AT TIME ZONE 'UTC'
    WHEN 'weekly' THEN (date_trunc('week', v_day) + interval '1 week') AT TIME ZONE 'UTC'
    WHEN 'daily' THEN (date_trunc('day', v_day) + interval '1 day') AT TIME ZONE 'UTC'
    END;
  o_last_position := CASE l.leaf_policy WHEN 'events' THEN p_head + l.leaf_events END;
  UPDATE {schema}.logs SET leaf = o_leaf, leaf_until = o_until, leaf_last_position = o_last_position
    WHERE log_id = p_log;
END $$;
