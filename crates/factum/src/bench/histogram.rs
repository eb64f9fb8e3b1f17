//! Latencies in buckets that grow with the value: at most 3 % off, in a fixed amount of memory.

use std::time::Duration;

/// How many buckets there are between a power of two and the next.
const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;
const N_BUCKETS: usize = (64 - SUB_BITS as usize + 1) << SUB_BITS;

/// A histogram of durations in nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u32>,
    n_values: u64,
    largest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; N_BUCKETS],
            n_values: 0,
            largest: 0,
        }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("n_values", &self.n_values)
            .finish_non_exhaustive()
    }
}

fn bucket_of(nanos: u64) -> usize {
    if nanos < SUB {
        return usize::try_from(nanos).unwrap_or_default();
    }
    let exponent = 63 - nanos.leading_zeros();
    let sub = (nanos >> (exponent - SUB_BITS)) & (SUB - 1);
    let bucket = u64::from(exponent - SUB_BITS + 1) * SUB + sub;
    usize::try_from(bucket).unwrap_or(N_BUCKETS - 1)
}

/// Returns the largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    let next = u128::from(SUB + bucket % SUB + 1);
    u64::try_from((next << shift) - 1).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Adds a value.
    pub(crate) fn add(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.buckets.get_mut(bucket_of(nanos)) {
            *count = count.saturating_add(1);
        }
        self.n_values += 1;
        self.largest = self.largest.max(nanos);
    }

    /// Adds all values of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count = count.saturating_add(*more);
        }
        self.n_values += other.n_values;
        self.largest = self.largest.max(other.largest);
    }

    /// Returns how many values there are.
    pub(crate) const fn n_values(&self) -> u64 {
        self.n_values
    }

    /// Returns the value that `per_mille` thousandths of the values do not exceed.
    pub(crate) fn quantile(&self, per_mille: u64) -> Duration {
        let wanted = (self.n_values * per_mille).div_ceil(1000);
        let mut n_values = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            n_values += u64::from(count);
            if n_values >= wanted && n_values > 0 {
                return Duration::from_nanos(top_of(bucket).min(self.largest));
            }
        }
        Duration::ZERO
    }

    /// Returns the largest value, exactly.
    pub(crate) const fn largest(&self) -> Duration {
        Duration::from_nanos(self.largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_a_bucket_that_is_at_most_3_percent_wide() {
        for shift in 0..64 {
            for offset in [0_u64, 1, 7] {
                let value = (1_u64 << shift).saturating_add(offset << shift.max(5) >> 5);
                let bucket = bucket_of(value);
                assert!(top_of(bucket) >= value, "{value}");
                assert!(bucket == 0 || top_of(bucket - 1) < value, "{value}");
                assert!(
                    (top_of(bucket) - value) as f64 <= value as f64 / 31.0,
                    "{value}"
                );
            }
        }
        assert!(bucket_of(u64::MAX) < N_BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        for value in 1..=1000 {
            histogram.add(Duration::from_micros(value));
        }
        let near = |per_mille: u64, micros: u128| {
            let found = histogram.quantile(per_mille).as_micros();
            assert!(
                found >= micros && found <= micros + micros / 30 + 1,
                "{per_mille}: {found}"
            );
        };
        near(500, 500);
        near(990, 990);
        near(1000, 1000);
        assert_eq!(histogram.largest(), Duration::from_micros(1000));
        assert_eq!(Histogram::default().quantile(990), Duration::ZERO);
    }
}
