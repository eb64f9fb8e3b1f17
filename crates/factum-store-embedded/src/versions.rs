//! What the writer remembers of the versions of streams.

use hashbrown::HashMap;

/// A bounded map from streams to versions. When it is full it forgets those that were not used
/// since it was last half full.
#[derive(Debug)]
pub(crate) struct Versions {
    half: usize,
    young: HashMap<u128, u64>,
    old: HashMap<u128, u64>,
}

impl Versions {
    pub(crate) fn new(streams_max: usize) -> Self {
        let half = (streams_max / 2).max(1);
        Self {
            half,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    pub(crate) fn get(&mut self, stream: u128) -> Option<u64> {
        if let Some(version) = self.young.get(&stream) {
            return Some(*version);
        }
        let version = self.old.remove(&stream)?;
        self.set(stream, version);
        Some(version)
    }

    pub(crate) fn set(&mut self, stream: u128, version: u64) {
        if self.young.len() >= self.half && !self.young.contains_key(&stream) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(stream, version);
    }

    pub(crate) fn forget_all(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_hides_an_older_one_and_the_map_stays_bounded() {
        let mut versions = Versions::new(10);
        for stream in 0..100 {
            versions.set(stream, 1);
            versions.set(7, 2);
            assert!(versions.young.len() + versions.old.len() <= 10);
        }
        assert_eq!(versions.get(7), Some(2));
        assert_eq!(versions.get(99), Some(1));
        assert_eq!(versions.get(8), None);
        versions.forget_all();
        assert_eq!(versions.get(7), None);
    }
}
