//! Reports of maintenance, from a server or from a closed directory, as people and programs see
//! them.

use factum_api::{BackupReportDto, FindingDto, VerifyReportDto};
use factum_model::Position;
use factum_store::{BackupReport, Finding, VerifyReport};

use crate::exit::Failure;
use crate::output::{Out, Tone, grouped, printable, size};

/// Returns a report in the form in which a server gives it.
pub(crate) fn verify_report(report: VerifyReport) -> VerifyReportDto {
    VerifyReportDto {
        ok: report.findings.is_empty(),
        events: report.n_events,
        streams: report.n_streams,
        files: report.n_files,
        bytes: report.n_bytes,
        findings: report.findings.into_iter().map(finding).collect(),
    }
}

fn finding(finding: Finding) -> FindingDto {
    FindingDto {
        kind: finding.kind.as_str().to_owned(),
        file: finding.file,
        offset: finding.offset,
        first_position: finding.positions.map(|(first, _)| first.get()),
        last_position: finding.positions.map(|(_, last)| last.get()),
        detail: finding.detail,
    }
}

/// Returns a report in the form in which a server gives it.
pub(crate) fn backup_report(report: &BackupReport) -> BackupReportDto {
    BackupReportDto {
        path: report.path.display().to_string(),
        head: report.head.map_or(0, Position::get),
        files: report.n_files,
        bytes: report.n_bytes,
    }
}

/// Writes what a verification found; damage is an error afterwards.
pub(crate) fn write_verify(report: &VerifyReportDto, out: &mut Out) -> anyhow::Result<()> {
    if out.is_json() {
        out.json(report)?;
    } else {
        write_findings(report, out)?;
    }
    if report.findings.is_empty() {
        return Ok(());
    }
    Err(Failure::Damaged {
        message: format!("{} things are wrong with the stored data", report.findings.len()),
        hint: "nothing damaged is served as data; stop the server, then `factum repair` tells what can be done".to_owned(),
    }
    .into())
}

fn write_findings(report: &VerifyReportDto, out: &mut Out) -> std::io::Result<()> {
    let cells = |finding: &FindingDto| {
        let positions = match (finding.first_position, finding.last_position) {
            (Some(first), Some(last)) => format!("{first} – {last}"),
            (Some(_) | None, None) | (None, Some(_)) => String::new(),
        };
        let offset = finding
            .offset
            .map_or_else(String::new, |offset| offset.to_string());
        vec![
            finding.kind.clone(),
            printable(&finding.file),
            offset,
            positions,
            printable(&finding.detail),
        ]
    };
    if !report.findings.is_empty() {
        let rows = report.findings.iter().map(cells).collect();
        out.table(&["kind", "file", "offset", "positions", "detail"], rows)?;
    }
    let word = if report.findings.is_empty() {
        out.paint(Tone::Good, "all is well")
    } else {
        out.paint(Tone::Bad, "damaged")
    };
    out.line(format_args!(
        "{word}: {} events of {} streams, {} in {} files",
        grouped(report.events),
        grouped(report.streams),
        size(report.bytes),
        report.files
    ))
}

/// Writes what a backup holds.
pub(crate) fn write_backup(report: &BackupReportDto, out: &mut Out) -> std::io::Result<()> {
    if out.is_json() {
        return out.json(report);
    }
    out.line(format_args!(
        "{} to position {}: {} in {} files at {}",
        out.paint(Tone::Good, "backed up"),
        report.head,
        size(report.bytes),
        report.files,
        printable(&report.path)
    ))
}
