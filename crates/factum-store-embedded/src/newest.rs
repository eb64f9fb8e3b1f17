//! Finds the newest event with a term, as few indexes as possible being asked.

use std::sync::Arc;

use factum_model::{Position, RecordedEvent};
use factum_store::ReadError;

use crate::known::Known;
use crate::segment::Segment;
use crate::term::Term;

/// A search for the newest event with a term.
pub(crate) struct Newest<'a> {
    pub(crate) segments: &'a [Arc<Segment>],
    pub(crate) known: &'a Known,
    pub(crate) term: Term,
    /// The last position to look at.
    pub(crate) last: Option<Position>,
}

impl Newest<'_> {
    /// Returns the newest event that may have the term and for which `wanted` holds; `look` says
    /// where the event itself is.
    pub(crate) fn find(
        &self,
        look: impl Fn(&Segment, u32) -> Result<RecordedEvent, ReadError>,
        wanted: impl Fn(&RecordedEvent) -> bool,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        let mut may_be_old = false;
        for segment in self.segments.iter().rev() {
            if !may_be_old && self.known.covers(segment.entry.base) {
                // All that are older are covered as well.
                if self.known.denies(self.term) {
                    return Ok(None);
                }
                may_be_old = true;
            }
            let range = segment.ordinals_to(self.last);
            let look = |ordinal| look(segment, ordinal);
            if let Some(event) = segment.newest(self.term, range, look, &wanted)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}
