//! What must hold of every decoder, whatever bytes it is given.
//!
//! An oracle takes any bytes and panics when a promise is broken. The tests of this crate ask each
//! one a few hundred times; the targets in `fuzz/` ask them for as long as one likes:
//!
//! ```
//! for oracle in factum_oracles::ALL {
//!     (oracle.check)(br#"{"type":"a.b","aggregateType":"a","aggregateId":"1","payload":{}}"#);
//! }
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "an oracle says by panicking that a promise is broken"
)]

mod bulk;
mod cel;
mod cursor;
mod events;
mod filters;
mod json;
mod live;
mod names;
mod queries;
mod store;
mod time;

pub use crate::bulk::bulk;
pub use crate::cel::cel;
pub use crate::cursor::cursor;
pub use crate::events::events;
pub use crate::filters::{filters, text_form};
pub use crate::json::{json, metadata};
pub use crate::live::live;
pub use crate::names::names;
pub use crate::queries::{bodies, queries};
pub use crate::store::store;
pub use crate::time::time;

/// A promise about a decoder.
#[derive(Debug, Clone, Copy)]
pub struct Oracle {
    /// The name, which is that of its fuzz target.
    pub name: &'static str,
    /// Checks the promise for one input.
    ///
    /// # Panics
    /// When the promise is broken.
    pub check: fn(&[u8]),
    /// Inputs that reach far into the decoder.
    pub seeds: &'static [&'static str],
}

/// All oracles.
pub const ALL: &[Oracle] = &[
    Oracle {
        name: "json",
        check: json,
        seeds: json::SEEDS,
    },
    Oracle {
        name: "metadata",
        check: metadata,
        seeds: json::SEEDS,
    },
    Oracle {
        name: "names",
        check: names,
        seeds: &["form.opened", "form.*\nform.>\na-b.C_d", ">\n*\n*.x.>"],
    },
    Oracle {
        name: "time",
        check: time,
        seeds: time::SEEDS,
    },
    Oracle {
        name: "cursor",
        check: cursor,
        seeds: cursor::SEEDS,
    },
    Oracle {
        name: "events",
        check: events,
        seeds: events::SEEDS,
    },
    Oracle {
        name: "queries",
        check: queries,
        seeds: queries::QUERY_SEEDS,
    },
    Oracle {
        name: "bodies",
        check: bodies,
        seeds: queries::BODY_SEEDS,
    },
    Oracle {
        name: "filters",
        check: filters,
        seeds: filters::FILTER_SEEDS,
    },
    Oracle {
        name: "text_form",
        check: text_form,
        seeds: filters::TEXT_SEEDS,
    },
    Oracle {
        name: "cel",
        check: cel,
        seeds: cel::SEEDS,
    },
    Oracle {
        name: "live",
        check: live,
        seeds: live::SEEDS,
    },
    Oracle {
        name: "bulk",
        check: bulk,
        seeds: &["{}\n{}\n", "\0one\ntwo", "\u{1}\u{1f}\u{8b}"],
    },
    Oracle {
        name: "store",
        check: store,
        seeds: &["\0\0\0\0\u{1}", "\u{5}\u{1}\0\0\u{2}\u{3}\0\u{9}\u{7f}"],
    },
];
