//! The statements, with the name of the schema in them.

use crate::error::OpenError;
use crate::schema::quoted_schema;

/// The columns of an event without its documents, which can be large.
const LIGHT_COLUMNS: &str = "e.position, e.sequence, e.event_id, e.recorded_at, e.timestamp, \
     e.schema_version, e.origin, e.causation_id, e.event_type, e.aggregate_type, e.aggregate_id, \
     e.correlation_id, '', ''";

/// The statements of one log.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) log: i32,
    /// As it stands in SQL.
    pub(crate) schema: String,
    /// The name of the channel for notifications.
    pub(crate) channel: String,
    pub(crate) head: String,
    pub(crate) head_of_history: String,
    pub(crate) versions: String,
    pub(crate) known: String,
    pub(crate) correlations: String,
    pub(crate) append: String,
    pub(crate) lock_head: String,
    pub(crate) leaves: String,
    pub(crate) make_leaves: String,
    pub(crate) stream: String,
    pub(crate) types_of: String,
    pub(crate) event: String,
}

impl Statements {
    pub(crate) fn new(name: &str, log: i32) -> Result<Self, OpenError> {
        let schema = quoted_schema(name)?;
        // LIMIT makes each a look-up by its key, whatever the planner thinks of the tables.
        let by_id = |id: &str| {
            format!(
                "JOIN LATERAL (SELECT * FROM {schema}.event_ids i \
                 WHERE i.event_id = {id} AND i.log_id = $1 LIMIT 1) i ON true \
                 JOIN LATERAL (SELECT * FROM {schema}.events e WHERE e.position = i.position \
                 AND e.leaf = i.leaf AND e.log_id = i.log_id LIMIT 1) e ON true"
            )
        };
        let by_unnested_id = by_id("u.id");
        let event_columns = crate::values::EVENT_COLUMNS;
        Ok(Self {
            log,
            channel: name.to_owned(),
            head: format!("SELECT head, recorded_at FROM {schema}.logs WHERE log_id = $1"),
            head_of_history: format!(
                "SELECT head FROM {schema}.logs \
                 WHERE log_id = $1 AND store_id = $2 AND lineage = $3"
            ),
            versions: format!(
                "SELECT u.n, s.version FROM unnest($2, $3) WITH ORDINALITY AS u (type, id, n) \
                 JOIN LATERAL (SELECT * FROM {schema}.streams s WHERE s.log_id = $1 \
                 AND s.aggregate_id = u.id AND s.aggregate_type = u.type LIMIT 1) s ON true"
            ),
            known: format!(
                "SELECT u.n, e.metadata = u.metadata AND e.payload = u.payload, {LIGHT_COLUMNS} \
                 FROM unnest($2, $3, $4) WITH ORDINALITY AS u (id, metadata, payload, n) \
                 {by_unnested_id}"
            ),
            correlations: format!(
                "SELECT i.event_id, e.correlation_id FROM unnest($2) AS u (id) {by_unnested_id}"
            ),
            append: format!(
                "SELECT o_outcome, o_head, o_recorded_at, o_versions FROM {schema}.append($1, $2, $3, \
                 $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
                 $22, $23)"
            ),
            lock_head: format!("SELECT {schema}.lock_head($1, $2)"),
            leaves: format!(
                "SELECT leaf, first_position FROM {schema}.leaves \
                 WHERE log_id = $1 AND first_position IS NOT NULL ORDER BY leaf"
            ),
            make_leaves: format!("SELECT {schema}.make_leaves($1, $2)"),
            stream: format!(
                "SELECT version, first_position, last_position, first_timestamp, last_timestamp \
                 FROM {schema}.streams \
                 WHERE log_id = $1 AND aggregate_id = $2 AND aggregate_type = $3"
            ),
            types_of: format!(
                "SELECT aggregate_type FROM {schema}.streams \
                 WHERE log_id = $1 AND aggregate_id = $2 ORDER BY aggregate_type"
            ),
            event: format!(
                "SELECT {event_columns} FROM (VALUES (1)) AS one {}",
                by_id("$2")
            ),
            schema,
        })
    }
}
