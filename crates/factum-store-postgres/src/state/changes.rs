//! Batches, as the arrays that the function takes.

use factum_store::{Action, Applied, Batch, Due, Precondition, Put, RecordVersion, StateError};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::call::{Place, micros, no_row, unreadable};
use crate::values::{InvalidRow, Time, bigint};

#[derive(Default)]
struct Arrays<'a> {
    fence_names: Vec<&'a str>,
    fence_epochs: Vec<i64>,
    kinds: Vec<&'a str>,
    keys: Vec<&'a str>,
    preconditions: Vec<i16>,
    versions: Vec<Option<i64>>,
    actions: Vec<i16>,
    dues: Vec<Option<Time>>,
    delays: Vec<Option<i64>>,
    groups: Vec<Option<&'a str>>,
    bodies: Vec<Option<&'a [u8]>>,
}

impl<'a> Arrays<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut arrays = Self::default();
        for fence in &batch.fences {
            arrays.fence_names.push(fence.name.as_str());
            arrays.fence_epochs.push(bigint(fence.epoch.get()));
        }
        for change in &batch.changes {
            arrays.kinds.push(change.id.kind.as_str());
            arrays.keys.push(change.id.key.as_str());
            let (precondition, version) = match change.precondition {
                Precondition::Any => (0, None),
                Precondition::Absent => (1, None),
                Precondition::Version(version) => (2, Some(bigint(version.get()))),
            };
            arrays.preconditions.push(precondition);
            arrays.versions.push(version);
            arrays.act(&change.action);
        }
        arrays
    }

    fn act(&mut self, action: &'a Action) {
        let (number, put, delay) = match action {
            Action::Put(put) => (0, Some(put), None),
            Action::Delete => (1, None, None),
            Action::Extend(hold) => (2, None, Some(micros(*hold))),
            Action::Check => (3, None, None),
        };
        let (due, after) = match put.map(|put: &Put| put.due) {
            Some(Due::At(at)) => (Some(Time(at)), None),
            Some(Due::After(after)) => (None, Some(micros(after))),
            Some(Due::Never) | None => (None, None),
        };
        let group = put.and_then(|put| put.group.as_ref());
        self.actions.push(number);
        self.dues.push(due);
        self.delays.push(delay.or(after));
        self.groups.push(group.map(|group| group.as_str()));
        self.bodies.push(put.map(|put| put.body.as_slice()));
    }
}

pub(super) async fn apply(place: &Place, batch: Batch) -> Result<Applied, StateError> {
    let schema = &place.schema;
    let sql = format!(
        "SELECT o_outcome, o_index, o_actual, o_version, o_at FROM {schema}.state_apply($1, $2, \
         $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    );
    let arrays = Arrays::of(&batch);
    let now = place.now();
    let rows = place
        .call(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&now, Type::TIMESTAMPTZ),
                (&place.lock_ms, Type::INT4),
                (&arrays.fence_names, Type::TEXT_ARRAY),
                (&arrays.fence_epochs, Type::INT8_ARRAY),
                (&arrays.kinds, Type::TEXT_ARRAY),
                (&arrays.keys, Type::TEXT_ARRAY),
                (&arrays.preconditions, Type::INT2_ARRAY),
                (&arrays.versions, Type::INT8_ARRAY),
                (&arrays.actions, Type::INT2_ARRAY),
                (&arrays.dues, Type::TIMESTAMPTZ_ARRAY),
                (&arrays.delays, Type::INT8_ARRAY),
                (&arrays.groups, Type::TEXT_ARRAY),
                (&arrays.bodies, Type::BYTEA_ARRAY),
            ],
        )
        .await?;
    drop(arrays);
    let row = rows.first().ok_or_else(no_row)?;
    outcome(row, batch)
}

fn outcome(row: &Row, batch: Batch) -> Result<Applied, StateError> {
    let read = || -> Result<_, InvalidRow> {
        let (outcome, index): (i32, Option<i32>) = (row.try_get(0)?, row.try_get(1)?);
        let index = usize::try_from(index.unwrap_or_default()).unwrap_or_default();
        let (actual, version): (Option<i64>, Option<i64>) = (row.try_get(2)?, row.try_get(3)?);
        Ok((outcome, index, actual, version))
    };
    let (outcome, index, actual, version) = read().map_err(unreadable)?;
    // The server counts from one.
    let index = index.wrapping_sub(1);
    let number = |version: i64| RecordVersion::new(version.cast_unsigned());
    if outcome == 1 {
        let fence = batch.fences.into_iter().nth(index).ok_or_else(no_row)?;
        return Err(StateError::LeaseLost { fence });
    }
    if outcome == 2 {
        let change = batch.changes.into_iter().nth(index).ok_or_else(no_row)?;
        let (id, actual) = (change.id, actual.map(number));
        return Err(StateError::Conflict { index, id, actual });
    }
    let Time(at) = row.try_get(4).map_err(unreadable)?;
    let version = number(version.ok_or_else(no_row)?);
    Ok(Applied { version, at })
}
