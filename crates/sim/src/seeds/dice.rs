//! Chance, from a seed alone.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Dice(u64);

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Dice {
    /// Dice for one purpose of one seed.
    pub fn new(seed: u64, purpose: u64) -> Self {
        // Scattered first: the rows of neighbouring seeds would else be the same row, shifted.
        Self(mix(seed ^ mix(purpose)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        // Callers pass lists that are written out: none is empty.
        from[self.below(from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_throws_the_same_and_another_does_not() {
        let row = |seed| {
            let mut dice = Dice::new(seed, 1);
            (0..20).map(|_| dice.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(row(7), row(7));
        let shared = |a: &[u64], b: &[u64]| a.iter().filter(|throw| b.contains(throw)).count();
        assert!(shared(&row(7), &row(8)) < 5, "neighbours are no shifted copies of each other");
    }

    #[test]
    fn between_includes_both_ends() {
        let mut dice = Dice::new(3, 1);
        let all: std::collections::BTreeSet<u64> = (0..200).map(|_| dice.between(4, 6)).collect();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), vec![4, 5, 6]);
    }
}
