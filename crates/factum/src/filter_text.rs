//! Filters as people write them on the command line.

use factum_api::filter_json;
use factum_query::{FilterLimits, parse_text_form};

use crate::exit::Failure;

/// Which events, as people write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct FilterText {
    /// Which events, as in: type:submission.* payload.country=DE payload.amount>10000 user:ann
    /// since:2026-03-01 "credit check"; docs/query.md has it all. Without one all events are meant; one that begins with a minus sign comes after --
    #[arg(value_name = "FILTER")]
    words: Vec<String>,
}

impl FilterText {
    /// Returns the filter as JSON.
    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        let text = self.words.join(" ");
        if text.trim().is_empty() {
            return Ok("{}".to_owned());
        }
        // The server has its own limits; these only keep the text readable.
        match parse_text_form(&text, &FilterLimits::default()) {
            Ok(filter) => Ok(filter_json(&filter)),
            Err(error) => Err(Failure::Usage {
                message: format!("{}\n\n{}\n", error.rule, error.draw(&text)),
                hint: "docs/query.md says what a filter can ask for".to_owned(),
            }),
        }
    }
}
