//! The tools of agent sessions: thin, as every operation is a function of `factum-sessions`.

pub(crate) mod causes;
pub(crate) mod checkpoints;
pub(crate) mod commands;
pub(crate) mod events;
pub(crate) mod instances;
pub(crate) mod resume;

/// Returns the singular or the plural.
fn of(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}
