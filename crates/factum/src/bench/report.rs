//! What a benchmark tells: medians and spread of the rounds, and ratios within the run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::bench::cases::Outcome;
use crate::bench::histogram::Histogram;
use crate::machine::{Machine, SyncRates, per_second};
use crate::output::{Out, grouped, size};

/// What was measured of one case, over all rounds.
#[derive(Debug, Default)]
struct Measured {
    rates: Vec<f64>,
    latency: Histogram,
    n_failed: u64,
    n_things: u64,
    time: Duration,
    generator_cpu: Duration,
    server_cpu: Duration,
}

/// Everything measured so far.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Machine,
    syncs: Vec<SyncRates>,
    /// The cases in the order in which they first ran.
    order: Vec<String>,
    cases: BTreeMap<String, Measured>,
    server_bytes: Option<u64>,
}

/// The processor time that a case took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Of the load generator.
    pub(crate) generator: Duration,
    /// Of the server.
    pub(crate) server: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CaseReport<'a> {
    case: &'a str,
    rate_median: f64,
    rate_min: f64,
    rate_max: f64,
    n_rounds: usize,
    n_failed: u64,
    latency_us: Option<LatencyReport>,
    /// How much of one core was used.
    generator_cpu_share: f64,
    server_cpu_share: f64,
    /// Processor time for each thing done; it says more than the rate where others disturb.
    generator_us_each: f64,
    server_us_each: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LatencyReport {
    p50: u128,
    p90: u128,
    p99: u128,
    p999: u128,
    max: u128,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ratio {
    name: &'static str,
    ratio: f64,
    budget: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    machine: &'a Machine,
    sync_overwrite_per_s: f64,
    sync_append_per_s: f64,
    server_resident_bytes: Option<u64>,
    cases: Vec<CaseReport<'a>>,
    ratios: Vec<Ratio>,
}

impl Report {
    /// Begins a report about a machine.
    pub(crate) const fn new(machine: Machine) -> Self {
        Self {
            machine,
            syncs: Vec::new(),
            order: Vec::new(),
            cases: BTreeMap::new(),
            server_bytes: None,
        }
    }

    /// Adds the disk's own rate.
    pub(crate) fn add_syncs(&mut self, rates: SyncRates) {
        self.syncs.push(rates);
    }

    /// Notes how much memory the server has in use.
    pub(crate) const fn set_server_bytes(&mut self, bytes: Option<u64>) {
        self.server_bytes = bytes;
    }

    /// Adds a round of a case.
    pub(crate) fn add(&mut self, case: &str, outcome: &Outcome, spent: Spent) {
        if !self.cases.contains_key(case) {
            self.order.push(case.to_owned());
        }
        let measured = self.cases.entry(case.to_owned()).or_default();
        measured
            .rates
            .push(per_second(outcome.n_things, outcome.time));
        measured.latency.merge(&outcome.latency);
        measured.n_failed += outcome.n_failed;
        measured.n_things += outcome.n_things;
        measured.time += outcome.time;
        measured.generator_cpu += spent.generator;
        measured.server_cpu += spent.server;
    }

    fn sync_median(&self, rate: fn(&SyncRates) -> f64) -> f64 {
        median(&self.syncs.iter().map(rate).collect::<Vec<_>>())
    }

    fn rates(&self, case: &str) -> Vec<f64> {
        self.cases
            .get(case)
            .map_or_else(Vec::new, |measured| measured.rates.clone())
    }

    /// Returns the ratios that the budgets speak of, as far as both sides were measured: the
    /// median of the ratios of the rounds, since what disturbs a round disturbs both sides.
    fn ratios(&self) -> Vec<Ratio> {
        let syncs: Vec<f64> = self
            .syncs
            .iter()
            .map(|rates| rates.overwrite_per_s)
            .collect();
        let of = |name, above: &str, below: &[f64], budget| {
            let rounds = self.rates(above);
            let ratios: Vec<f64> = rounds.iter().zip(below).map(|(a, b)| a / b).collect();
            (!ratios.is_empty()).then(|| Ratio {
                name,
                ratio: median(&ratios),
                budget,
            })
        };
        let [echo_64, echo_256, one] =
            ["echo 64", "echo 256", "append 1"].map(|case| self.rates(case));
        [
            of("append 64 / echo 64", "append 64", &echo_64, 0.7),
            of("append 256 / echo 256", "append 256", &echo_256, 0.7),
            of("append 1 / fdatasync", "append 1", &syncs, 0.7),
            of("append 64 / append 1", "append 64", &one, 10.0),
            of("append 256 / append 1", "append 256", &one, 20.0),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn case_reports(&self) -> Vec<CaseReport<'_>> {
        let report = |case: &'_ String| {
            let (case, measured) = self.cases.get_key_value(case)?;
            let latency = &measured.latency;
            let micros = |per_mille| latency.quantile(per_mille).as_micros();
            Some(CaseReport {
                case,
                rate_median: median(&measured.rates),
                rate_min: measured.rates.iter().copied().fold(f64::INFINITY, f64::min),
                rate_max: measured.rates.iter().copied().fold(0.0, f64::max),
                n_rounds: measured.rates.len(),
                n_failed: measured.n_failed,
                latency_us: (latency.n_values() > 0).then(|| LatencyReport {
                    p50: micros(500),
                    p90: micros(900),
                    p99: micros(990),
                    p999: micros(999),
                    max: latency.largest().as_micros(),
                }),
                generator_cpu_share: share(measured.generator_cpu, measured.time),
                server_cpu_share: share(measured.server_cpu, measured.time),
                generator_us_each: each(measured.generator_cpu, measured.n_things),
                server_us_each: each(measured.server_cpu, measured.n_things),
            })
        };
        self.order.iter().filter_map(report).collect()
    }

    /// Writes the report.
    pub(crate) fn write(&self, out: &mut Out) -> std::io::Result<()> {
        let whole = Whole {
            machine: &self.machine,
            sync_overwrite_per_s: self.sync_median(|rates| rates.overwrite_per_s),
            sync_append_per_s: self.sync_median(|rates| rates.append_per_s),
            server_resident_bytes: self.server_bytes,
            cases: self.case_reports(),
            ratios: self.ratios(),
        };
        if out.is_json() {
            return out.json(&whole);
        }
        whole.write(out)
    }
}

impl Whole<'_> {
    fn write(&self, out: &mut Out) -> std::io::Result<()> {
        let machine = self.machine;
        out.line(format_args!(
            "{}, {} cores, {}, {}, {}",
            machine.cpu,
            machine.n_cores,
            size(machine.memory_bytes),
            machine.file_system,
            machine.kernel
        ))?;
        out.line(format_args!(
            "fdatasync of 4 KiB: {}/s over written blocks, {}/s at the end of a growing file",
            whole_number(self.sync_overwrite_per_s),
            whole_number(self.sync_append_per_s)
        ))?;
        let head = [
            "case",
            "per second",
            "min – max",
            "p50 ms",
            "p90",
            "p99",
            "p99.9",
            "max",
            "client CPU",
            "server CPU",
            "CPU us each",
            "failed",
        ];
        out.table(&head, self.cases.iter().map(CaseReport::cells).collect())?;
        let cells = |ratio: &Ratio| {
            let met = if ratio.ratio >= ratio.budget {
                "met"
            } else {
                "missed"
            };
            vec![
                ratio.name.to_owned(),
                format!("{:.2}", ratio.ratio),
                format!("{:.1}", ratio.budget),
                met.to_owned(),
            ]
        };
        if !self.ratios.is_empty() {
            out.table(
                &["ratio", "measured", "budget", ""],
                self.ratios.iter().map(cells).collect(),
            )?;
        }
        if let Some(bytes) = self.server_resident_bytes {
            out.line(format_args!("the server has {} in memory", size(bytes)))?;
        }
        Ok(())
    }
}

impl CaseReport<'_> {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.case.to_owned(),
            whole_number(self.rate_median),
            format!(
                "{} – {}",
                whole_number(self.rate_min),
                whole_number(self.rate_max)
            ),
        ];
        match &self.latency_us {
            Some(latency) => {
                let values = [
                    latency.p50,
                    latency.p90,
                    latency.p99,
                    latency.p999,
                    latency.max,
                ];
                cells.extend(
                    values.map(|micros| format!("{}.{:02}", micros / 1000, micros % 1000 / 10)),
                );
            }
            None => cells.extend(std::iter::repeat_n(String::new(), 5)),
        }
        cells.push(format!("{:.0} %", self.generator_cpu_share * 100.0));
        cells.push(format!("{:.0} %", self.server_cpu_share * 100.0));
        cells.push(format!(
            "{:.2} + {:.2}",
            self.generator_us_each, self.server_us_each
        ));
        cells.push(self.n_failed.to_string());
        cells
    }
}

/// Returns how much of one core was used.
fn share(cpu: Duration, time: Duration) -> f64 {
    cpu.as_secs_f64() / time.as_secs_f64().max(1e-9)
}

/// Returns the processor time for each thing, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn each(cpu: Duration, n_things: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / (n_things as f64).max(1.0)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0.0,
        Some(&upper) if values.len() % 2 == 1 => upper,
        Some(&upper) => f64::midpoint(values[middle - 1], upper),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and far below 2^53"
)]
fn whole_number(rate: f64) -> String {
    grouped(rate.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        let mut report = Report::new(Machine::of(std::path::Path::new(".")));
        for (append, echo) in [(10, 10), (1, 100), (60, 100)] {
            let outcome = |n_things| Outcome {
                n_things,
                time: Duration::from_secs(1),
                ..Outcome::default()
            };
            report.add("append 64", &outcome(append), Spent::default());
            report.add("echo 64", &outcome(echo), Spent::default());
        }
        let ratios = report.ratios();
        assert_eq!(ratios.len(), 1);
        assert!((ratios[0].ratio - 0.6).abs() < 1e-9);
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }
}
