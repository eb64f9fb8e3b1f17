//! Reports of maintenance, from a server or from a closed directory, as people and programs see
//! them.

use factum_store::{Finding, VerifyReport};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::output::{Out, Tone, grouped, printable, size};

/// What a verification found.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerifyView {
    #[serde(alias = "nEvents")]
    events: u64,
    #[serde(alias = "nBytes")]
    bytes: u64,
    #[serde(default)]
    findings: Vec<FindingView>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FindingView {
    kind: String,
    #[serde(default)]
    file: String,
    offset: Option<u64>,
    first_position: Option<u64>,
    last_position: Option<u64>,
    detail: String,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        Self {
            kind: finding.kind.as_str().to_owned(),
            file: finding.file,
            offset: finding.offset,
            first_position: finding.positions.map(|(first, _)| first.get()),
            last_position: finding.positions.map(|(_, last)| last.get()),
            detail: finding.detail,
        }
    }
}

impl From<VerifyReport> for VerifyView {
    fn from(report: VerifyReport) -> Self {
        Self {
            events: report.n_events,
            bytes: report.n_bytes,
            findings: report.findings.into_iter().map(FindingView::from).collect(),
        }
    }
}

impl VerifyView {
    /// Writes the report; damage is an error afterwards.
    pub(crate) fn write(&self, out: &mut Out) -> anyhow::Result<()> {
        if out.is_json() {
            out.json(self)?;
        } else {
            self.write_table(out)?;
        }
        let n_findings = self.findings.len();
        if n_findings == 0 {
            return Ok(());
        }
        Err(Failure::Damaged {
            message: format!("{n_findings} findings"),
            hint: "nothing damaged is served as data; `factum repair` lists what can be done".to_owned(),
        }
        .into())
    }

    fn write_table(&self, out: &mut Out) -> std::io::Result<()> {
        let cells = |finding: &FindingView| {
            let positions = match (finding.first_position, finding.last_position) {
                (Some(first), Some(last)) => format!("{first}–{last}"),
                (Some(_) | None, None) | (None, Some(_)) => String::new(),
            };
            let offset = finding.offset.map_or_else(String::new, |offset| offset.to_string());
            vec![finding.kind.clone(), printable(&finding.file), offset, positions, printable(&finding.detail)]
        };
        if !self.findings.is_empty() {
            let rows = self.findings.iter().map(cells).collect();
            out.table(&["kind", "file", "offset", "positions", "detail"], rows)?;
        }
        let word = if self.findings.is_empty() {
            out.paint(Tone::Good, "all is well")
        } else {
            out.paint(Tone::Bad, "damaged")
        };
        out.line(format_args!(
            "{word}: {} events, {} read",
            grouped(self.events),
            size(self.bytes)
        ))
    }
}
