//! Chance that can be repeated.

/// A source of numbers that look random and follow from a seed: `SplitMix64`
/// (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed. Different seeds give unrelated numbers.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below a bound; zero for the bound zero.
    pub const fn below(&mut self, bound: u64) -> u64 {
        let number = self.next();
        match number.checked_rem(bound) {
            Some(number) => number,
            None => 0,
        }
    }

    /// Returns an index below a length.
    ///
    /// # Panics
    /// Never: an index is smaller than a length, which fits.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// Returns true once in `n` times.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Picks one of several.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// Puts things in another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            things.swap(at, self.index(at + 1));
        }
    }
}
