//! The revisions of the protocol that are spoken.

/// A revision of the Model Context Protocol. They are ordered by their date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revision {
    /// The first one with structured content.
    V2025_06_18,
    /// The last one that begins with `initialize`.
    V2025_11_25,
    /// Every request says for itself which revision it is of; there are no sessions.
    V2026_07_28,
}

impl Revision {
    /// Every revision, the oldest first.
    pub const ALL: [Self; 3] = [Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// Returns its date, by which it is named.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Returns the revision of this date.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// Tells whether every request of this revision says which one it is of.
    #[must_use]
    pub const fn is_stateless(self) -> bool {
        match self {
            Self::V2025_06_18 | Self::V2025_11_25 => false,
            Self::V2026_07_28 => true,
        }
    }

    /// Returns what `initialize` is answered with where a client asks for this date: the same, or
    /// the newest that has `initialize`.
    pub(crate) fn negotiated(asked: &str) -> Self {
        match Self::from_name(asked) {
            Some(known @ (Self::V2025_06_18 | Self::V2025_11_25)) => known,
            Some(Self::V2026_07_28) | None => Self::V2025_11_25,
        }
    }
}

/// Tells whether a date is one from which on requests say of themselves which revision they are
/// of, also one that is not known here.
pub(crate) fn is_stateless_date(date: &str) -> bool {
    date >= Revision::V2026_07_28.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialize_agrees_on_a_revision_that_has_it() {
        let check = |asked, expected| assert_eq!(Revision::negotiated(asked), expected);
        check("2025-06-18", Revision::V2025_06_18);
        check("2025-11-25", Revision::V2025_11_25);
        check("2026-07-28", Revision::V2025_11_25);
        check("2024-11-05", Revision::V2025_11_25);
        check("tomorrow", Revision::V2025_11_25);
    }
}
